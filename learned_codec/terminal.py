"""The terminal of a command: messages of one line, a progress bar, and a clean end on signals."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from learned_codec.errors import LearnedCodecError

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_SIGNAL = 3, 130, 128
EXIT_UNREAD = EXIT_SIGNAL + 13
"""If nobody reads on what a command prints, as with `head`, it ends like other tools: quietly, as if by SIGPIPE."""

LONGEST = 1000
"""The most characters of a message. Texts from files can be longer."""


class CommandGroup(click.Group):
    """A group of commands that print errors and warnings as one line each, and end cleanly on a signal."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            with warnings_in_lines(), _signals_as_exceptions():
                return super().invoke(ctx)
        except (LearnedCodecError, OSError) as error:  # printing results raises OSError
            unread = isinstance(error.__cause__ or error, BrokenPipeError) and _is_unread()
            _give_up_standard_output()
            if unread:
                ctx.exit(EXIT_UNREAD)
            click.echo(f"error: {line(error)}", err=True)
            ctx.exit(EXIT_ERROR)
        except MemoryError as error:
            click.echo(f"error: not enough memory: {line(error)}".removesuffix(": "), err=True)
            ctx.exit(EXIT_ERROR)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except _SignalError as error:
            click.echo(f"ended by {signal.Signals(error.number).name}", err=True)
            ctx.exit(EXIT_SIGNAL + error.number)


def line(said: object, longest: int = LONGEST) -> str:
    """Text that may come from a file, as one line for a terminal: without control characters, and not too long."""
    text = str(said)
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    # Printable characters and spaces are harmless. Escape sequences, surrogates and changes of direction are not.
    return " ".join("".join(c if c.isprintable() or c.isspace() else ascii(c)[1:-1] for c in text).split())


@contextmanager
def warnings_in_lines(*names: str) -> Iterator[None]:
    """Show warnings as one line each, which begin with the first of some names, unless they have one of them."""

    def show(message: object, *_: object, **__: object) -> None:
        known = not names or any(name in str(message) for name in names)
        click.echo(f"warning: {line(message if known else f'{names[0]}: {message}')}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) that draws a bar on standard error: only on a terminal, and only after a second."""
    from tqdm import tqdm

    with tqdm(desc=label, disable=None, delay=1.0, leave=False, file=sys.stderr) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


class _SignalError(BaseException):
    """A signal that ends the command."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block by an exception, as Ctrl-C does, so that everything is cleaned up."""

    def end(number: int, _: object) -> None:
        raise _SignalError(number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # other threads can't set handlers
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        # Signals that are ignored (nohup) stay ignored.
        before = {n: signal.signal(n, end) for n in numbers if signal.getsignal(n) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_unread() -> bool:
    """Whether standard output or standard error is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):  # Windows, where only these two can be such pipes
        return True
    waiting = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # it may not be a file, or None
            waiting.register(stream.fileno(), 0)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in waiting.poll(0))


def _give_up_standard_output() -> None:
    """If standard output is closed, drop the rest. Otherwise Python would report an error again at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):  # it may not be a file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Run what docs/sar.md and docs/sentinel-2.md show, and write the real output and the pictures into them.

python examples/make_docs.py [PAGE …]

After a line `<!-- output: NAME -->` in a page stands a block. This script keeps what was typed in it and replaces
what was printed: in a `console` block, lines that begin with "$ " are commands; in a `pycon` block, those with
">>> " or "... " are Python, whose names live on through the page. Pictures that the page shows are copied from
the folder in which it was run.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from learned_codec.cli import main as command_line

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = ("sar.md", "sentinel-2.md")
_BLOCK = re.compile(
    r"(?<=<!-- output: )(?P<name>\S+)(?P<head> -->\n```(?P<kind>console|pycon)\n)(?P<body>.*?)(?=^```$)", re.S | re.M
)


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """(name, kind, body) of each block of a page's text."""
    for match in _BLOCK.finditer(page):
        yield match["name"], match["kind"], match["body"]


def commands(body: str) -> list[str]:
    """What was typed in a console block."""
    return [line[2:] for line in body.splitlines() if line.startswith("$ ")]


def refresh(page: str) -> str:
    """A page's text with new output, run in the current folder."""
    names: dict[str, object] = {}

    def run(match: re.Match[str]) -> str:
        print(f"  {match['name']}", flush=True)
        run_again = _console(match["body"]) if match["kind"] == "console" else _python(match["body"], names)
        return match["name"] + match["head"] + run_again

    return _BLOCK.sub(run, page)


def main(*pages: str) -> None:
    """Bring pages and their pictures up to date."""
    for name in pages or PAGES:
        print(name)
        text = (DOCS / name).read_text("utf-8")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            fresh = refresh(text)
            for picture in re.findall(r"\]\(images/([^)]+)\)", text):
                if Path(picture).exists():
                    shutil.copyfile(picture, DOCS / "images" / picture)
        (DOCS / name).write_text(fresh, "utf-8")


def _console(body: str) -> str:
    return "".join(f"$ {command}\n{_clean(_run(command))}" for command in commands(body))


def _run(command: str) -> str:
    """What a command prints, on both streams."""
    program, *arguments = shlex.split(command)
    if program == "learned-codec":
        result = CliRunner().invoke(command_line, arguments, prog_name=program)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output
    if program != "python":
        raise ValueError(f"{command}: only learned-codec and python are run")
    arguments[0] = str(ROOT / arguments[0])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout


def _python(body: str, names: dict[str, object]) -> str:
    out = []
    for example in doctest.DocTestParser().get_examples(body):
        first, *rest = example.source.splitlines()
        out += [f">>> {first}", *(f"... {line}".rstrip() for line in rest)]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(example.source, "<docs>", "single"), names)  # noqa: S102 - the documentation's own code
            except Exception as error:
                if not example.want.startswith("Traceback"):  # the page expects none
                    raise
                print("Traceback (most recent call last):\n  ...")
                print(*traceback.format_exception_only(error), sep="", end="")
        out += _clean(printed.getvalue()).splitlines()
    return "".join(f"{line}\n" for line in out)


def _clean(output: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines())


if __name__ == "__main__":
    main(*sys.argv[1:])

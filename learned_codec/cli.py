"""The command line. It only calls the public API, so that whatever it does can be done from Python.

Exit codes:
    0  done, and nothing wrong
    1  `check` or `selftest` found something wrong
    2  the command was used wrongly
    3  an error, told in one line: a file that is damaged, foreign or unreadable, a rate out of reach, a limit …
  130  interrupted

Results go to standard output, everything else (progress, warnings, errors) to standard error.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

import learned_codec
from learned_codec.errors import LearnedCodecError

DEFAULT_QUALITY = 60.0
EXIT_FOUND_WRONG, EXIT_ERROR, EXIT_INTERRUPTED = 1, 3, 130

_F = TypeVar("_F", bound=Callable[..., Any])


class _Group(click.Group):
    """A group whose commands report our errors and warnings as one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(ctx)
            except LearnedCodecError as error:
                click.echo(f"error: {' '.join(str(error).split())}", err=True)
                ctx.exit(EXIT_ERROR)
            except KeyboardInterrupt:
                click.echo("interrupted", err=True)
                ctx.exit(EXIT_INTERRUPTED)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"warning: {' '.join(str(message).split())}", err=True)


def rate_options(command: _F) -> _F:
    """`--quality`, `--bpp` and `--psnr`, of which at most one is given; see `_rate`."""
    for option in (
        click.option("--psnr", type=float, help="At least this PSNR, in dB."),
        click.option("--bpp", type=float, help="At most this many bits per pixel."),
        click.option("--quality", type=float, help=f"1 to 100, continuous.  [default: {DEFAULT_QUALITY:g}]"),
    ):
        command = option(command)
    return command


def machine_options(command: _F) -> _F:
    """`--threads` and `--device`."""
    for option in (
        click.option("--device", default="cpu", show_default=True, help="Where the networks run: cpu, cuda, cuda:1 …"),
        click.option("--threads", type=click.IntRange(min=1), help="Threads to use.  [default: torch's choice]"),
    ):
        command = option(command)
    return command


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing destination.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(cls=_Group, epilog=__doc__ and "\b\n" + __doc__.split("\n\n")[1].replace("`", ""))
@click.version_option(learned_codec.__version__, prog_name="learned-codec")
def main() -> None:
    """Encode pictures into small files, and decode them.

    SRC and DST may be "-" for standard input and output.
    """


@main.command()
@click.argument("src")
@click.argument("dst")
@rate_options
@click.option("--model", help="A model's id (see `learned_codec.list_models()`).  [default: by the picture's bands]")
@overwrite_option
@json_option
@machine_options
def encode(
    src: str,
    dst: str,
    quality: float | None,
    bpp: float | None,
    psnr: float | None,
    model: str | None,
    overwrite: bool,
    as_json: bool,
    threads: int | None,
    device: str,
) -> None:
    """Encode the picture SRC (PNG, JPEG, TIFF …) into the LCI file DST."""
    rate = _rate(quality, bpp, psnr)
    with _progress("encoding") as progress:
        info = learned_codec.encode_file(
            _source(src),
            _destination(dst),
            overwrite=overwrite,
            model=model,
            threads=threads,
            device=device,
            progress=progress,
            **rate,
        )
    # Where the file itself goes to standard output, what is said of it can't.
    click.echo(json.dumps(info.to_dict()) if as_json else f"{_name(dst)}: {_summary(info)}", err=dst == "-")


@main.command()
@click.argument("src")
@click.argument("dst")
@click.option("--format", help="png, tif, webp …  [default: by DST's extension; png on standard output]")
@click.option("--max-pixels", type=click.IntRange(min=1), help="Refuse larger pictures.  [default: 2^30]")
@overwrite_option
@machine_options
def decode(
    src: str,
    dst: str,
    format: str | None,
    max_pixels: int | None,
    overwrite: bool,
    threads: int | None,
    device: str,
) -> None:
    """Decode the LCI file SRC into the picture DST (PNG, TIFF …, by its extension)."""
    limits = learned_codec.Limits()
    if max_pixels is not None:  # who asks for more pixels means all their bands
        limits = replace(limits, max_pixels=max_pixels, max_samples=max(limits.max_samples, 3 * max_pixels))
    with _progress("decoding") as progress:
        learned_codec.decode_file(
            _source(src),
            _destination(dst),
            overwrite=overwrite,
            format=format,
            limits=limits,
            threads=threads,
            device=device,
            progress=progress,
        )


@main.command()
@click.argument("file")
@json_option
def info(file: str, as_json: bool) -> None:
    """Say what an LCI file holds, from its header alone."""
    from learned_codec.files import read_bytes

    found = learned_codec.inspect(read_bytes(_source(file))).to_dict()
    if as_json:
        click.echo(json.dumps(found))
    else:
        width = max(map(len, found))
        for key, value in found.items():
            click.echo(f"{key:<{width}}  {value:.4f}" if isinstance(value, float) else f"{key:<{width}}  {value}")


@main.command()
@click.argument("file")
@json_option
@click.pass_context
def check(ctx: click.Context, file: str, as_json: bool) -> None:
    """Say whether an LCI file is whole, and which tiles are damaged (exit code 1) if it isn't."""
    from learned_codec.files import read_bytes

    report = learned_codec.check(read_bytes(_source(file)))
    click.echo(json.dumps(report.to_dict()) if as_json else f"{_name(file)}: {report.message}")
    ctx.exit(0 if report.ok else EXIT_FOUND_WRONG)


@main.command()
@click.option("--device", help="Check this device too: cuda, cuda:1 …")
@json_option
@click.pass_context
def selftest(ctx: click.Context, device: str | None, as_json: bool) -> None:
    """Check that this machine decodes the same symbols as every other (exit code 1 if it doesn't)."""
    from learned_codec import selftest as tests

    with _progress("testing") as progress:
        results = tests.run(progress, device)
    if as_json:
        click.echo(json.dumps(dict(results)))
    else:
        for name, ok in results:
            click.echo(f"{'ok    ' if ok else 'FAILED'}  {name}")
    ctx.exit(0 if all(ok for _, ok in results) else EXIT_FOUND_WRONG)


@main.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Pictures.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Checkpoints and logs.  [default: runs/RECIPE]"
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option(
    "--start", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Begin with another run's weights."
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this long.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--compile", is_flag=True, help="Use torch.compile (pays on GPUs).")
def train(
    recipe: Path,
    data: Path,
    out: Path | None,
    resume: bool,
    start: Path | None,
    minutes: float | None,
    device: str,
    compile: bool,
) -> None:
    """Train a model as RECIPE.toml says, on the pictures in a folder."""
    from learned_codec.training import trainer

    folder = out if out is not None else Path("runs") / recipe.stem
    options = {"resume": resume, "start": start, "minutes": minutes, "device": device, "compile": compile}
    trainer.train(recipe, data, out=folder, **options)  # type: ignore[arg-type]  # named as they are typed above


@main.command()
@click.argument("image", required=False)
@click.option("--out", default="learned-codec-demo", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@rate_options
@overwrite_option
@json_option
@machine_options
def demo(
    image: str | None,
    out: Path,
    quality: float | None,
    bpp: float | None,
    psnr: float | None,
    overwrite: bool,
    as_json: bool,
    threads: int | None,
    device: str,
) -> None:
    """Encode and decode IMAGE (or a made-up landscape), beside JPEG 2000 and JPEG at equal bytes."""
    from learned_codec import demo as demonstration
    from learned_codec.raster.images import read_image

    rate = _rate(quality, bpp, psnr)
    picture = demonstration.landscape() if image is None else read_image(_source(image))
    with _progress("demo") as progress:
        result = demonstration.run(
            picture, out, rate=rate, overwrite=overwrite, threads=threads, device=device, progress=progress
        )
    click.echo(json.dumps(result.to_dict()) if as_json else result.report())


def _rate(quality: float | None, bpp: float | None, psnr: float | None) -> dict[str, float]:
    """The one rate control that was given, or the default, as keyword arguments for `encode`."""
    given = {name: value for name, value in (("quality", quality), ("bpp", bpp), ("psnr", psnr)) if value is not None}
    if len(given) > 1:
        raise click.UsageError(f"--{' and --'.join(given)} exclude each other.")
    if any(not math.isfinite(value) for value in given.values()):
        raise click.UsageError("a rate must be a finite number.")
    return given or {"quality": DEFAULT_QUALITY}


def _source(argument: str) -> str | BinaryIO:
    return sys.stdin.buffer if argument == "-" else argument


def _destination(argument: str) -> str | BinaryIO:
    return sys.stdout.buffer if argument == "-" else argument


def _name(argument: str) -> str:
    return "standard input or output" if argument == "-" else argument


def _summary(info: Any) -> str:
    return (
        f"{info.width} × {info.height} pixels, {info.bytes:,} bytes, {info.bpp:.3f} bpp, "
        f"quality {info.quality:.4g}, model {info.model}"
    )


@contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, total) behind a bar on standard error, shown only to a person and only if it takes a while."""
    from tqdm import tqdm

    with tqdm(desc=label, disable=None, delay=1.0, leave=False, file=sys.stderr) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update

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
from learned_codec.errors import FileError, LearnedCodecError
from learned_codec.profiles import PROFILES

DEFAULT_QUALITY = 60.0
MAX_MESSAGE = 1000
"""Characters of a message."""
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
                click.echo(f"error: {_plain(error)}", err=True)
                ctx.exit(EXIT_ERROR)
            except KeyboardInterrupt:
                click.echo("interrupted", err=True)
                ctx.exit(EXIT_INTERRUPTED)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"warning: {_plain(message)}", err=True)


def _plain(value: object, longest: int = MAX_MESSAGE) -> str:
    """Text that may come from a file, in one line for a terminal: without control characters, and not too long."""
    text = str(value)
    if len(text) > longest:
        text = text[: longest - 3] + "..."
    # Besides letters and the like, spaces are harmless; escape sequences, surrogates and changes of direction aren't.
    return " ".join("".join(c if c.isprintable() or c.isspace() else ascii(c)[1:-1] for c in text).split())


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


jobs_option = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Files at a time.")
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing destination.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(cls=_Group, epilog=__doc__ and "\b\n" + __doc__.split("\n\n")[1].replace("`", ""))
@click.version_option(learned_codec.__version__, prog_name="learned-codec")
def main() -> None:
    """Encode images into small files, and decode them: pictures and rasters of any size, bands and type.

    SRC and DST may be "-" for standard input and output.
    """


@main.command(epilog="\b\nProfiles:\n" + "".join(f"  {n:<8}{p.purpose}\n" for n, p in PROFILES.items()))
@click.argument("src", nargs=-1, required=True)
@click.argument("dst")
@rate_options
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Settings for a product, below.")
@click.option("--kind", type=click.Choice(["sar"]), help="Radar backscatter, coded in dB.")
@click.option(
    "--unit", type=click.Choice(["power", "amplitude", "db"]), help="Of radar.  [default: the file's, or a guess]"
)
@click.option("--nodata", type=float, help="The value of pixels that don't exist, where the file doesn't say it.")
@click.option("--force", is_flag=True, help="Encode rasters of classes, too.")
@click.option("--tile-size", type=int, help="Pixels a side of the tiles.  [default: 1024, less for many bands]")
@click.option(
    "--effort", type=click.IntRange(0, 3), help="0 is fast, 3 makes the smallest files, slowly.  [default: 0]"
)
@click.option("--model", help="A model's name, or the path of one of your own.  [default: by bands and type]")
@jobs_option
@overwrite_option
@json_option
@machine_options
def encode(
    src: tuple[str, ...],
    dst: str,
    quality: float | None,
    bpp: float | None,
    psnr: float | None,
    profile: str | None,
    kind: str | None,
    unit: str | None,
    jobs: int,
    overwrite: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Encode the image SRC (GeoTIFF, PNG, JPEG …) into the LCI file DST, or several into the folder DST."""
    rate = _rate(quality, bpp, psnr, default=profile is None)
    given = {"profile": profile, "kind": kind or ("sar" if unit else None), "unit": unit, **others}
    options = rate | {name: value for name, value in given.items() if value is not None} | {"overwrite": overwrite}
    tasks = [(source, target, options) for source, target in zip(src, _targets(src, dst, "lci"), strict=True)]

    def report(name: str, info: Any) -> None:
        # Where the file itself goes to standard output, what is said of it can't.
        click.echo(
            json.dumps(info.to_dict()) if as_json else _plain(f"{_name(name)}: {_summary(info)}"), err=dst == "-"
        )

    _run_all(tasks, "encoding", _encode_one, jobs, report)


@main.command()
@click.argument("src", nargs=-1, required=True)
@click.argument("dst")
@click.option(
    "--format", help="png, tif, webp …  [default: by DST's extension; png on standard output; tif of several]"
)
@click.option("--window", type=int, nargs=4, help="ROW COLUMN HEIGHT WIDTH: decode only that.")
@click.option("--bands", help="Only these, counted from 1: 4,3,2.")
@click.option("--overviews", is_flag=True, help="Build the overviews that the original had.")
@click.option(
    "--errors", type=click.Choice(["raise", "fill"]), help="Stop at a damaged tile, or fill it.  [default: raise]"
)
@click.option("--max-pixels", type=click.IntRange(min=1), help="Refuse larger images.  [default: 2^30]")
@click.option("--model", help="The path of the model of your own that SRC was encoded with.")
@jobs_option
@overwrite_option
@machine_options
def decode(
    src: tuple[str, ...],
    dst: str,
    format: str | None,
    window: tuple[int, int, int, int] | None,
    bands: str | None,
    errors: str | None,
    max_pixels: int | None,
    jobs: int,
    **others: Any,
) -> None:
    """Decode the LCI file SRC into the image DST (GeoTIFF, PNG …, by its extension), or several into the folder DST."""
    limits = learned_codec.Limits()
    if max_pixels is not None:  # who asks for more pixels means all their bands
        limits = replace(limits, max_pixels=max_pixels, max_samples=max(limits.max_samples, 3 * max_pixels))
    options = {"limits": limits, "window": window, "bands": _band_list(bands), "format": format}
    options |= {name: value for name, value in others.items() if value is not None} | (
        {"errors": errors} if errors else {}
    )
    targets = _targets(src, dst, format or "tif")
    _run_all([(s, t, options) for s, t in zip(src, targets, strict=True)], "decoding", _decode_one, jobs, None)


@main.command()
@click.argument("file")
@json_option
def info(file: str, as_json: bool) -> None:
    """Say what an LCI file holds, from its head alone."""
    found = _opened(file, learned_codec.inspect).to_dict()
    if as_json:
        click.echo(json.dumps(found))
        return
    metadata = {key: value for key, value in found.pop("metadata").items() if key not in found}
    width = max(map(len, found))
    for key, value in found.items():
        click.echo(f"{key:<{width}}  {value:.4f}" if isinstance(value, float) else f"{key:<{width}}  {value}")
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        click.echo(f"{_plain(key, 100):<{width}}  {_plain(text, 300)}")


@main.command()
@click.argument("file")
@json_option
@click.pass_context
def check(ctx: click.Context, file: str, as_json: bool) -> None:
    """Say whether an LCI file is whole, and which tiles are damaged (exit code 1) if it isn't."""
    report = _opened(file, learned_codec.check)
    click.echo(json.dumps(report.to_dict()) if as_json else _plain(f"{_name(file)}: {report.message}"))
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
@click.argument("recipe", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="Pictures.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Weights, checkpoints and logs.  [default: runs/RECIPE, or runs/START-DATA]",
)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint in --out.")
@click.option("--start", help="Begin with a model's weights (its name or its path), or another run's checkpoint.")
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True), help="Of the whole run.  [default: RECIPE's, or 20]"
)
@click.option("--device", default="cpu", show_default=True)
@click.option("--compile", is_flag=True, help="Use torch.compile (pays on GPUs).")
def train(
    recipe: Path | None,
    data: Path,
    out: Path | None,
    resume: bool,
    start: str | None,
    minutes: float | None,
    device: str,
    compile: bool,
) -> None:
    """Train a model as RECIPE.toml says; or without one, train the model --start on with all images below --data."""
    from learned_codec.training import trainer

    if recipe is None and start is None and not (resume and out is not None):
        raise click.UsageError("without a RECIPE, name a model to --start from, or the run to --resume by its --out.")
    name = f"{Path(start or '').stem}-{data.resolve().name}" if recipe is None else recipe.stem
    folder = out if out is not None else Path("runs") / name
    options = {"resume": resume, "start": start, "minutes": minutes, "device": device, "compile": compile}
    trainer.train(recipe, data, out=folder, **options)  # type: ignore[arg-type]  # named as they are typed above
    click.echo(f"the weights and their card are in {folder}")


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
    from learned_codec.raster.pictures import read_image

    rate = _rate(quality, bpp, psnr)
    picture = demonstration.landscape() if image is None else read_image(_source(image))
    with _progress("demo") as progress:
        result = demonstration.run(
            picture, out, rate=rate, overwrite=overwrite, threads=threads, device=device, progress=progress
        )
    click.echo(json.dumps(result.to_dict()) if as_json else result.report())


def _rate(quality: float | None, bpp: float | None, psnr: float | None, *, default: bool = True) -> dict[str, float]:
    """The one rate control that was given, or the default, as keyword arguments for `encode`."""
    given = {name: value for name, value in (("quality", quality), ("bpp", bpp), ("psnr", psnr)) if value is not None}
    if len(given) > 1:
        raise click.UsageError(f"--{' and --'.join(given)} exclude each other.")
    if any(not math.isfinite(value) for value in given.values()):
        raise click.UsageError("a rate must be a finite number.")
    return given or ({"quality": DEFAULT_QUALITY} if default else {})


def _band_list(bands: str | None) -> list[int] | None:
    if bands is None:
        return None
    try:
        return [int(part) for part in bands.split(",")]
    except ValueError:
        raise click.UsageError(f"--bands are numbers with commas between them, not {bands!r}.") from None


# -- one file, or many -------------------------------------------------------------------------------------------------

Task = tuple[str, str, dict[str, Any]]
"""Source, destination, and the arguments of `encode_file` or `decode_file`."""


def _targets(sources: tuple[str, ...], dst: str, extension: str) -> list[str]:
    """Where each source goes: to `dst`, or of several, or if `dst` is a folder, into that."""
    folder = Path(dst)
    if dst == "-" or (len(sources) == 1 and not folder.is_dir() and not dst.endswith(("/", "\\"))):
        if len(sources) > 1:
            raise click.UsageError("several files need a folder to go to, not standard output.")
        return [dst]
    if folder.exists() and not folder.is_dir():
        raise click.UsageError(f"several files need a folder to go to; {dst} is a file.")
    if "-" in sources:
        raise click.UsageError("standard input has no name to give a file in a folder.")
    targets = [str(folder / f"{Path(source).stem}.{extension.lstrip('.')}") for source in sources]
    if twice := sorted({target for target in targets if targets.count(target) > 1}):
        raise click.UsageError(f"several of the files would become {twice[0]}.")
    folder.mkdir(parents=True, exist_ok=True)
    return targets


def _encode_one(task: Task, progress: Callable[[int, int], None] | None = None) -> Any:
    source, target, options = task
    return learned_codec.encode_file(_source(source), _destination(target), progress=progress, **options)


def _decode_one(task: Task, progress: Callable[[int, int], None] | None = None) -> Any:
    source, target, options = task
    model = options.pop("model", None)
    if model is not None:  # here, as this may be a process of its own
        learned_codec.register_model(model)
    return learned_codec.decode_file(_source(source), _destination(target), progress=progress, **options)


def _run_all(
    tasks: list[Task],
    label: str,
    function: Callable[..., Any],
    jobs: int,
    report: Callable[[str, Any], None] | None,
) -> None:
    """Do all tasks. Of a single one an error is an error; of several, the others are done, and what failed is told."""
    if len(tasks) == 1:
        with _progress(label) as progress:
            result = function(tasks[0], progress)
        if report is not None:
            report(tasks[0][1], result)
        return
    failed = []
    with _progress(label) as progress:
        for done, (task, result) in enumerate(_each(tasks, function, jobs), 1):
            if isinstance(result, LearnedCodecError):
                failed.append((task[0], result))
            elif report is not None:
                report(task[1], result)
            progress(done, len(tasks))
    if failed:
        for source, error in failed:
            text = str(error)
            click.echo(f"error: {_plain(text if source in text else f'{source}: {text}')}", err=True)
        click.echo(f"{len(failed)} of {len(tasks)} files failed, the others are done", err=True)
        raise SystemExit(EXIT_ERROR)


def _each(tasks: list[Task], function: Callable[..., Any], jobs: int) -> Iterator[tuple[Task, Any]]:
    """Each task with its result or its error, as they come; in processes if there are several jobs."""
    if jobs == 1:
        for task in tasks:
            try:
                yield task, function(task)
            except LearnedCodecError as error:
                yield task, error
        return
    import multiprocessing
    import os
    from concurrent.futures import ProcessPoolExecutor, as_completed

    # Together they use the processors that there are.
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in the middle of what they do
    with ProcessPoolExecutor(min(jobs, len(tasks)), context) as pool:
        futures = {
            pool.submit(function, (s, t, {"threads": threads, **options})): (s, t, options) for s, t, options in tasks
        }
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except LearnedCodecError as error:
                yield futures[future], error


_T = TypeVar("_T")


def _opened(file: str, function: Callable[[Any], _T]) -> _T:
    """What a function says of an LCI file, of which it reads what it needs."""
    if file == "-":
        return function(sys.stdin.buffer.read())
    try:
        with Path(file).open("rb") as stream:
            return function(stream)
    except OSError as error:
        raise FileError(f"{file}: {error.strerror or error}") from error


def _source(argument: str) -> str | BinaryIO:
    return sys.stdin.buffer if argument == "-" else argument


def _destination(argument: str) -> str | BinaryIO:
    return sys.stdout.buffer if argument == "-" else argument


def _name(argument: str) -> str:
    return "standard input or output" if argument == "-" else argument


def _summary(info: Any) -> str:
    model = (
        f"the weights {info.weights_id}" if info.model is None else f"quality {info.quality:.4g}, model {info.model}"
    )
    return (
        f"{info.width} × {info.height} pixels, {info.bands} × {info.dtype}, {info.bytes:,} bytes, {info.bpp:.3f} bpp, "
        f"{model}"
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

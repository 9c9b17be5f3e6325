"""The command line. It only calls the public API, so everything it does can also be done from Python.

Exit codes:
    0  done, and nothing wrong
    1  `check` or `selftest` found something wrong
    2  the command was used wrongly
    3  an error, printed as one line: a damaged, foreign or unreadable file, a rate out of reach, a limit …
  130  interrupted; by another signal, 128 plus its number
  141  nobody reads on what is printed (`| head`); without a message

Results go to standard output, everything else (progress, warnings, errors) to standard error.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import click

import learned_codec
from learned_codec.bounded.header import in_words
from learned_codec.errors import FileError, InvalidInputError, LearnedCodecError, MissingDependencyError
from learned_codec.files import IMAGE_SUFFIXES
from learned_codec.options import DEFAULT_QUALITY, EFFORTS, one_rate
from learned_codec.profiles import PROFILES
from learned_codec.streams import our_errors
from learned_codec.terminal import EXIT_ERROR, CommandGroup, line, progress_bar, warnings_in_lines

EXIT_FOUND_WRONG = 1

_F = TypeVar("_F", bound=Callable[..., Any])


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
        click.option("--threads", type=click.IntRange(min=1), help="Threads to use.  [default: all cores]"),
    ):
        command = option(command)
    return command


jobs_option = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Files at once.")
skip_option = click.option(
    "--skip-existing", is_flag=True, help="Skip files that exist, to go on after an interruption."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing destination.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(cls=CommandGroup, epilog=__doc__ and "\b\n" + __doc__.split("\n\n")[1].replace("`", ""))
@click.version_option(learned_codec.__version__, prog_name="learned-codec")
def main() -> None:
    """Encode images into small files, and decode them: pictures and rasters of any size, bands and type.

    SRC and DST may be "-" for standard input and output.
    """


@main.command(epilog="\b\nProfiles:\n" + "".join(f"  {n:<11}{p.purpose}\n" for n, p in PROFILES.items()))
@click.argument("src", nargs=-1, metavar="SRC...")
@click.argument("dst")
@rate_options
@click.option("--max-error", type=float, multiple=True, help="At most this error of any value; once, or for each band.")
@click.option("--lossless", is_flag=True, help="Every value as it was: --max-error 0.")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Settings for a product, below.")
@click.option("--kind", type=click.Choice(["sar"]), help="Radar backscatter, coded in dB.")
@click.option(
    "--unit", type=click.Choice(["power", "amplitude", "db"]), help="Of radar.  [default: the file's, or a guess]"
)
@click.option("--nodata", type=float, help="The value of pixels that don't exist, if the file doesn't declare one.")
@click.option("--dtype", help="Store a raster's samples as int16, float32 …  [default: its own, if possible]")
@click.option("--force", is_flag=True, help="Encode rasters of classes, too.")
@click.option("--tile-size", type=int, help="Pixels per side of a tile.  [default: 1024, less for many bands]")
@click.option(
    "--effort",
    type=click.IntRange(EFFORTS[0], EFFORTS[-1]),
    help="0 is fast, 3 makes the smallest files, slowly.  [default: 0]",
)
@click.option("--model", help="A model's name, or the path of your own.  [default: by bands and dtype]")
@jobs_option
@skip_option
@overwrite_option
@json_option
@machine_options
def encode(
    src: tuple[str, ...],
    dst: str,
    quality: float | None,
    bpp: float | None,
    psnr: float | None,
    max_error: tuple[float, ...],
    lossless: bool,
    profile: str | None,
    kind: str | None,
    unit: str | None,
    jobs: int,
    skip_existing: bool,
    overwrite: bool,
    as_json: bool,
    **others: Any,
) -> None:
    """Encode the image SRC (GeoTIFF, PNG, JPEG …) into the LCI file DST, or several into the folder DST.

    If SRC is a folder, all images in it are encoded, by the endings of their names, and its subfolders are made in DST.
    """
    if lossless and max_error:
        raise click.UsageError("--lossless is --max-error 0, so they exclude each other.")
    bounds = 0.0 if lossless else max_error[0] if len(max_error) == 1 else max_error or None
    rate = _rate(quality, bpp, psnr, bounds, default=profile is None)
    given = {"profile": profile, "kind": kind or ("sar" if unit else None), "unit": unit, **others}
    options = rate | {name: value for name, value in given.items() if value is not None} | {"overwrite": overwrite}
    tasks = _tasks(src, dst, options, IMAGE_SUFFIXES, "lci", skip_existing=skip_existing)

    def report(name: str, info: Any) -> None:
        # If the file itself goes to standard output, the summary can't.
        click.echo(json.dumps(info.to_dict()) if as_json else line(f"{_name(name)}: {_summary(info)}"), err=dst == "-")

    _run_all(tasks, "encoding", _encode_one, jobs, report)


@main.command()
@click.argument("src", nargs=-1, metavar="SRC...")
@click.argument("dst")
@click.option(
    "--format", help="png, tif, webp …  [default: DST's extension; png on standard output; tif for several files]"
)
@click.option("--window", type=int, nargs=4, help="ROW COLUMN HEIGHT WIDTH: decode only this part.")
@click.option("--bands", help="Decode only these bands, by number from 1 or by name: 4,3,2 or B04,B03.")
@click.option(
    "--scale", type=click.Choice(["1", "1/2", "1/4", "1/8", "1/16"]), help="Decode the image reduced to this size."
)
@click.option("--overviews", is_flag=True, help="Build the overviews that the original had.")
@click.option(
    "--errors", type=click.Choice(["raise", "fill"]), help="Stop at a damaged tile, or fill it.  [default: raise]"
)
@click.option(
    "--refine/--no-refine",
    default=True,
    help="Without the refinement, decoding takes half the time, and is 0.2 to 0.8 dB worse.",
)
@click.option("--max-pixels", type=click.IntRange(min=1), help="Refuse larger images.  [default: 2^30]")
@click.option("--model", help="The path of the model of your own that SRC was encoded with.")
@jobs_option
@skip_option
@overwrite_option
@machine_options
def decode(
    src: tuple[str, ...],
    dst: str,
    format: str | None,
    window: tuple[int, int, int, int] | None,
    bands: str | None,
    scale: str | None,
    errors: str | None,
    max_pixels: int | None,
    jobs: int,
    skip_existing: bool,
    **others: Any,
) -> None:
    """Decode the LCI file SRC into the image DST (GeoTIFF, PNG …, by its extension), or several into the folder DST.

    If SRC is a folder, all LCI files in it are decoded, and its subfolders are made in DST.
    """
    limits = learned_codec.Limits()
    if max_pixels is not None:  # with room for three bands of them
        limits = replace(limits, max_pixels=max_pixels, max_samples=max(limits.max_samples, 3 * max_pixels))
    options = {"limits": limits, "window": window, "bands": _band_list(bands), "format": format}
    others |= {"errors": errors, "scale": None if scale is None else float(Fraction(scale))}
    options |= {name: value for name, value in others.items() if value is not None}
    tasks = _tasks(src, dst, options, LCI, format or "tif", skip_existing=skip_existing)
    _run_all(tasks, "decoding", _decode_one, jobs, None)


@main.command()
@click.argument("file", nargs=-1, required=True)
@json_option
def info(file: tuple[str, ...], as_json: bool) -> None:
    """Describe LCI files, or all in a folder, from their headers alone."""

    def show(name: str, found: Any) -> None:
        values = found.to_dict()
        if as_json:
            click.echo(json.dumps(values if len(names) == 1 else {"file": name} | values))
            return
        if len(names) > 1:
            click.echo(f"{'' if name == names[0] else chr(10)}{line(name)}")
        metadata = {key: value for key, value in values.pop("metadata").items() if key not in values}
        width = max(map(len, values))
        for key, value in values.items():
            click.echo(f"{key:<{width}}  {value:.4f}" if isinstance(value, float) else f"{key:<{width}}  {value}")
        for key, value in metadata.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            click.echo(f"{line(key, 100):<{width}}  {line(text, 300)}")

    names = _names(file)
    _look_at(names, learned_codec.inspect, show)


@main.command()
@click.argument("file", nargs=-1, required=True)
@json_option
@click.pass_context
def check(ctx: click.Context, file: tuple[str, ...], as_json: bool) -> None:
    """Check that LCI files, or all in a folder, are whole. Names damaged tiles (exit code 1)."""
    found = []

    def show(name: str, report: Any) -> None:
        found.append(report.ok)
        if as_json:
            click.echo(json.dumps(report.to_dict() if len(names) == 1 else {"file": name} | report.to_dict()))
        else:
            click.echo(f"{_name(name)}: {line(report.message)}")

    names = _names(file)
    _look_at(names, learned_codec.check, show)
    ctx.exit(0 if all(found) else EXIT_FOUND_WRONG)


@main.command()
@json_option
def models(as_json: bool) -> None:
    """List the models there are: the package's, then those that LEARNED_CODEC_MODELS names."""
    found = learned_codec.list_models()
    if as_json:
        names = "name", "bands", "weights_id", "path"
        click.echo(json.dumps([{name: getattr(card, name) for name in names} for card in found], default=str))
    else:
        click.echo(found)


@main.command()
@click.option("--device", help="Check this device too: cuda, cuda:1 …")
@json_option
@click.pass_context
def selftest(ctx: click.Context, device: str | None, as_json: bool) -> None:
    """Check that this machine decodes the same symbols as every other (exit code 1 if it doesn't)."""
    from learned_codec import selftest as tests

    with progress_bar("testing") as progress:
        results = tests.run(progress, device)
    right = all(ok for _, ok in results)
    speed = tests.speed(device) if right and device is not None else {}
    if as_json:
        click.echo(json.dumps({"versions": tests.versions(), "results": dict(results), "speed": speed}))
    else:
        for name, ok in results:
            click.echo(f"{'ok    ' if ok else 'FAILED'}  {name}")
        for name, value in speed.items():
            click.echo(f"{value:8.1f}  {name}" if name.endswith("ms") else f"{value:8.2f}  {name}, megapixels a second")
    ctx.exit(0 if right else EXIT_FOUND_WRONG)


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
    """Train a model by RECIPE.toml. Without a recipe, train the model --start further on all images below --data."""
    try:
        from learned_codec.training import trainer
    except ModuleNotFoundError as error:
        raise MissingDependencyError("training needs torch: pip install 'learned-codec[train]'") from error

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
    """Compare this codec with JPEG 2000 and JPEG at equal bytes, on IMAGE or an artificial landscape."""
    from learned_codec import demo as demonstration
    from learned_codec.raster.pictures import read_image

    rate = _rate(quality, bpp, psnr)
    picture = demonstration.landscape() if image is None else read_image(_source(image))
    with progress_bar("demo") as progress:
        result = demonstration.run(
            picture, out, rate=rate, overwrite=overwrite, threads=threads, device=device, progress=progress
        )
    click.echo(json.dumps(result.to_dict()) if as_json else result.report())


@main.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--max-bytes", type=click.IntRange(min=1), help="The most bytes of our file, instead of a quality.")
@click.option("--quality", type=float, help=f"1 to 100.  [default: {DEFAULT_QUALITY:g}]")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="A PNG for a side-by-side picture.")
@click.option("--kind", type=click.Choice(["sar"]), help="Radar backscatter, coded in dB.")
@click.option("--nodata", type=float, help="The value of pixels that don't exist, if the file doesn't declare one.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads to use.")
@overwrite_option
@json_option
def compare(image: Path, as_json: bool, **options: Any) -> None:
    """Show the size and error of IMAGE as an LCI file, and as a JPEG 2000 file of the same size."""
    from learned_codec import savings

    if options["max_bytes"] is not None and options["quality"] is not None:
        raise click.UsageError("--max-bytes and --quality exclude each other.")
    with progress_bar("comparing") as progress:
        found = savings.compare(image, progress=progress, **options)
    click.echo(json.dumps(found.to_dict()) if as_json else found.report())


def _rate(
    quality: float | None,
    bpp: float | None,
    psnr: float | None,
    max_error: float | tuple[float, ...] | None = None,
    *,
    default: bool = True,
) -> dict[str, Any]:
    """The rate or bound that was given, or the default rate, as keyword arguments for `encode`."""
    given = {"quality": quality, "bpp": bpp, "psnr": psnr}
    if max_error is not None:
        if quality is not None or psnr is not None:
            raise click.UsageError("--max-error and --lossless exclude --quality and --psnr.")
        return {"max_error": max_error} if bpp is None else {"max_error": max_error, "bpp": bpp}
    if not default and set(given.values()) == {None}:
        return {}
    try:
        name, value = one_rate(given)
    except InvalidInputError as error:
        raise click.UsageError(f"{error}.") from None
    return {name: value}


def _band_list(bands: str | None) -> list[int | str] | None:
    if bands is None:
        return None
    return [int(part) if part.lstrip("-").isdecimal() else part for part in map(str.strip, bands.split(","))]


# -- one file, or many -------------------------------------------------------------------------------------------------

LCI = frozenset({".lci"})

COMPANIONS = frozenset(
    f".{name}"
    for name in (
        *("aux", "hdr", "ige", "imd", "msk", "ovr", "prj", "rpb", "rpc", "rrd", "tab", "wld", "xml"),
        *("bpw", "gfw", "j2w", "jgw", "jp2w", "jpgw", "pgw", "pngw", "tfw", "tifw", "tiffw", "wpw", "webpw"),
    )
)
"""Suffixes of files that belong to the image of the same name."""

Task = tuple[str, str, dict[str, Any]]
"""Source, destination, and the arguments of `encode_file` or `decode_file`."""


def _tasks(
    sources: tuple[str, ...],
    dst: str,
    options: dict[str, Any],
    suffixes: Iterable[str],
    extension: str,
    *,
    skip_existing: bool,
) -> list[Task]:
    """Each source with its destination: `dst`, or a file in it if it is a folder or there are several sources."""
    if not sources:
        raise click.UsageError(f"{dst} is the only file: name the destination DST, too.")
    if len(sources) == 1 and not _is_folder(dst) and not (_is_dir(sources[0]) and not Path(dst).suffix):
        pairs = [(sources[0], dst)]  # some formats are folders, and become a file
    else:
        pairs = list(_into_folder(sources, dst, suffixes, extension.lstrip(".")))
    left = [(s, t, options) for s, t in pairs if t == "-" or not (skip_existing and _exists(t))]
    if skip_existing and len(left) < len(pairs):
        click.echo(f"{len(pairs) - len(left)} of {len(pairs)} files are done already", err=True)
    return left


def _is_folder(dst: str) -> bool:
    return _is_dir(dst) or dst.endswith(("/", "\\"))


def _is_dir(name: str | Path) -> bool:
    """Not `Path.is_dir`, for which "" is the current folder, and which raises OSError for what can't be looked at."""
    return os.path.isdir(name)  # noqa: PTH112


def _exists(name: str | Path) -> bool:
    """Not `Path.exists`, for the same reasons."""
    return os.path.exists(name)  # noqa: PTH110


def _into_folder(
    sources: tuple[str, ...], dst: str, suffixes: Iterable[str], extension: str
) -> Iterator[tuple[str, str]]:
    folder = Path(dst)
    if dst == "-":
        raise click.UsageError("several files need a folder to go to, not standard output.")
    if _exists(dst) and not _is_dir(dst):
        raise click.UsageError(f"several files need a folder to go to; {dst} is a file.")
    if "-" in sources:
        raise click.UsageError("standard input has no name to give a file in a folder.")
    found: dict[str, str] = {}
    for source in sources:
        is_folder = _is_dir(source)
        inside = _files_in(Path(source), suffixes) if is_folder else [Path(source)]
        if is_folder and suffixes != LCI:
            _tell_left_out(Path(source), inside)
        for path in inside:
            place = path.relative_to(source).parent if is_folder else Path()
            target = str(folder / place / f"{path.stem}.{extension}")
            if target in found:
                raise click.UsageError(f"several of the files would become {target}.")
            found[target] = str(path) if is_folder else source
    for target in found:
        with our_errors(str(Path(target).parent)):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
    return ((source, target) for target, source in found.items())


def _files_in(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """All files in a folder and its subfolders with one of the suffixes, except hidden ones. Raises `FileError`."""
    found = [path for path in _everything_in(folder) if path.suffix.lower() in suffixes and not _is_special(path)]
    if not found:
        raise FileError(f"{folder}: has no files with names that end in {', '.join(sorted(suffixes))}")
    return found


def _everything_in(folder: Path) -> Iterator[Path]:
    """All in a folder and its subfolders that is neither a folder nor hidden, and links to folders.

    Raises `FileError` for a folder that can't be read.
    """

    def refuse(error: OSError) -> NoReturn:
        raise FileError(f"{error.filename}: {error.strerror}") from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = (name for name in folders if Path(place, name).is_symlink())
        yield from (Path(place, name) for name in (*links, *sorted(names)) if not name.startswith("."))


def _is_special(path: Path) -> bool:
    """Whether it is there and no file, such as a named pipe, which may never end."""
    return _exists(path) and not path.is_file()


def _tell_left_out(folder: Path, taken: list[Path]) -> None:
    """Print what else there is in a folder and its subfolders: other images in it have to be named one by one.

    Hidden files, LCI files, and those that belong to an image that is taken (a.tfw and a.tif.aux.xml to a.tif) are not
    told of.
    """
    owners = {path.with_name(name) for path in taken for name in (path.name, path.stem)}
    others: Counter[str] = Counter()
    for path in _everything_in(folder):
        ending = path.suffix.lower()
        bare = path.with_suffix("")
        belongs = path in owners or (ending in COMPANIONS and bool(owners & {bare, bare.with_suffix("")}))
        if _is_dir(path):
            others[f"the link {path}"] += 1
        elif _is_special(path):
            others[f"{path}, which is not a file"] += 1
        elif not belongs and ending not in LCI:
            others[f"names that end in {ending}" if ending else "names without an ending"] += 1
    if others:
        told = ", ".join(f"{count:,} × {what}" for what, count in sorted(others.items()))
        click.echo(line(f"{folder}: left out: {told}"), err=True)


def _encode_one(task: Task, progress: Callable[[int, int], None] | None = None) -> Any:
    source, target, options = task
    with warnings_in_lines(_name(source), target):  # also if this is a process of its own
        return learned_codec.encode_file(_source(source), _destination(target), progress=progress, **options)


def _decode_one(task: Task, progress: Callable[[int, int], None] | None = None) -> Any:
    source, target, options = task
    if "model" in options:
        learned_codec.register_model(options["model"])
    others = {name: value for name, value in options.items() if name != "model"}
    with warnings_in_lines(_name(source), target):
        return learned_codec.decode_file(_source(source), _destination(target), progress=progress, **others)


def _run_all(
    tasks: list[Task],
    label: str,
    function: Callable[..., Any],
    jobs: int,
    report: Callable[[str, Any], None] | None,
) -> None:
    """Do all tasks.

    The error of a single file is raised. With several files, the others are done, and errors are printed at the end.
    """
    if len(tasks) == 1:
        source, target, _ = tasks[0]
        with _named(source, target), progress_bar(label) as progress:
            result = function(tasks[0], progress)
        if report is not None:
            report(target, result)
        return
    failed = []
    with progress_bar(label) as progress:
        for done, (task, result) in enumerate(_each(tasks, function, jobs), 1):
            if isinstance(result, LearnedCodecError):
                failed.append((task[0], result))
            elif report is not None:
                report(task[1], result)
            progress(done, len(tasks))
    _tell(failed, len(tasks), "the others are done")


def _each(tasks: list[Task], function: Callable[..., Any], jobs: int) -> Iterator[tuple[Task, Any]]:
    """Each task with its result or its error, as they finish; in processes if `jobs` is more than 1."""
    from learned_codec.jobs import attempt, each

    if jobs == 1:
        return ((task, attempt(function, task)) for task in tasks)
    # All jobs together use all cores.
    threads = max(1, (os.cpu_count() or 1) // jobs)
    return each(function, [(s, t, {"threads": threads, **options}) for s, t, options in tasks], jobs)


def _names(files: tuple[str, ...]) -> list[str]:
    """The given files, and those in the given folders."""
    return [str(f) for name in files for f in (_files_in(Path(name), LCI) if _is_dir(name) else [name])]


def _look_at(names: list[str], function: Callable[[Any], Any], show: Callable[[str, Any], None]) -> None:
    """Show the result of a function for LCI files. Errors are treated as in `_run_all`."""
    failed = []
    for name in names:
        try:
            with _named(name):
                found = function(_source(name))
        except LearnedCodecError as error:
            if len(names) == 1:
                raise
            failed.append((name, error))
        else:
            show(name, found)
    _tell(failed, len(names), "the others are printed above")


@contextmanager
def _named(*names: str) -> Iterator[None]:
    """Begin the message of an error with the first of some names, unless it has one of them."""
    try:
        yield
    except LearnedCodecError as error:
        if not any(name in str(error) for name in names):
            error.args = (f"{_name(names[0])}: {error}", *error.args[1:])
        raise


def _tell(failed: list[tuple[str, LearnedCodecError]], total: int, others: str) -> None:
    """Print which files failed and why, and exit if any did."""
    for name, error in failed:
        click.echo(f"error: {line(error if name in str(error) else f'{name}: {error}')}", err=True)
    if failed:
        click.echo(f"{len(failed)} of {total} files failed{f', {others}' if len(failed) < total else ''}", err=True)
        raise SystemExit(EXIT_ERROR)


def _source(argument: str) -> str | BinaryIO:
    return sys.stdin.buffer if argument == "-" else argument


def _destination(argument: str) -> str | BinaryIO:
    return sys.stdout.buffer if argument == "-" else argument


def _name(argument: str) -> str:
    return "standard input or output" if argument == "-" else line(argument)


def _summary(info: Any) -> str:
    if info.max_error is not None:
        return f"{_size(info)}, {in_words(info.max_error)}"
    model = (
        f"the weights {info.weights_id}" if info.model is None else f"quality {info.quality:.4g}, model {info.model}"
    )
    return f"{_size(info)}, {model}"


def _size(info: Any) -> str:
    size = f"{info.width} × {info.height} pixels, {info.bands} × {info.dtype}"
    return f"{size}, {info.bytes:,} bytes, {info.bpp:.3f} bpp"

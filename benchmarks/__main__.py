"""The command line: `python -m benchmarks rd|sar|bounded|speed|complexity|report|picture|training|table`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from learned_codec.models.device import cores

from . import (
    bounded,
    codecs,
    complexity,
    datasets,
    eo,
    latency,
    picture,
    plots,
    rd,
    readme,
    report,
    rivals,
    sar,
    speed,
    speed_page,
    tables,
)
from .storage import CellCache, default_cache, write_atomically, write_json

_OUT = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FILE_TO_WRITE = click.Path(dir_okay=False, path_type=Path)


def _command() -> str:
    """The command as it was typed, for the results file. Absolute paths are reduced to their last names."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "benchmarks", *words])


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in codecs.names()]
    if unknown:
        raise click.BadParameter(f"no codec {', '.join(unknown)}; there are: {', '.join(codecs.names())}")
    return names


_codecs = click.option("--codecs", "names", callback=_names, help="Comma-separated; all that can run here by default.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Rate, distortion, time, memory and complexity of this codec and its peers."""


@main.command("bounded")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=_OUT, default="benchmark-results", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only this many images of each group.")
@click.option("--jobs", type=click.IntRange(1), default=cores, show_default="cores")
def bounded_command(data: Path, out: Path, limit: int | None, jobs: int) -> None:
    """Bytes without loss and within bounds, for the folders kodak, optical_test and sar_test in --data."""
    click.echo(bounded.table(bounded.run(data, out, _command(), limit, jobs)))


@main.command("rd")
@click.option("--dataset", help="A directory of images, or `quick` for crops that come with scikit-image.")
@_codecs
@click.option("--out", type=_OUT, default="benchmark-results", show_default=True)
@click.option(
    "--cache", type=_OUT, default=None, help="Where measured cells are kept.  [default: the user's cache folder]"
)
@click.option("--fresh", is_flag=True, help="Measure all cells again; don't use the cache.")
@click.option("--jobs", type=click.IntRange(1), default=cores, show_default="cores")
@click.option("--points", type=click.IntRange(2), help="The most settings of each ladder.")
@click.option("--limit", type=click.IntRange(1), help="The most images.")
@click.option("--quick", is_flag=True, help="The built-in images, 5 settings: under two minutes on two cores.")
@click.option("--report/--no-report", "with_report", default=True, show_default=True, help="Figures and HTML page.")
@click.option("--speed", "speed_file", type=_FILE, help="A speed.json to show in the report.")
@click.option("--complexity", "complexity_file", type=_FILE, help="A complexity.json to show in the report.")
def rd_command(
    dataset: str | None,
    names: list[str] | None,
    out: Path,
    cache: Path | None,
    fresh: bool,
    jobs: int,
    points: int | None,
    limit: int | None,
    quick: bool,
    with_report: bool,
    speed_file: Path | None,
    complexity_file: Path | None,
) -> None:
    """Rate and distortion of each codec on all images. Goes on where an earlier run stopped."""
    if quick:
        dataset, points = dataset or "quick", points or 5
    if dataset is None:
        raise click.UsageError("--dataset DIR is needed (or --quick)")
    cells = CellCache(cache or default_cache(), fresh=fresh)
    items = None
    if sar.is_sar(dataset):
        # the table of backscatter in dB; what isn't a GeoTIFF is measured as it is
        for patch in (sar.PATCH, None):
            _sar(Path(dataset), names or ("ours", "jpeg2000", "jpegxl"), patch, out)
        items = [item for item in datasets.find(dataset) if not item.path.lower().endswith((".tif", ".tiff"))]
        if not items:
            return
    try:
        results = rd.run(
            dataset, names, cache=cells, jobs=jobs, points=points, limit=limit, command=_command(), items=items
        )
    except (datasets.DatasetError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(tables.cells_line(results[0]["cells"]))
    for result, path in zip(results, tables.save(results, out), strict=True):
        click.echo(f"\n{tables.bd_table(result)}\n-> {path}")
        if with_report:
            for file in report.write(path, out, dataset=dataset, speed=speed_file, complexity=complexity_file):
                click.echo(f"-> {file}")


def _sar(dataset: Path, names: Sequence[str], patch: int | None, out: Path) -> None:
    """Measures and writes one SAR table: JSON, CSV, Markdown and figures."""
    try:
        result = sar.run(dataset, names, patch=patch, command=_command())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    path = out / f"{result['dataset']}-{f'patch{patch}' if patch else 'whole'}.json"
    write_json(path, result)
    write_atomically(path.with_suffix(".csv"), sar.to_csv(result))
    write_atomically(path.with_suffix(".md"), sar.table(result) + "\n")
    click.echo(sar.table(result))
    for row in result["skipped"]:
        click.echo(f"left out: {row['codec']} ({row['reason']})")
    for file in (path, path.with_suffix(".csv"), path.with_suffix(".md"), *plots.sar(result, path.with_suffix(""))):
        click.echo(f"-> {file}")


@main.command("sar")
@click.option("--dataset", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@_codecs
@click.option("--out", type=_OUT, default="benchmark-results", show_default=True)
@click.option(
    "--patch", type=click.IntRange(0), default=sar.PATCH, show_default=True, help="Patch size; 0: whole images."
)
def sar_command(dataset: Path, names: list[str] | None, out: Path, patch: int) -> None:
    """SAR in dB, clipped to its 1st–99th percentile, at 0.25, 0.5, 1 and 2 bits per pixel."""
    _sar(dataset, names or ("ours", "jpeg2000", "jpegxl"), patch or None, out)


@main.command("eo")
@click.option("--dataset", required=True, help="A directory of rasters.")
@click.option("--limit", type=click.IntRange(1), help="The most scenes.")
@click.option("--out", type=_OUT, default="benchmark-results", show_default=True)
def eo_command(dataset: str, limit: int | None, out: Path) -> None:
    """Earth observation: bytes of each scene, PSNR at 0.1 and 1 bit per pixel and band, and what analysts check."""
    try:
        result = eo.run(dataset, limit=limit, command=_command())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    path = out / f"{result['dataset']}-eo.json"
    write_json(path, result)
    write_atomically(path.with_suffix(".md"), eo.report(result, plots.label))
    click.echo(eo.report(result, plots.label))
    click.echo(f"-> {path}")


@main.command("speed")
@_codecs
@click.option(
    "--bpp", type=click.FloatRange(0, min_open=True), default=0.75, show_default=True, help="Rate for every codec."
)
@click.option("--threads", type=click.IntRange(1), multiple=True, help="May be repeated.  [default: 1 and all cores]")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--timeout", type=float, default=600.0, show_default=True, help="Seconds that one measurement may take.")
@click.option("--quick", is_flag=True, help="Half a megapixel, one repeat, a scene of 2,048 × 2,048.")
@click.option("--out", type=_OUT, default="benchmark-results", show_default=True)
def speed_command(
    names: list[str] | None, bpp: float, threads: tuple[int, ...], repeats: int, timeout: float, quick: bool, out: Path
) -> None:
    """Time and peak memory of ours and the peers, in turns in one run, as one page."""
    sizes: dict[str, Any] = {"megapixels": 0.5, "slow_megapixels": 0.5, "large_megapixels": None} if quick else {}
    repeats = 1 if quick else repeats
    result = speed.run(names, bpp=bpp, threads=threads, repeats=repeats, timeout=timeout, command=_command(), **sizes)
    settings = {row["codec"]: row["setting"] for row in result["rows"]}
    side = 2048 if quick else latency.SCENE
    result |= {"start": latency.start(settings, repeats=repeats), "scene": side, "windows": latency.windows(size=side)}
    write_json(out / "speed.json", result)
    write_atomically(out / "speed.md", speed_page.page(result, plots.label))
    click.echo(speed_page.page(result, plots.label))
    click.echo(f"-> {out / 'speed.json'}")


@main.command("complexity")
@click.option("--out", type=_OUT, default="benchmark-results", show_default=True)
def complexity_command(out: Path) -> None:
    """Multiply-accumulates per pixel: ours, CompressAI's architectures, published figures."""
    result = complexity.run(_command())
    write_json(out / "complexity.json", result)
    click.echo(complexity.table(result))
    click.echo(f"-> {out / 'complexity.json'}")


@main.command("report")
@click.argument("results", type=_FILE)
@click.option("--dataset", help="The images, for the viewer.")
@click.option("--out", type=_OUT, help="[default: beside the results]")
@click.option("--speed", "speed_file", type=_FILE)
@click.option("--complexity", "complexity_file", type=_FILE)
@click.option("--bpp", type=float, default=0.3, show_default=True, help="Rate of the viewer's crops.")
def report_command(
    results: Path,
    dataset: str | None,
    out: Path | None,
    speed_file: Path | None,
    complexity_file: Path | None,
    bpp: float,
) -> None:
    """Figures and HTML page of a results file made by `rd`."""
    files = report.write(
        results, out or results.parent, dataset=dataset, speed=speed_file, complexity=complexity_file, bpp=bpp
    )
    for file in files:
        click.echo(f"-> {file}")


@main.command("picture")
@click.argument("name")
@click.option("--dataset", default="quick", show_default=True)
@click.option("--bpp", type=float, default=0.25, show_default=True)
@click.option("--box", type=int, nargs=4, help="Row, column, height and width of the crop shown.")
@click.option("--zoom", type=click.IntRange(1), default=1, show_default=True)
@click.option("--out", type=_FILE_TO_WRITE, required=True)
def picture_command(
    name: str, dataset: str, bpp: float, box: tuple[int, int, int, int] | None, zoom: int, out: Path
) -> None:
    """Crops of the image NAME side by side: original, ours, and JPEG 2000 at equal bytes."""
    items = {item.name: item for item in datasets.find(dataset)}
    if name not in items:
        raise click.BadParameter(f"no image {name} in {dataset}; there are: {', '.join(items)}")
    for line in picture.side_by_side(items[name], bpp, out, box=box, zoom=zoom):
        click.echo(line)
    click.echo(f"-> {out}")


@main.command("training")
@click.argument("log", type=_FILE)
@click.option("--out", type=_FILE_TO_WRITE, required=True)
def training_command(log: Path, out: Path) -> None:
    """A figure of a training run's log.jsonl: loss, rate and PSNR against hours and steps."""
    for file in plots.training(log, out):
        click.echo(f"-> {file}")


@main.command("table")
@click.argument("results", nargs=-1, type=_FILE)
def table_command(results: tuple[Path, ...]) -> None:
    """The tables that README and documentation have of a results file of `rd`, `eo` or `speed`.

    With several files, of which the first is a `*-whole.json` of SAR, it is the table of rasters. Without a file, it is
    that of the peers' settings.
    """
    found = [json.loads(path.read_text()) for path in results]
    names = {entry["name"] for entry in found[0].get("codecs", [])} if found else set()
    if not found:
        tables = [readme.peers_table()]
    elif len(found) > 1:
        tables = [readme.raster_table(found[0], found[1:])]
    elif "scenes" in found[0]:
        tables = [readme.checks_table(found[0])]
    elif "bd" not in found[0]:
        tables = [readme.speed_table(found[0])]
    elif "ours-effort3" in names and all(name.startswith("ours") for name in names - {rd.ANCHOR}):
        tables = [readme.effort_table(found[0])]
    elif "bd-parts" not in found[0] or not any(entry["name"] == "ours" for entry in found[0]["codecs"]):
        tables = [readme.rate_table(found[0])]
    else:
        published = rivals.table(found[0], short=True)
        tables = [
            readme.rate_table(found[0]),
            readme.structure_table(found[0]),
            published,
            readme.quality_table(found[0]),
        ]
    click.echo("\n\n".join(tables))


@main.command("codecs")
def codecs_command() -> None:
    """The codecs, their versions, and why some cannot run here."""
    for name in codecs.names():
        codec = codecs.get(name)
        click.echo(f"{name}: {codec.unavailable() or codec.version()}")


if __name__ == "__main__":
    main()

"""One HTML page with everything in it: figures, tables, environment, and a viewer of crops at equal bytes."""

from __future__ import annotations

import base64
import html
import importlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import codecs, datasets, metrics, plots, rd, rivals, speed_page
from .codec import AnyArray, bands_of, setting_for_bytes
from .storage import write_atomically

_CROP = 384


@dataclass(frozen=True)
class View:
    """One image of the viewer: three crops as PNG data, and the bytes and PSNR of each codec on the whole image."""

    name: str
    original: str
    left: str
    right: str
    left_text: str
    right_text: str


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _png(image: AnyArray) -> str:
    buffer = io.BytesIO()
    importlib.import_module("PIL.Image").fromarray(image).save(buffer, "PNG")
    return _data_uri(buffer.getvalue(), "png")


def _busiest(image: AnyArray, size: int) -> tuple[slice, slice]:
    """The window with the most gradient energy, where codecs differ most."""
    gray = image.astype(np.float64) if image.ndim == 2 else image.astype(np.float64).mean(axis=2)
    energy = np.abs(np.diff(gray, axis=0, prepend=gray[:1])) + np.abs(np.diff(gray, axis=1, prepend=gray[:, :1]))
    height, width = min(size, gray.shape[0]), min(size, gray.shape[1])
    total = np.pad(energy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    step = sums[::16, ::16]
    row, column = (int(i) * 16 for i in np.unravel_index(int(step.argmax()), step.shape))
    return slice(row, row + height), slice(column, column + width)


def views(items: Sequence[datasets.Item], left: str, right: str, bpp: float) -> list[View]:
    """The views of 8-bit images: `right` at `bpp`, and `left` with no more bytes."""
    a, b = codecs.get(left), codecs.get(right)
    found = []
    for item in items:
        loaded = datasets.load(item)
        image = loaded.image
        bands = bands_of(image)
        if (
            image.dtype != np.uint8
            or bands not in (1, 3)
            or not (a.accepts(np.uint8, bands) and b.accepts(np.uint8, bands))
        ):
            continue
        try:
            _, theirs = setting_for_bytes(b, image, bpp * loaded.pixels / 8)
            _, mine = setting_for_bytes(a, image, len(theirs), tolerance=0.005, max_trials=16)
        except ValueError:
            continue  # one of them can't make so small a file of this image
        window = _busiest(image, _CROP)
        shown, texts = [], []
        for codec, data in ((a, mine), (b, theirs)):
            decoded = codec.decode(data)
            shown.append(_png(np.ascontiguousarray(decoded[window])))
            level = metrics.psnr(image, decoded, 255)
            rate = 8 * len(data) / loaded.pixels
            texts.append(f"{plots.label(codec.name)}: {len(data):,} bytes, {rate:.3f} bpp, {level:.2f} dB")
        found.append(View(item.name, _png(np.ascontiguousarray(image[window])), shown[0], shown[1], texts[0], texts[1]))
    return found


def pick_left(result: Mapping[str, Any], right: str) -> str | None:
    """Ours if it was measured, else the first other codec than `right`."""
    names = [entry["name"] for entry in result["codecs"] if not entry["name"].startswith("jpeg2000")]
    return "ours" if "ours" in names else next((name for name in names if name != right), None)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _from_markdown(text: str) -> str:
    """HTML of the paragraphs and tables in Markdown that this package writes."""
    out = []
    for block in text.split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("|"):
            head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            out.append(f'<div class="scroll">{_table(head, rows)}</div>')
        else:
            out += [f"<p>{html.escape(line)}</p>" for line in lines]
    return "".join(out)


def _environment(found: Mapping[str, Any]) -> str:
    rows = [[name, str(value)] for name, value in found.items() if name != "packages"]
    return _table(["", ""], rows + [[name, str(version)] for name, version in found.get("packages", {}).items()])


def _bd_rows(result: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for bd in result["bd"]:
        whole, level = bd["mean_curve"], bd["mean_curve_bd_psnr"]
        rows.append(
            [
                plots.label(bd["codec"]),
                bd["method"].upper() if bd["method"] == "pchip" else bd["method"].title(),
                f"{whole['value']:+.1f} %" if whole else "refused",
                f"{level['value']:+.2f} dB" if level else "refused",
                "refused" if bd["mean_of_images"] is None else f"{bd['mean_of_images']:+.1f} %",
                f"{bd['images']} of {len(result['images'])}",
                f"{whole['low']:.1f}–{whole['high']:.1f} dB ({whole['overlap']:.0%})" if whole else "",
            ]
        )
    return rows


def _of_images(result: Mapping[str, Any]) -> str:
    """The BD-rate of each image; "" if the result has none."""
    found = [bd for bd in result["bd"] if bd["method"] == "pchip" and bd.get("per_image")]
    if not found:
        return ""
    rows = [
        [name, *(f"{bd['per_image'][name]:+.1f} %" if name in bd["per_image"] else "–" for bd in found)]
        for name in result["images"]
    ]
    rows.append(["mean (images)", *(f"{bd['mean_of_images']:+.1f} % ({bd['images']})" for bd in found)])
    head = ["image", *(plots.label(bd["codec"]) for bd in found)]
    return f'<h2>BD-rate of each image (PCHIP)</h2><div class="scroll">{_table(head, rows)}</div>'


def _curve_rows(result: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for entry in result["codecs"]:
        r = entry["results"]
        for i, setting in enumerate(entry["settings"]):

            def show(key: str, digits: int, i: int = i, r: Mapping[str, Any] = r) -> str:
                value = r[key][i] if key in r else None
                return "–" if value is None else f"{value:.{digits}f}"

            row = [plots.label(entry["name"]), f"{setting:g}", show("bpp", 3), show("psnr", 2), show("ssim", 4)]
            rows.append(
                [*row, show("ms-ssim", 4), show("max-error", 1), show("encoding_time", 3), show("decoding_time", 3)]
            )
    return rows


def _published(result: Mapping[str, Any]) -> str:
    """The section of published codecs, which were not measured here."""
    table = rivals.table(result)
    if not table:
        return ""
    sources = [
        [e["name"], e["description"], e["source"]] for e in rivals.load(result["dataset"], len(result["images"]))
    ]
    return (
        "<h2>Published, not measured here</h2><p>The authors' mean curves, against this run's "
        f"{html.escape(plots.label(result['anchor']))}.</p>{_from_markdown(table)}"
        f'<div class="scroll wrap">{_table(["codec", "what", "source of the points"], sources)}</div>'
    )


_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { text-align: left; white-space: nowrap; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); }
figure { margin: 1rem 0; } figure img { max-width: min(100%, 52rem); background: white; border-radius: 4px; }
pre { overflow-x: auto; padding: .7rem; border: 1px solid var(--line); border-radius: 4px; font-size: .82rem; }
.viewer { display: flex; flex-wrap: wrap; gap: 1rem; }
.pane { position: relative; width: 384px; max-width: 100%; }
.pane img, .pane canvas { display: block; width: 100%; image-rendering: pixelated; }
.pane img.over { position: absolute; inset: 0; }
.pane .bar { position: absolute; top: 0; bottom: 0; width: 2px; background: #fff; box-shadow: 0 0 3px #000;
  pointer-events: none; }
.controls { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; margin: .6rem 0; }
#split { width: 100%; }
.wrap td { white-space: normal; overflow-wrap: anywhere; min-width: 5rem; }
.scroll { overflow-x: auto; } small { opacity: .75; }
"""

_SCRIPT = """
const views = JSON.parse(document.getElementById('views').textContent);
const $ = id => document.getElementById(id);
const load = src => new Promise(done => { const i = new Image(); i.onload = () => done(i); i.src = src; });
function pixels(image) {
  const c = document.createElement('canvas'); c.width = image.naturalWidth; c.height = image.naturalHeight;
  const x = c.getContext('2d', {willReadFrequently: true}); x.drawImage(image, 0, 0);
  return x.getImageData(0, 0, c.width, c.height);
}
async function difference(original, decoded, canvas, gain) {
  const a = pixels(await load(original)), b = pixels(await load(decoded));
  canvas.width = a.width; canvas.height = a.height;
  const context = canvas.getContext('2d'), out = context.createImageData(a.width, a.height);
  for (let i = 0; i < a.data.length; i++)
    out.data[i] = i % 4 === 3 ? 255 : Math.max(0, Math.min(255, 128 + gain * (b.data[i] - a.data[i])));
  context.putImageData(out, 0, 0);
}
function split() {
  const at = $('split').value;
  $('over').style.clipPath = `inset(0 ${100 - at}% 0 0)`;
  $('bar').style.left = `calc(${at}% - 1px)`;
}
function show() {
  const v = views[$('image').value], pair = $('pair').value, gain = +$('gain').value;
  const [under, over] = {lr: [v.right, v.left], lo: [v.original, v.left], ro: [v.original, v.right]}[pair];
  $('under').src = under; $('over').src = over;
  $('text').textContent = v.left_text + '  |  ' + v.right_text;
  $('gainText').textContent = '×' + gain;
  difference(v.original, v.left, $('diffLeft'), gain); difference(v.original, v.right, $('diffRight'), gain);
  split();
}
if (views.length) {
  views.forEach((v, i) => $('image').add(new Option(v.name, i)));
  // a link can name a state: #image=2&pair=lo&gain=8&split=30
  new URLSearchParams(location.hash.slice(1)).forEach((v, k) => {
    if (['image', 'pair', 'gain', 'split'].includes(k)) $(k).value = v;
  });
  for (const id of ['image', 'pair', 'gain']) $(id).addEventListener('input', show);
  $('split').addEventListener('input', split);
  show();
}
"""


def _viewer(found: Sequence[View], left: str, right: str) -> str:
    if not found:
        empty = "<script type='application/json' id='views'>[]</script>"
        return f"<p>No image of this run could be shown at equal bytes.</p>{empty}"
    a, b = html.escape(plots.label(left)), html.escape(plots.label(right))
    # "<" may not stand in a script element's text
    data = json.dumps([asdict(v) for v in found]).replace("<", "\\u003c")
    return f"""
<div class="controls">
 <label>Image <select id="image"></select></label>
 <label>Compare <select id="pair"><option value="lr">{a} | {b}</option><option value="lo">{a} | original</option>
  <option value="ro">{b} | original</option></select></label>
 <label>Difference gain <input id="gain" type="range" min="1" max="16" value="4"> <span id="gainText"></span></label>
</div>
<p id="text"></p>
<div class="viewer">
 <div><div class="pane"><img id="under" alt="right side"><img id="over" class="over" alt="left side">
  <div class="bar" id="bar"></div></div>
  <input id="split" type="range" min="0" max="100" value="50" aria-label="slider between the two"></div>
 <div><div class="pane"><canvas id="diffLeft"></canvas></div><small>{a} − original</small></div>
 <div><div class="pane"><canvas id="diffRight"></canvas></div><small>{b} − original</small></div>
</div>
<script type="application/json" id="views">{data}</script>"""


def page(
    result: Mapping[str, Any],
    figures: Sequence[tuple[str, Path]],
    found: Sequence[View],
    pair: tuple[str, str],
    extra: Sequence[tuple[str, str]] = (),
) -> str:
    """The whole page as text. Figures are embedded, and nothing is fetched."""
    title = f"{result['dataset']} ({len(result['images'])} images, {result['kind']})"
    pictures = "".join(
        f'<figure><img src="{_data_uri(path.read_bytes(), "png")}" alt="{html.escape(text)}">'
        f"<figcaption><small>{html.escape(text)}</small></figcaption></figure>"
        for text, path in figures
    )
    versions = _table(
        ["codec", "what", "version"],
        [[plots.label(c["name"]), c["description"], c["version"]] for c in result["codecs"]],
    )
    left_out = [[s["codec"], ", ".join(s.get("images", ())) or "all", s["reason"]] for s in result["skipped"]]
    bd_head = [
        "codec",
        "interpolation",
        "BD-rate, mean curve",
        "BD-PSNR, mean curve",
        "BD-rate, mean of images",
        "images",
        "PSNR range shared",
    ]
    curve_head = ["codec", "setting", "bpp", "PSNR", "SSIM", "MS-SSIM", "max error", "encode s", "decode s"]
    curves = f'<div class="scroll">{_table(curve_head, _curve_rows(result))}</div>'
    more = "".join(f"<h2>{html.escape(head)}</h2>{_from_markdown(text)}" for head, text in extra)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Benchmarks: {html.escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>Benchmarks: {html.escape(title)}</h1>
<p>Every file was really written and decoded. PSNR is over all bands, with the peak {html.escape(str(result["peak"]))}.
A mean curve averages rate and quality over the images at each setting. A negative BD-rate means smaller files at equal
PSNR. Pixels without data: {html.escape(result.get("nodata", "none"))}</p>
{pictures}
<h2>Look for yourself: equal bytes</h2>{_viewer(found, *pair)}
<h2>BD-rate against {html.escape(plots.label(result["anchor"]))}</h2>
<div class="scroll">{_table(bd_head, _bd_rows(result))}</div>
{_of_images(result)}
{"" if result.get("mixed") else "<h2>Mean curves</h2>" + curves}
{more}
{_published(result)}
<h2>Codecs</h2><div class="scroll">{versions}</div>
<h2>Left out</h2>{_table(["codec", "images", "why"], left_out) if left_out else "<p>None.</p>"}
<h2>Environment</h2><pre>{html.escape(result["command"])}</pre>{_environment(result["environment"])}
<script>{_SCRIPT}</script></body></html>
"""


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None or not path.exists():
        return None
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def write(
    source: Path,
    out: Path,
    *,
    dataset: str | None = None,
    speed: Path | None = None,
    complexity: Path | None = None,
    bpp: float = 0.3,
    max_views: int = 4,
    right: str = rd.ANCHOR,
) -> list[Path]:
    """Figures and page of a results file. The viewer needs the images; without `dataset` it is empty."""
    result = _read(source)
    if result is None:
        raise FileNotFoundError(source)
    stem = source.stem
    measured = {entry["name"] for entry in result["codecs"]}
    if not measured:
        return []
    mixed = bool(result.get("mixed"))
    if mixed:
        written = plots.each_image(result, out / f"{stem}-rd")
        figures = [("Rate and PSNR of each image", out / f"{stem}-rd.png")]
    else:
        written = plots.rate_distortion(result, out / f"{stem}-rd")
        figures = [("Rate and PSNR; published curves are thin and grey", out / f"{stem}-rd.png")]
        if result["anchor"] in measured and any(entry["results"]["psnr"] for entry in result["codecs"]):
            written += plots.saving(result, out / f"{stem}-saving")
            figures.insert(0, ("Bytes against the anchor at equal PSNR", out / f"{stem}-saving.png"))
    if not mixed and any(v is not None for entry in result["codecs"] for v in entry["results"].get("ms-ssim", [])):
        written += plots.rate_distortion(result, out / f"{stem}-ms-ssim", "ms-ssim")
        figures.append(("Rate and MS-SSIM", out / f"{stem}-ms-ssim.png"))
    if result["bd"]:
        written += plots.bd_bars(result, out / f"{stem}-bd")
        figures.append(("BD-rate, PCHIP", out / f"{stem}-bd.png"))
    extra = []
    times, macs = _read(speed), _read(complexity)
    if times is not None and not mixed:
        written += plots.rate_against_speed(result, times, out / f"{stem}-speed")
        figures.append(("Rate against speed", out / f"{stem}-speed.png"))
        extra.append(("Speed", speed_page.calls(times, plots.label)))
    if macs is not None and right in measured and rivals.load(result["dataset"], len(result["images"])):
        written += plots.rate_against_complexity(result, macs, out / f"{stem}-complexity")
        figures.append(("Rate against complexity of the decoder", out / f"{stem}-complexity.png"))
        extra.append(("Complexity", importlib.import_module("benchmarks.complexity").table(macs)))
    found: list[View] = []
    left = pick_left(result, right) or right
    if dataset is not None and right in measured and left != right:
        chosen = [item for item in datasets.find(dataset) if item.name in result["images"]]
        spread = [
            chosen[i] for i in sorted({round(i) for i in np.linspace(0, len(chosen) - 1, min(max_views, len(chosen)))})
        ]
        found = views(spread, left, right, bpp)
    path = out / f"{stem}.html"
    write_atomically(path, page(result, figures, found, (left, right), extra))
    return [*written, path]

"""An evaluation as files: JSON, Markdown, LaTeX, CSV of pairs, and a page with pictures and histograms."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pgpis.data.pairs import Pair
from pgpis.data.picture_store import read_picture
from pgpis.evaluate.naming import Matches
from pgpis.evaluate.published import COLUMNS, PUBLISHED
from pgpis.evaluate.score import Scores
from pgpis.files import write_text
from pgpis.metrics import write_pair_values
from pgpis.metrics.markup import latex, markdown
from pgpis.pictures.images import tile

DIGITS = {"fid": 3, "fid_gt": 3, "fid_train": 3, "psnr": 3}
ENOUGH_FOR_FID = 2048
"""Below the width of the features their covariance is singular."""
SHOWN = 6
THUMBNAIL = 192
BINS = 30
BAR_WIDTH, BAR_HEIGHT = 12, 120
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left } tr.ours { background: #eef6ff; font-weight: 600 }
figure { display: inline-block; margin: .3em .6em .8em 0 }
figcaption { font-size: 12px; color: #555; max-width: 36em; overflow-wrap: anywhere }
img { height: 192px; margin-right: 2px } svg { background: #fafafa; margin-right: 1em } .missing { color: #a33 }
"""


def shown(name: str, value: float | str) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, str):
        return value
    return "inf" if math.isinf(value) else f"{value:.{DIGITS.get(name, 4)}f}"


def write_reports(out: Path, scores: Scores, matches: Matches, generated: Path, name: str) -> Path:
    """Write ``metrics.json``, ``metrics.md``, ``metrics.tex``, ``pairs.csv`` and ``report.html``; return the page."""
    write_pair_values(
        out / "pairs.csv", scores.pair_ids, {name: values.tolist() for name, values in scores.values.items()}
    )
    write_text(out / "metrics.json", to_json(scores, matches, generated))
    write_text(out / "metrics.md", to_markdown(scores, name))
    write_text(out / "metrics.tex", to_latex(scores, name))
    write_text(out / "report.html", to_html(scores, matches, name))
    return out / "report.html"


def to_json(scores: Scores, matches: Matches, generated: Path) -> str:
    """Return everything but the values of pairs."""
    results = {
        name: {"value": value if isinstance(value, str) or math.isfinite(value) else str(value), "interval": interval}
        for name, value in scores.summary().items()
        for interval in [_finite(scores.interval(name))]
    }
    content = {
        "protocol": scores.protocol,
        "size": {"height": scores.size[0], "width": scores.size[1]},
        "samples": len(scores.pair_ids),
        "generated": str(generated),
        "details": dict(scores.details),
        "results": results,
        "unmapped": [str(path) for path in matches.unmapped],
        "doubled": [str(path) for path in matches.doubled],
        "missing": list(matches.missing),
        "failures": dict(scores.failures),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _finite(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None or not all(map(math.isfinite, interval)) else list(interval)


def _about(scores: Scores, escape: Callable[[str], str]) -> str:
    height, width = scores.size
    real = escape(", ".join(f"{name} {value}" for name, value in scores.details.items()))
    return f"protocol `{scores.protocol}`, {len(scores.pair_ids)} pairs, {height}x{width} (height x width), {real}"


def to_markdown(scores: Scores, name: str) -> str:
    """Return the table of all metrics, and the published rows of the same protocol and size."""
    lines = [_about(scores, markdown), "", "| metric | mean | 95 % interval |", "| --- | --- | --- |"]
    for metric, value in scores.summary().items():
        interval = _finite(scores.interval(metric))
        cell = "" if interval is None else " to ".join(shown(metric, end) for end in interval)
        lines.append(f"| {markdown(metric)} | {markdown(shown(metric, value))} | {cell} |")
    lines += ["", f"| | {' | '.join(COLUMNS)} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    lines += [f"| {markdown(row)} | {' | '.join(cells)} |" for row, cells in _table(scores, name)]
    if len(scores.pair_ids) < ENOUGH_FOR_FID:
        lines += ["", f"FID of {len(scores.pair_ids)} pictures is too high: it compares with FID of as many only."]
    if _note(scores):
        lines += ["", _note(scores)]
    return "\n".join(lines) + "\n"


def _published(scores: Scores) -> Mapping[str, Mapping[str, float]]:
    return {} if scores.not_comparable else PUBLISHED.get(scores.protocol, {}).get(scores.size, {})


def _note(scores: Scores) -> str:
    """Say why there are no published rows; empty where there are some."""
    if scores.not_comparable:
        return f"Without published rows: {scores.not_comparable}."
    return "" if _published(scores) else "No published numbers of this protocol and size are known."


def _table(scores: Scores, name: str) -> list[tuple[str, list[str]]]:
    """Return the rows of the table with ours last."""
    rows: list[tuple[str, Mapping[str, float | str]]] = [(row, cells) for row, cells in _published(scores).items()]
    summary = scores.summary()
    ours = {column: value for column in COLUMNS if isinstance(value := summary.get(column, "-"), float)}
    rows.append((f"{name} (measured here)", ours))
    return [(row, [shown(column, cells.get(column, "-")) for column in COLUMNS]) for row, cells in rows]


def to_latex(scores: Scores, name: str) -> str:
    """Return the same table for a paper."""
    heads = {"fid": r"FID$\downarrow$", "fid_gt": r"FID$_{gt}\downarrow$", "lpips": r"LPIPS$\downarrow$",
             "ssim": r"SSIM$\uparrow$", "psnr": r"PSNR$\uparrow$"}  # fmt: skip
    lines = [
        f"% {_about(scores, latex)}",
        *([f"% {_note(scores)}"] if _note(scores) else []),
        rf"\begin{{tabular}}{{l{'r' * len(COLUMNS)}}}",
        r"\toprule",
        f"Method & {' & '.join(heads[column] for column in COLUMNS)} \\\\",
        r"\midrule",
    ]
    for row, cells in _table(scores, name):
        lines.append(f"{latex(row)} & {' & '.join('--' if cell == '-' else cell for cell in cells)} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_html(scores: Scores, matches: Matches, name: str) -> str:
    """Return a page that needs nothing beside itself."""
    body = [f"<h1>{html.escape(name)}</h1>", f"<p>{_about(scores, html.escape)}</p>", _metric_table(scores)]
    body += [
        f"<h2>Beside published numbers</h2><p>{html.escape(_note(scores))}</p>",
        html_table(["", *COLUMNS], [[r, *c] for r, c in _table(scores, name)]),
    ]
    body.append("<h2>Distribution over pairs</h2>")
    body += [
        f"<figure>{histogram(values)}<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, values in scores.values.items()
    ]
    ranked = "lpips" if "lpips" in scores.values else "ssim"
    files = {pair.pair_id: (pair, path) for pair, path in matches.files}
    order = np.argsort(scores.values[ranked])
    if ranked == "ssim":
        order = order[::-1]
    middle = max(0, len(order) // 2 - SHOWN // 2)
    for title, chosen in (
        ("Best", order[:SHOWN]),
        ("Median", order[middle : middle + SHOWN]),
        ("Worst", order[::-1][:SHOWN]),
    ):
        body.append(f"<h2>{title} pairs by {ranked} (source, truth, generated)</h2>")
        for index in chosen:
            pair, path = files[scores.pair_ids[index]]
            caption = f"{pair.pair_id}: {ranked} {scores.values[ranked][index]:.4f}"
            body.append(picture_row([pair.source, pair.target or path, path], caption))
    for title, names in (
        ("Pairs without a picture", matches.missing),
        ("Pictures of no pair", [str(path) for path in matches.unmapped]),
        ("Could not be read", [f"{pair}: {reason}" for pair, reason in scores.failures]),
    ):
        if names:
            items = "".join(f"<li>{html.escape(name)}</li>" for name in names[:50])
            body.append(f"<h2>{title}: {len(names)}</h2><ul>{items}</ul>")
    return page(name, body)


def page(title: str, body: Sequence[str]) -> str:
    """Return a whole page."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _metric_table(scores: Scores) -> str:
    rows = []
    for name, value in scores.summary().items():
        interval = _finite(scores.interval(name))
        rows.append(
            [name, shown(name, value), "" if interval is None else " to ".join(shown(name, v) for v in interval)]
        )
    return html_table(["metric", "mean", "95 % interval"], rows)


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; rows that were measured here stand out."""
    text = f"<table><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>"
    for row in rows:
        mark = ' class="ours"' if "measured here" in row[0] else ""
        cells = "".join(
            f"<td{' class=missing' if cell.startswith('not computed') else ''}>{html.escape(cell)}</td>" for cell in row
        )
        text += f"<tr{mark}>{cells}</tr>"
    return f"{text}</table>"


def histogram(values: NDArray[np.float64]) -> str:
    """Return a histogram as SVG."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "<p>no finite values</p>"
    counts, edges = np.histogram(finite, BINS)
    top = max(1, int(counts.max()))
    bars = "".join(
        f'<rect x="{number * BAR_WIDTH}" y="{BAR_HEIGHT - BAR_HEIGHT * count / top:.1f}" width="{BAR_WIDTH - 1}" '
        f'height="{BAR_HEIGHT * count / top:.1f}" fill="#4a7fb5">'
        f"<title>{edges[number]:.4g} to {edges[number + 1]:.4g}: {count}</title></rect>"
        for number, count in enumerate(counts.tolist())
    )
    base, right = BAR_HEIGHT + 14, BINS * BAR_WIDTH
    labels = f'<text x="0" y="{base}" font-size="11">{edges[0]:.4g}</text>'
    labels += f'<text x="{right}" y="{base}" font-size="11" text-anchor="end">{edges[-1]:.4g}</text>'
    return f'<svg width="{BINS * BAR_WIDTH}" height="{BAR_HEIGHT + 18}">{bars}{labels}</svg>'


def picture_row(paths: Sequence[Path], caption: str) -> str:
    """Return pictures side by side, inside the page."""
    images = "".join(f'<img alt="" src="data:image/jpeg;base64,{_thumbnail(path)}">' for path in paths)
    return f"<figure>{images}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _thumbnail(path: Path) -> str:
    try:
        image = read_picture(path)
    except Exception:  # noqa: BLE001  a page shows what it can, and the list of failures says the rest
        image = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "grey")
    file = io.BytesIO()
    tile(image, THUMBNAIL, 4 * THUMBNAIL).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()


def pairs_by_id(matches: Matches) -> dict[str, tuple[Pair, Path]]:
    """Return pairs and their pictures by name."""
    return {pair.pair_id: (pair, path) for pair, path in matches.files}

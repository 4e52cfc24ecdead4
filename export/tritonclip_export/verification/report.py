"""The parity report: the figures of `verify` and two plots on one HTML page, to pin to a wall.

It holds everything it shows, so it can be mailed or archived with the bundle.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tritonclip_export.bench import environment
from tritonclip_export.bundle import BundleInfo, Parity
from tritonclip_export.parity.figures import COLUMNS, cells
from tritonclip_export.parity.inputs import Embeddings
from tritonclip_export.staging.files import whole_file
from tritonclip_export.verification.verify import Hop, Verified

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; max-width: 62rem; margin: 2.5rem auto;
       padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; color: #4a5568; } code { font-size: .92em; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e2e8f0; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; }
.passed { color: #23784b; } .failed { color: #b42318; font-weight: 600; }
.verdict { font-size: 1.1rem; } svg { max-width: 100%; height: auto; }
@media print { body { margin: 0; } }
"""

_IMAGES, _TEXTS = "#2f6fb0", "#d9772b"


def write(verified: Verified, file: Path) -> None:
    """Write the report on what `verify` found to `file`.

    Raises:
        OSError: the file cannot be written.
    """
    info = verified.bundle.info
    title = f"Parity of {info.name}"
    broken = [figure.stage for figure in info.parity if not figure.passed]
    verdict = (
        f'<p class="verdict failed">Broken at: {html.escape(", ".join(broken))}</p>'
        if broken
        else '<p class="verdict passed">Every stage is within its tolerance.</p>'
    )
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>",
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>",
        f"<p>{_origin(info)}</p>{verdict}",
        "<h2>Stages</h2><p>Each compared with the one before it. <i>Of spread</i>: the error "
        "relative to the distance between different inputs. <i>Retrieval</i>: texts that rank the "
        "same image first.</p>",
        _table(info.parity),
        "<h2>Error of each input</h2><p>One dot an input, the bar is the stage's tolerance for "
        "their root mean square.</p>",
        _svg(_errors_of_inputs(verified.hops)),
        "<h2>What the last stage does to scores</h2><p>Every text against every image: its "
        f"cosine at stage <i>{html.escape(verified.hops[-1].stage)}</i> less that of the stage "
        "before it.</p>",
        _svg(_score_changes(verified.hops[-1])),
    ]
    with whole_file(file) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def _origin(info: BundleInfo) -> str:
    source, here = info.source, environment.here()
    return (
        f"<code>{html.escape(source.reference)}</code>, {html.escape(source.library)} "
        f"{html.escape(source.library_version)}, weights <code>{source.weights_sha256[:12]}</code>"
        f" · dim {info.dim}, image {info.image.width} x {info.image.height}, context "
        f"{info.text.context_length} · {html.escape(str(here.machine))}, {here.day}"
    )


def _table(figures: Sequence[Parity]) -> str:
    head = "".join(f"<th>{name}</th>" for name in (*COLUMNS, "tolerance"))
    rows = []
    for figure in figures:
        kind, mark = ("passed", "✓") if figure.passed else ("failed", "✗")
        stage, *numbers = map(html.escape, (*cells(figure), figure.tolerance))
        shown = (f'<span class="{kind}">{mark}</span> {stage}', *numbers)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in shown) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _errors_of_inputs(hops: Sequence[Hop]) -> Any:
    """Each input's error, relative to the spread, by stage."""
    figure, axes = _figure(height=0.9 + 0.7 * len(hops))
    for row, hop in enumerate(hops):
        pairs = (
            (hop.reference.images, hop.candidate.images, _IMAGES, -0.17),
            (hop.reference.texts, hop.candidate.texts, _TEXTS, 0.17),
        )
        for reference, candidate, colour, shift in pairs:
            errors = _relative_errors(reference, candidate)
            heights = np.full(len(errors), row + shift)
            axes.scatter(errors, heights, s=16, color=colour, alpha=0.65, linewidths=0)
        tolerance = hop.tolerance.relative_to_spread
        axes.plot([tolerance] * 2, [row - 0.38, row + 0.38], color="#1c2330", linewidth=2)
    axes.set_xscale("log")
    axes.set_yticks(range(len(hops)), [hop.stage for hop in hops])
    axes.invert_yaxis()
    axes.set_xlabel("error relative to spread")
    axes.scatter([], [], color=_IMAGES, label="images")
    axes.scatter([], [], color=_TEXTS, label="texts")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _relative_errors(reference: Embeddings, candidate: Embeddings) -> Any:
    spread = np.sqrt(((reference - reference.mean(axis=0)) ** 2).sum(axis=1).mean())
    errors = np.linalg.norm(candidate - reference, axis=1) / max(float(spread), 1e-12)
    return np.maximum(errors, 1e-9)  # an exact one has its place on the logarithmic axis, too


def _score_changes(hop: Hop) -> Any:
    """Cosines of all pairs against their change."""
    figure, axes = _figure(height=3.2)
    before = (hop.reference.texts @ hop.reference.images.T).ravel()
    after = (hop.candidate.texts @ hop.candidate.images.T).ravel()
    axes.axhline(0, color="#cbd5e0", linewidth=1)
    axes.scatter(before, after - before, s=12, color=_IMAGES, alpha=0.5, linewidths=0)
    axes.set_xlabel("cosine of text and image")
    axes.set_ylabel("change")
    return figure


def _figure(height: float) -> tuple[Any, Any]:
    # Not pyplot: nothing is kept, and no display is looked for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#edf2f7")
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]

"""The rows as a page of documentation: one table for each family."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.catalogue.rows import Row, read
from benchmarks.pages.markdown import table
from tritonclip_export.checkpoint import catalogue
from tritonclip_export.checkpoint.catalogue import Entry

HEAD = (
    "architecture",
    "pixels",
    "tokens",
    "dim",
    "image",
    "text",
    "ONNX",
    "of spread, image",
    "of spread, text",
    "ids, pixels",
    "served",
    "FP16, image",
    "FP16, text",
    "in FP32",
    "engine",
    "time",
    "memory",
)
INTRODUCTION = """# Models

Every image-text architecture of open_clip {version}, and checkpoints of transformers, M-CLIP and
Sentence Transformers by their published shapes, exported and checked with seeded random weights by
`python -m benchmarks.matrix`: **{passed} of {total} pass**, {failed} fail, {missing} have not been
run. The script writes this page; its figures lie in `benchmarks/results/catalogue/`.

- *image*, *text*: parameters of each tower, in millions. *ONNX*: size of both FP32 graphs.
- *of spread*: how far the graph is from PyTorch, as a share of what distinguishes inputs from each
  other ([verification](verification.md)); the limit is 1e-3. The random weights are made to tell
  inputs apart, so the share means something.
- *ids, pixels*: token ids and pixels equal the checkpoint's own library's, every one. Vocabularies
  that live on a hub are small stand-ins of the same kind here.
- *served*: the largest difference between what a real Triton server answered and the graphs, for
  one architecture of each family.
- *FP16*: how far the half-precision graph, emulated, is from FP32, as a share of the spread; the
  limit is 2e-2 ([precision](precision.md)). *in FP32*: how many products of both towers it leaves
  in FP32; before an arrow, how many it would without scaling weights. *engine*: layers of both
  towers, compiled from it by TensorRT-RTX for an L4.
- *time*: processor time of all steps together, on one or two threads, mostly beside other work: a
  measure of size, not of speed. *memory*: the most that was resident in the process (`VmHWM`), its
  libraries (about 0.8 GiB) and mapped files included; a page that is mapped twice counts twice.

{machines}
"""


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page, of the rows there are."""
    rows = read(results / "catalogue")
    if rows:
        yield "models.md", render(catalogue.search(), rows, catalogue.open_clip_version())


def render(entries: Iterable[Entry], rows: dict[str, Row], version: str) -> str:
    """The page, in Markdown."""
    ordered = sorted(entries, key=lambda entry: (entry.family, entry.parameters))
    done = [rows[entry.architecture] for entry in ordered if entry.architecture in rows]
    page = INTRODUCTION.format(
        version=version,
        total=len(ordered),
        passed=sum(row.passed for row in done),
        failed=sum(not row.passed for row in done),
        missing=len(ordered) - len(done),
        machines="\n".join(f"Measured on {machine}." for machine in _machines(done)),
    )
    for family, members in groupby(ordered, key=lambda entry: entry.family):
        page += "\n".join(("", f"## {family}", "", *_table(list(members), rows), ""))
    return page


def _machines(rows: Iterable[Row]) -> list[str]:
    dates: dict[str, list[str]] = {}
    for row in rows:
        dates.setdefault(row.machine, []).append(row.date)
    return [f"{machine}, {' to '.join(sorted({min(d), max(d)}))}" for machine, d in dates.items()]


def _table(entries: list[Entry], rows: dict[str, Row]) -> Iterator[str]:
    found = [(entry, rows.get(entry.architecture)) for entry in entries]
    yield from table(HEAD, [tuple(_cells(*each)) for each in found])
    reasons = [
        f"- {entry.architecture} fails at *{_last_step(row)}*: {_plain(row)}"
        for entry, row in found
        if row and not row.passed
    ]
    if reasons:
        yield ""
        yield from reasons


def _cells(entry: Entry, row: Row | None) -> Iterator[str]:
    yield entry.architecture if row is None or row.passed else f"**✗** {entry.architecture}"
    yield "x".join(map(str, dict.fromkeys((entry.image_height, entry.image_width))))
    yield str(entry.context_length)
    yield str(entry.dim)
    yield f"{entry.image_parameters / 1e6:.0f}"
    yield f"{entry.text_parameters / 1e6:.0f}"
    facts = row.facts if row else {}
    parity: dict[str, dict[str, Any]] = facts.get("parity", {})
    size = sum(facts.get("onnx_bytes", {}).values())
    yield f"{size / 1e9:.2f} GB" if size else ""
    for stage in ("onnx image", "onnx text"):
        yield f"{parity[stage]['relative_to_spread']:.0e}" if stage in parity else ""
    exact = [parity[stage]["passed"] for stage in ("token ids", "pixels") if stage in parity]
    yield ("=" if all(exact) else "≠") if exact else ""
    served = [parity[s]["max_abs_error"] for s in ("served image", "served text") if s in parity]
    yield f"{max(served):.0e}" if served else ""
    for stage in ("fp16 image", "fp16 text"):
        yield f"{parity[stage]['relative_to_spread']:.0e}" if stage in parity else ""
    yield _in_fp32(facts.get("products", {}))
    engines = facts.get("engines", {})
    yield " + ".join(str(engines[tower]["layers"]) for tower in ("image", "text") if engines)
    yield f"{row.cpu_seconds:.0f} s" if row else "not run"
    yield f"{row.peak_mib / 1024:.1f} GiB" if row and row.peak_mib else ""


def _in_fp32(towers: dict[str, dict[str, int]]) -> str:
    if not towers:
        return ""
    total, left, scaled = (
        sum(counts[name] for counts in towers.values()) for name in ("all", "fp32", "scaled")
    )
    before = f"{left + scaled} → " if scaled else ""
    return f"{before}{left} of {total}"


def _last_step(row: Row) -> str:
    return row.steps[-1].name if row.steps else "start"


def _plain(row: Row) -> str:
    """The reason in one line that Markdown does not read as anything else."""
    return " ".join(row.reason.split())[:400].replace("|", "\\|").replace("<", "&lt;")

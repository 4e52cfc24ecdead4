"""`docs/performance.md`: what a reader takes away in three minutes, with the pages behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.pages.comparison import OURS, best, ceiling, memory_mib, peers, ratio
from benchmarks.pages.markdown import table
from tritonclip_export.bench.plots import throughput_latency
from tritonclip_export.bench.results import Measurement, Report

IMAGES, TEXTS = "jpeg-640x480", "text-short"
PLOT = "performance/beside-peers.svg"
IN_ONNX_RUNTIME = re.compile(rf"{OURS} (\w+)")
"""Names of ours that name no other library, nor a number of instances."""
REPEAT = """
## Repeat it

Half an hour on an otherwise idle machine. Each peer is installed into an environment of its own;
one that cannot be is left out, and said.

```bash
tritonclip export ViT-B-32 --random-weights 0
tritonclip build bundles/ViT-B-32 --precision int8 --graphs-only
for precision in fp32 bf16 int8; do
    tritonclip build bundles/ViT-B-32 --openvino --precision $precision
done
python -m benchmarks.compare bundles/ViT-B-32 --precisions fp32,int8 --openvino fp32,bf16,int8
python -m benchmarks.render
```

On such a machine figures differ by 10 % and more from hour to hour, so what is compared runs in
turns, and the ratios are what to look at. [Benchmarks](../benchmarks/README.md) has the other runs;
`tritonclip bench` measures [a server of yours](benchmarking.md).

## Behind it

- [Beside the peers](performance/comparison.md): every load, percentiles, intervals
- [Other inputs](performance/inputs.md): PNG, photographs of 12 megapixels, longer texts
- [At a given rate](performance/rates.md): latency where requests come at a constant rate
- [What bounds it](performance/limits.md): CPU time of a request; what is left beside the encoder
- [Before and after](performance/changes.md): what the last changes did to rates, CPU time, start
- [Zero-shot over 1,000 labels](performance/zero-shot.md), beside plain embedding
- [Scaling](performance/scaling.md): callers up to 1,024, batches, sizes, lengths, bundles, cores
- [Growth](performance/growth.md): up to 100,000 images, 16 instances, 64 label sets
"""


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page and its plot, where peers were measured."""
    if (file := results / "performance.json").exists():
        report = Report.load(file)
        rates = results / "performance-rates.json"
        lines = [*_short(report), *(_at_rates(Report.load(rates)) if rates.exists() else ())]
        yield "performance.md", "\n".join(lines) + "\n" + REPEAT
        shown = [m for m in _of(report, IMAGES) if IN_ONNX_RUNTIME.fullmatch(m.server)]
        title = f"{report.about.get('source', '')}, {IMAGES}: ours at two precisions, and the peers"
        yield PLOT, throughput_latency([*shown, *peers(_of(report, IMAGES))], title=title)


def _short(report: Report) -> Iterator[str]:
    machine = report.machine
    loads = sorted({m.concurrency for m in report.measurements})
    yield from ("# Performance", "")
    yield f"`{report.about.get('source', '')}` behind Triton, beside the servers that teams run"
    yield "today: one 640 x 480 JPEG or one short caption a request, all in one run, in turns, each"
    yield f"at the number of requests in flight ({', '.join(map(str, loads))}) that suits it best."
    yield ""
    yield f"On {machine.cores} cores of {machine.cpu} ({', '.join(machine.features)}),"
    yield f"{machine.memory_gib:g} GiB, {'; '.join(machine.gpus) or 'no GPU'}; the load generator"
    yield f"shares the cores. Measured {report.date[:10]} by `python -m benchmarks.compare`"
    yield "([its JSON](../benchmarks/results/performance.json))."
    yield ""
    yield from table(
        ("server", "images/s", "in process", "captions/s", "in process", "MiB"), _rows(report)
    )
    yield ""
    yield "*In process* is the same library at the same precision without a server, with the same"
    yield "preprocessing. Weights are random: they do not change the speed. What a precision does"
    yield "to embeddings is on a [page of its own](precision.md)."
    if relative := list(_relative(report)):
        yield from ("", *relative)
    yield from ("", f"![Throughput and latency]({PLOT})", "")
    yield "Images; beside each point the requests in flight. Further right and further down is"
    yield "better; the faint line is the 99th percentile."


def _rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Ours and the peers, the fastest with images first."""
    served = [m for m in _of(report, IMAGES) if m.protocol != "in process"]
    fastest = sorted(served, key=lambda m: -m.throughput.mean)
    for server in dict.fromkeys(m.server for m in fastest if not m.server.endswith("instances")):
        own = [m for m in report.measurements if m.server == server]
        alone = ceiling(server) if server.startswith(OURS) else None
        above = [m for m in report.measurements if m.server == alone]
        rates = [_rate(each, load) for load in (IMAGES, TEXTS) for each in (own, above)]
        yield (server, *rates, memory_mib(own))


def _relative(report: Report) -> Iterator[str]:
    """The two sentences that matter, for each precision in ONNX Runtime."""
    for precision in ("fp32", "int8"):
        server = f"{OURS} {precision}"
        found = []
        for workload, what in ((IMAGES, "images"), (TEXTS, "captions")):
            ours = [m for m in _of(report, workload) if m.server == server]
            others = peers(_of(report, workload))
            if ours and others:
                peer = best(others)
                found.append(f"{ratio(best(ours), peer)} times the {what} of {peer.server}")
        if found:
            yield f"- `{server}` answers {' and '.join(found)}, each the best peer at it."


def _at_rates(report: Report) -> Iterator[str]:
    measured = _of(report, IMAGES)
    rates = sorted({m.rate for m in measured if m.rate})
    yield from ("", "## At a given rate", "")
    yield "Milliseconds until the slowest of a hundred images is answered (the 99th percentile),"
    yield "where they are asked for at a constant rate, whatever the server does. In another run,"
    yield f"{report.date[:10]}, on {report.machine.cores} cores of {report.machine.cpu}:"
    yield ""
    servers = dict.fromkeys(m.server for m in measured)
    at = {(m.server, m.rate): m for m in measured}
    yield from table(
        ("images/s asked for", *(f"{rate:g}" for rate in rates)),
        [(server, *(_tail(at.get((server, rate))) for rate in rates)) for server in servers],
    )


def _tail(measured: Measurement | None) -> str:
    if measured is None or measured.latency is None:
        return ""
    return "falls behind" if measured.fell_behind else f"{measured.latency.p99:.0f}"


def _of(report: Report, workload: str) -> list[Measurement]:
    return [m for m in report.measurements if m.workload == workload]


def _rate(measured: Sequence[Measurement], workload: str) -> str:
    found = [m for m in measured if m.workload == workload]
    return f"{best(found).throughput.mean:,.0f}" if found else ""

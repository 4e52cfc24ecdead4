"""Throughput against latency, drawn."""

from __future__ import annotations

import io
from collections.abc import Iterable

from tritonclip_export.bench.results import Measurement

COLOURS = ("#2f6fb0", "#d9772b", "#23784b", "#8a4fb0", "#b42318", "#5b6472", "#0e8a8a", "#b08a0e")
# When colours come round again.
STYLES = ("-", "--", ":")
# More curves than this leave no room for their names beside them.
NAMED_INSIDE = 6


def throughput_latency(measurements: Iterable[Measurement], *, title: str) -> str:
    """An SVG: a curve for each server and protocol, a point for each load on it.

    The line is the median, the faint one above it the 99th percentile; what is further right and
    further down is better.
    """
    import matplotlib
    from matplotlib.figure import Figure

    curves: dict[tuple[str, str, bool], list[Measurement]] = {}
    for measured in measurements:
        key = (measured.server, measured.protocol, measured.rate is not None)
        curves.setdefault(key, []).append(measured)
    # Text stays text, and the same figures give the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tritonclip"}):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for number, ((server, protocol, opened), points) in enumerate(curves.items()):
            points = [point for point in points if point.latency is not None]
            points.sort(key=lambda point: point.rate or point.concurrency)
            style = STYLES[number // len(COLOURS) % len(STYLES)]
            colour = COLOURS[number % len(COLOURS)]
            x = [point.throughput.mean for point in points]
            label = f"{server}, {protocol}" + (", constant rate" if opened else "")
            medians = [point.latency.p50 for point in points if point.latency]
            tails = [point.latency.p99 for point in points if point.latency]
            axes.plot(x, medians, style, marker="o", markersize=4, color=colour, label=label)
            axes.plot(x, tails, style, linewidth=0.8, alpha=0.5, color=colour)
            for point, at, y in zip(points, x, medians, strict=True):
                note = f"{point.rate:g}/s" if point.rate else str(point.concurrency)
                axes.annotate(note, (at, y), (3, 4), textcoords="offset points", fontsize=7)
        axes.set(xlabel="items a second", ylabel="milliseconds, median and 99th percentile")
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(alpha=0.25)
        if len(curves) <= NAMED_INSIDE:
            axes.legend(frameon=False, fontsize=8)
        else:
            figure.set_figwidth(10)
            figure.legend(frameon=False, fontsize=8, loc="outside right upper")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()

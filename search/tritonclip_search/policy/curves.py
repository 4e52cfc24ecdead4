"""What a calibration saw: precision and recall, and how far probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tritonclip_search.policy.calibration import Calibrated, reliability
from tritonclip_search.policy.intervals import wilson


def draw(calibrated: Sequence[Calibrated], to: Path) -> None:
    """Draw a row for each rule, into a file whose ending says the format (svg, png, pdf)."""
    from matplotlib.figure import Figure

    rows = len(calibrated)
    figure = Figure(figsize=(10, 4 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for (left, right), one in zip(axes, calibrated, strict=True):
        order = np.argsort(-one.log_odds, kind="stable")
        hits = np.cumsum(one.said[order])
        caught = np.arange(1, len(order) + 1)
        recall = hits / max(1.0, one.said.sum())
        ends = [wilson(float(h), int(n)) for h, n in zip(hits, caught, strict=True)]
        left.fill_between(recall, [e[0] for e in ends], [e[2] for e in ends], alpha=0.2, lw=0)
        left.plot(recall, hits / caught)
        calibration = one.threshold.calibration
        assert calibration is not None
        left.plot(calibration.recall[1], calibration.precision[1], "o", color="black")
        left.set(title=f"{one.rule}: the dot is its threshold", xlabel="recall", ylabel="precision")
        left.set(xlim=(0, 1.02), ylim=(0, 1.02))
        right.plot([0, 1], [0, 1], color="grey", lw=1)
        if one.error_before is None:
            right.set(title="scores are no probabilities")
            continue
        for scale, offset, name in (
            (1.0, 0.0, f"as they are, error {one.error_before:.3f}"),
            (calibration.scale, calibration.offset, f"straightened, error {one.error_after:.3f}"),
        ):
            chances = 0.5 * (1 + np.tanh(0.5 * (scale * one.log_odds + offset)))
            points = reliability(chances, one.said)
            right.plot(*zip(*points, strict=True), "o-", ms=4, label=name)
        right.set(title="reliability", xlabel="probability", ylabel="share that is right")
        right.legend()
    figure.savefig(to)

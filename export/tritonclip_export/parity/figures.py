"""Parity: how far one stage's embeddings are from those of the stage before it.

Towers with random weights map all inputs to nearly the same vector (two images at cosine 0.94), so
cosine alone proves little: an error is also set in relation to the spread, the distance that
*different* inputs have from each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import Parity
from tritonclip_export.errors import ParityError

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Tolerance:
    """What a stage may differ by from the one before it."""

    relative_to_spread: float
    min_cosine: float
    min_retrieval: float = 1.0
    # Two images whose scores for a text differ by less are a tie: either may come first.
    tie: float = 1e-6
    # Below this an error is rounding, whatever the spread: float32 unit vectors of some hundred
    # dimensions, summed in another order, differ by a few 1e-7 in a component.
    abs_floor: float = 2e-6

    def __str__(self) -> str:
        return (
            f"relative <= {self.relative_to_spread:g}, cosine >= {self.min_cosine:g}, "
            f"retrieval >= {self.min_retrieval:g}"
        )


# One place for every threshold. "exact" stages (token ids, pixels) tolerate nothing. The lower
# precisions are compared with FP32; what trained towers reach is in docs/precision.md. Retrieval is
# over few texts, so one in thirty may change its mind where two images are near each other; nearer
# than twice the rounding of a score near 1 (2^-11 in FP16, 2^-8 in BF16) nothing is to be told.
TOLERANCES = {
    "onnx": Tolerance(relative_to_spread=1e-3, min_cosine=0.99999),
    "fp16": Tolerance(relative_to_spread=2e-2, min_cosine=0.9998, min_retrieval=0.96, tie=2**-10),
    "bf16": Tolerance(relative_to_spread=1e-1, min_cosine=0.995, min_retrieval=0.9, tie=2**-7),
    "int8": Tolerance(relative_to_spread=1.5e-1, min_cosine=0.98, min_retrieval=0.9),
    # An engine rounds at other places than the emulation of its graph.
    "engine": Tolerance(relative_to_spread=2e-2, min_cosine=0.9998, min_retrieval=0.96, tie=2**-10),
    "served": Tolerance(relative_to_spread=1e-3, min_cosine=0.99999),
    # Ways to preprocess that are not exact: what they do is in docs/preprocessing.md.
    "draft": Tolerance(relative_to_spread=1e-1, min_cosine=0.99, min_retrieval=0.9),
    "dali": Tolerance(relative_to_spread=5e-2, min_cosine=0.995, min_retrieval=0.9),
}
EXACT = "every value equal"


def served_tolerance(precision: str, preprocess: str) -> Tolerance:
    """What a server may differ by from FP32 on exact pixels, by what it says of itself.

    Where the towers differ it says `image fp16, text fp32`. The loosest of all counts.
    """
    words = [*precision.replace(",", " ").split(), preprocess]
    found = [TOLERANCES[word] for word in words if word in TOLERANCES]
    return max([TOLERANCES["served"], *found], key=lambda tolerance: tolerance.relative_to_spread)


def compare(
    stage: str, reference: FloatArray, candidate: FloatArray, tolerance: Tolerance
) -> Parity:
    """Compare unit vectors [n, dim] row by row.

    `relative_to_spread` is the root mean square of the error's length over the root mean square of
    the references' distance from their mean.

    Raises:
        ParityError: the shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ParityError(f"{stage}: shapes {reference.shape} and {candidate.shape} differ")
    reference, candidate = reference.astype(np.float64), candidate.astype(np.float64)
    error = candidate - reference
    spread = _rms_length(reference - reference.mean(axis=0))
    relative = _rms_length(error) / spread if spread else 0.0
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(candidate, axis=1)
    cosine = float(((reference * candidate).sum(axis=1) / norms).min())
    worst = float(np.abs(error).max())
    passed = cosine >= tolerance.min_cosine and (
        relative <= tolerance.relative_to_spread or worst <= tolerance.abs_floor
    )
    return Parity(
        stage=stage,
        samples=len(reference),
        max_abs_error=worst,
        mean_abs_error=float(np.abs(error).mean()),
        min_cosine=cosine,
        relative_to_spread=relative,
        passed=bool(passed),  # a NaN anywhere fails both comparisons
        tolerance=str(tolerance),
    )


def compare_exact(
    stage: str,
    reference: Sequence[npt.NDArray[np.integer[Any]]],
    candidate: Sequence[npt.NDArray[np.integer[Any]]],
) -> Parity:
    """Compare integer tensors item by item; nothing may differ."""
    errors = [
        np.abs(a.astype(np.int64) - b.astype(np.int64)).reshape(-1)
        if a.shape == b.shape
        else np.array([np.iinfo(np.int32).max])
        for a, b in zip(reference, candidate, strict=True)
    ]
    worst = max(int(error.max(initial=0)) for error in errors)
    return Parity(
        stage=stage,
        samples=len(reference),
        max_abs_error=worst,
        mean_abs_error=float(np.mean([error.mean() for error in errors])),
        passed=worst == 0,
        tolerance=EXACT,
    )


def retrieval_agreement(
    reference: tuple[FloatArray, FloatArray],
    candidate: tuple[FloatArray, FloatArray],
    tie: float,
) -> float:
    """The share of texts that rank the same image first, of (images, texts) embedding pairs.

    A text whose two best images are within `tie` of each other in the reference may choose either.
    """
    scores = reference[1] @ reference[0].T
    chosen = (candidate[1] @ candidate[0].T).argmax(axis=1)
    loss = scores.max(axis=1) - scores[np.arange(len(scores)), chosen]
    return float((loss <= tie).mean())


def require(figures: Sequence[Parity]) -> None:
    """Fail at the first stage that is outside its tolerance.

    Raises:
        ParityError: names the stage and its figures.
    """
    for figure in figures:
        if not figure.passed:
            raise ParityError(f"parity is broken at stage {figure.stage!r}: {describe(figure)}")


def describe(figure: Parity) -> str:
    """One line: the figures of a stage and its tolerance."""
    parts = [f"max abs error {figure.max_abs_error:.2g}"]
    if figure.min_cosine is not None and figure.relative_to_spread is not None:
        parts.append(f"relative to spread {figure.relative_to_spread:.2g}")
        parts.append(f"min cosine {figure.min_cosine:.7f}")
    if figure.retrieval_agreement is not None:
        parts.append(f"retrieval {figure.retrieval_agreement:.4f}")
    return f"{', '.join(parts)} over {figure.samples} samples; tolerance: {figure.tolerance}"


# What `cells` holds, for people to read.
COLUMNS = ("stage", "inputs", "max error", "mean error", "of spread", "min cosine", "retrieval")


def cells(figure: Parity) -> tuple[str, ...]:
    """The figures of a stage as the cells of a table's row, under `COLUMNS`."""

    def error(value: float | None) -> str:
        return "" if value is None else f"{value:.1e}" if value else "0"

    cosine, agreement = figure.min_cosine, figure.retrieval_agreement
    return (
        figure.stage,
        str(figure.samples),
        error(figure.max_abs_error),
        error(figure.mean_abs_error),
        error(figure.relative_to_spread),
        "" if cosine is None else f"{cosine:.7f}",
        "" if agreement is None else f"{agreement:.0%}",
    )


def _rms_length(vectors: FloatArray) -> float:
    return float(np.sqrt((vectors**2).sum(axis=1).mean()))

"""Heads from labelled pictures: logistic regression for labels, ridge regression for scores.

The strength of regularisation is chosen by cross-validation within the training pictures; what is
reported is measured on pictures that the head of that fold has not seen, so that it says what to
expect of new ones. Labels are weighted so that each counts the same, however rare.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritonclip.info import ModelInfo
from tritonclip.scoring import probabilities
from tritonclip.types import FloatArray
from tritonclip_search.errors import InvalidLabels, TooFewExamples
from tritonclip_search.heads.head import Head, Layer

FOLDS = 5
STRENGTHS = tuple(10.0**power for power in range(-1, 5))
"""Inverse regularisation of logistic regression; vectors have unit length, so it is large."""
PENALTIES = tuple(10.0**power for power in range(-4, 3))
"""Of ridge regression."""
SIZES = (5, 10, 20, 50, 100, 200, 500)
"""Examples of each label, at which a head is compared with zero-shot."""
_DRAWS = 5


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures and what they are, from a CSV file with `path` and `label` or `score`."""

    file: Path
    sha256: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    """Empty where there are scores."""
    scores: NDArray[np.float64]
    """Empty where there are labels."""

    @property
    def are_scores(self) -> bool:
        """Whether a number, and not a label, belongs to each picture."""
        return not self.labels

    def at(self, kept: Sequence[int]) -> Examples:
        """Some of them."""
        places = list(kept)
        return Examples(
            self.file,
            self.sha256,
            tuple(self.paths[place] for place in places),
            tuple(self.labels[place] for place in places) if self.labels else (),
            self.scores[places] if self.are_scores else self.scores,
        )


@dataclass(frozen=True)
class Size:
    """A head of so many examples of each label, beside zero-shot, on the same other pictures."""

    examples: int
    accuracy: float
    """Mean over labels, each counting the same, and over draws of the examples."""
    deviation: float
    """Between draws."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A head and what can be expected of it."""

    head: Head
    figure: float
    """Balanced accuracy over the labels, or R² of scores, on pictures it has not seen."""
    interval: tuple[float, float]
    """95 %, by bootstrap over the pictures."""
    zero_shot: float | None
    """Balanced accuracy of the labels' names as prompts; None for scores."""
    sizes: tuple[Size, ...]
    overtakes: int | None
    """The fewest examples of each label with which it is better than zero-shot."""


def read_examples(file: Path) -> Examples:
    """The examples in a CSV file.

    Raises:
        InvalidLabels: it cannot be read, has neither column, or a line lacks a value.
    """
    try:
        encoded = file.read_bytes()
        rows = csv.DictReader(io.StringIO(encoded.decode("utf-8-sig")), skipinitialspace=True)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidLabels(f"the labels {file} cannot be read: {error}") from error
    columns = [column.strip() for column in rows.fieldnames or ()]
    rows.fieldnames = columns
    kind = next((name for name in ("label", "score") if name in columns), None)
    if "path" not in columns or kind is None:
        raise InvalidLabels(
            f"{file} has the columns {', '.join(columns) or 'of none'}; a head learns from path "
            "and label, or from path and score"
        )
    paths, said = [], []
    for row in rows:
        path, value = (row["path"] or "").strip(), (row[kind] or "").strip()
        if not path or not value:
            raise InvalidLabels(f"{file}:{rows.line_num}: the path or the {kind} is missing")
        paths.append(path if "://" in path else (file.parent / path).absolute().as_posix())
        said.append(value)
    sha256 = hashlib.sha256(encoded).hexdigest()
    if kind == "label":
        return Examples(file, sha256, tuple(paths), tuple(said), np.empty(0))
    try:
        scores = np.array(said, np.float64)
    except ValueError as error:
        raise InvalidLabels(f"{file}: a score is no number: {error}") from error
    return Examples(file, sha256, tuple(paths), (), scores)


def train(
    examples: Examples,
    vectors: FloatArray,
    info: ModelInfo,
    name: str,
    zero_shot: FloatArray | None = None,
) -> Trained:
    """Fit a head.

    Args:
        examples: pictures and what they are.
        vectors: theirs, unit length, [pictures, dim].
        info: of the model that embedded them.
        name: the head's.
        zero_shot: vectors of the labels' names in the order of `labels_of`, to compare with.

    Raises:
        TooFewExamples: a label has fewer examples than there are folds, or there is only one.
    """
    if examples.are_scores:
        return _train_scores(examples, vectors, info, name)
    labels = labels_of(examples)
    truth = np.array([labels.index(label) for label in examples.labels])
    counts = np.bincount(truth, minlength=len(labels))
    if len(labels) < 2:
        raise TooFewExamples(f"{examples.file} has one label only, {labels[0]!r}; a head needs two")
    if counts.min() < FOLDS:
        rare = labels[int(counts.argmin())]
        raise TooFewExamples(
            f"{examples.file} has {counts.min()} pictures of {rare!r}; "
            f"label {FOLDS - counts.min()} more, {FOLDS} are the least and 20 a start"
        )
    strength, seen = _choose_strength(vectors, truth)
    figure = _balanced(seen, truth)
    zero = None if zero_shot is None else probabilities(vectors, zero_shot, info).argmax(axis=1)
    baseline = None if zero is None else _balanced(zero, truth)
    sizes = _by_size(vectors, truth, strength)
    better = [s.examples for s in sizes if baseline is not None and s.accuracy > baseline]
    fitted = _logistic(vectors, truth, strength)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(labels) == 2:  # of which scikit-learn keeps one row, the log-odds of the second
        weight, bias = np.vstack([-weight, weight]) / 2, np.append(-bias, bias) / 2
    head = Head(
        name,
        labels,
        (Layer(weight.astype(np.float32), bias.astype(np.float32)),),
        "softmax",
        "tritonclip",
        card=_card(
            examples,
            info,
            {
                "trained": "logistic regression, balanced",
                "strength": strength,
                "classes": dict(zip(labels, counts.tolist(), strict=True)),
                "balanced_accuracy": figure,
                "zero_shot": baseline,
            },
        ),
    )
    interval = _bootstrap(lambda rows: _balanced(seen[rows], truth[rows]), truth)
    return Trained(head, figure, interval, baseline, sizes, min(better, default=None))


def labels_of(examples: Examples) -> tuple[str, ...]:
    """The labels, each once, in order."""
    return tuple(sorted(set(examples.labels)))


def _train_scores(examples: Examples, vectors: FloatArray, info: ModelInfo, name: str) -> Trained:
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict

    scores = examples.scores
    if len(scores) < 2 * FOLDS:
        raise TooFewExamples(
            f"{examples.file} has {len(scores)} pictures; label {2 * FOLDS - len(scores)} more"
        )
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    seen = cross_val_predict(RidgeCV(PENALTIES), vectors, scores, cv=folds)
    fitted = RidgeCV(PENALTIES).fit(vectors, scores)
    figure = _r2(seen, scores)
    head = Head(
        name,
        (name,),
        (Layer(fitted.coef_[None].astype(np.float32), np.array([fitted.intercept_], np.float32)),),
        "score",
        "tritonclip",
        card=_card(
            examples,
            info,
            {
                "trained": "ridge regression",
                "penalty": float(fitted.alpha_),
                "r2": figure,
                "range": [float(scores.min()), float(scores.max())],
            },
        ),
    )
    whole = np.zeros(len(scores), np.int64)
    interval = _bootstrap(lambda rows: _r2(seen[rows], scores[rows]), whole)
    return Trained(head, figure, interval, None, (), None)


def _card(examples: Examples, info: ModelInfo, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": info.source,
        "weights_sha256": info.weights_sha256,
        "preprocess": info.preprocess,
        "orient": info.orient,
        "examples": len(examples.paths),
        "examples_sha256": examples.sha256,
        **figures,
    }


def _logistic(vectors: FloatArray, truth: NDArray[np.int64], strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    return model.fit(vectors.astype(np.float64), truth)


def _choose_strength(
    vectors: FloatArray, truth: NDArray[np.int64]
) -> tuple[float, NDArray[np.int64]]:
    """The strength that does best on pictures not seen, and what each of them was taken for."""
    from sklearn.model_selection import StratifiedKFold

    best = (-1.0, STRENGTHS[0], truth)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(vectors, truth))
    for strength in STRENGTHS:
        seen = np.empty_like(truth)
        for rows, held in folds:
            seen[held] = _logistic(vectors[rows], truth[rows], strength).predict(vectors[held])
        figure = _balanced(seen, truth)
        if figure > best[0]:
            best = figure, strength, seen
    return best[1], best[2]


def _by_size(vectors: FloatArray, truth: NDArray[np.int64], strength: float) -> tuple[Size, ...]:
    """Heads of fewer examples, on the pictures that are left."""
    least = int(np.bincount(truth).min())
    sizes = []
    for size in (size for size in SIZES if size <= 0.8 * least):
        figures = []
        for draw in range(_DRAWS):
            random = np.random.default_rng(draw)
            rows = np.concatenate(
                [
                    random.choice(np.flatnonzero(truth == label), size, replace=False)
                    for label in np.unique(truth)
                ]
            )
            held = np.setdiff1d(np.arange(len(truth)), rows)
            seen = _logistic(vectors[rows], truth[rows], strength).predict(vectors[held])
            figures.append(_balanced(seen, truth[held]))
        sizes.append(Size(size, float(np.mean(figures)), float(np.std(figures))))
    return tuple(sizes)


def _balanced(seen: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean over labels of the share that is found."""
    return float(np.mean([np.mean(seen[truth == label] == label) for label in np.unique(truth)]))


def _r2(seen: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    spread = float(((scores - scores.mean()) ** 2).sum())
    return 1 - float(((scores - seen) ** 2).sum()) / spread if spread else 0.0


def _bootstrap(figure: Any, strata: NDArray[np.int64]) -> tuple[float, float]:
    """95 % interval of a figure of rows, drawn anew within each stratum."""
    random = np.random.default_rng(0)
    kinds = [np.flatnonzero(strata == kind) for kind in np.unique(strata)]
    figures = [
        figure(np.concatenate([random.choice(rows, len(rows)) for rows in kinds]))
        for _ in range(500)
    ]
    low, high = np.quantile(figures, [0.025, 0.975])
    return float(low), float(high)

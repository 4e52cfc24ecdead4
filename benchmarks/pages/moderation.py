"""The figures of `docs/moderation.md`, from the results of one study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import guide
from benchmarks.pages.markdown import table

PAGE = "moderation.md"
_ATTACKS = (
    *("turned by 15 degrees", "turned by 90 degrees", "cropped to 80 %", "saved with low quality"),
    *("a blank label", "words"),
)


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its figures written anew."""
    yield from guide.filled(PAGE, {"figures": guide.lines_of(results, {"moderation": _figures})})


def _figures(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    yield (
        f"On {result['date']}, {result['machine']}, with the demo checkpoint and its "
        f"{figures['pictures']:,} drawings of a style that it has never seen. "
        "[The policy](../benchmarks/studies/moderation.yaml), "
        "[the study](../benchmarks/studies/moderation.py), "
        "[results](../benchmarks/results/moderation.json). One half of the drawings is for labels; "
        "all figures are of the other half, in brackets with their 95 % intervals."
    )
    yield ""
    yield from _rules(figures["rules"])
    yield ""
    yield from _calibration(figures["calibration"])
    yield ""
    yield from _attack(figures["attack"])
    yield ""
    yield from _speed(figures["speed"])


def _rules(rules: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield (
        "**What a rule catches**, with the threshold at which F1 is best on the labelled half. "
        "Average precision needs no threshold. Heads have that many examples and five times as "
        "many others, the mean of ten draws; where the labelled half has fewer, there is none."
    )
    yield ""
    rows = [
        (
            f"{rule['rule']}, {rule['positives']}" if place == 0 else "",
            way,
            f"{found['average_precision']:.2f}",
            _interval(found["precision"]),
            _interval(found["recall"]),
        )
        for rule in rules
        for place, (way, found) in enumerate(rule["ways"].items())
    ]
    yield from table(("rule, drawings", "by", "average precision", "precision", "recall"), rows)


def _calibration(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield (
        "**What a calibration promises, and keeps.** Each rule wanted a precision of 0.8. *Error* "
        "is the expected calibration error of its probabilities, before and after they were "
        "straightened."
    )
    yield ""
    chosen = [
        (
            row["rule"],
            _interval(row["promised"]),
            _interval(row["kept"]),
            _interval(row["recall"]),
            f"{row['error_before']:.3f}, then {row['error_after']:.3f}",
        )
        for row in rows
        if "refused" not in row
    ]
    yield from table(("rule", "promised", "kept on others", "recall there", "error"), chosen)
    yield ""
    for row in rows:
        if "refused" in row:
            yield f"Refused: {row['refused']}."
            yield ""


def _attack(measured: dict[str, Any]) -> Iterator[str]:
    flips = measured["flips"]
    pictures = flips[0]["pictures"]
    yield (
        "**Answers that flip under attack**, the mean of the four rules at a threshold of 0.5, on "
        f"{pictures} drawings. The demo checkpoint has learned from drawings without writing, so "
        "what words do to it has to be held against the blank label that they stand on; a CLIP of "
        "the web reads, and has to be measured on your own pictures."
    )
    yield ""
    rows = []
    for attack in _ATTACKS:
        some = [one["flipped"] for one in flips if one["attack"] == attack]
        means = {way: sum(one[way] for one in some) / len(some) for way in some[0]}
        rows.append((attack, *(f"{means[way]:.1%}" for way in means)))
    costs: dict[str, list[float]] = {}
    for cost in measured["costs"]:
        costs.setdefault(cost["measure"], []).append(cost["changed"])
    spent = [f"{sum(costs[way]) / len(costs[way]):.1%}" for way in ("contrast", "crops", "review")]
    rows.append(("*unharmed drawings, whose answers change or go to a person*", "", *spent))
    yield from table(
        (
            "",
            "as it is",
            "prompts about writing in `unless`",
            "mean of crops",
            "writing to a person",
        ),
        rows,
    )


def _speed(speed: dict[str, Any]) -> Iterator[str]:
    yield (
        f"**Speed.** {speed['rules']} rules with {speed['prompts']} prompts, on one core, from "
        "vectors, in a second of its time: "
        + "; ".join(
            f"{found['as_arrays']:,.0f} decisions of {dim} dimensions as arrays, "
            f"{found['with_evidence']:,.0f} as objects with all their evidence"
            for dim, found in speed["vectors"].items()
        )
        + ". From pictures, beside embedding the same files for nothing, in turns: "
        f"{speed['moderate_per_second']:,.0f} and {speed['embed_per_second']:,.0f} a second, a "
        f"median ratio of {speed['ratio']:.2f} ({min(speed['ratios']):.2f} to "
        f"{max(speed['ratios']):.2f} in single rounds)."
    )


def _interval(values: Sequence[float]) -> str:
    low, share, high = values
    return f"{share:.2f} ({low:.2f} to {high:.2f})"

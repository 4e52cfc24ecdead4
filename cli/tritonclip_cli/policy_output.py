"""What the commands on policies print for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonclip_cli import output
from tritonclip_cli.archive_output import escaped, linked

if TYPE_CHECKING:
    from tritonclip_search.policy import Policy
    from tritonclip_search.policy.attacks import Attacked
    from tritonclip_search.policy.calibration import Calibrated, Refused
    from tritonclip_search.policy.checking import Finding
    from tritonclip_search.policy.evaluation import Evaluated
    from tritonclip_search.policy.moderation import Moderated
    from tritonclip_search.policy.replay import Replayed
    from tritonclip_search.policy.rules import Interval

COLOURS = {"block": "red", "review": "yellow", "label": "cyan", "allow": "green"}


def print_moderated(moderated: Sequence[Moderated], *, everything: bool) -> None:
    """A table of decisions, the most severe and clearest first, and how many there are."""
    from rich.table import Table

    ordered = sorted(moderated, key=lambda one: (-one.decision.action.severity, -one[1].margin))
    rows = [one for one in ordered if everything or one.decision.action.value != "allow"]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("decision", "rule", "prompt"):
        table.add_column(column, no_wrap=True)
    for column in ("score", "probability", "margin"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("path", overflow="fold")
    for picture, decision in rows:
        chance = "" if decision.probability is None else f"{decision.probability:.1%}"
        action = decision.action.value
        when = f" [dim]{picture.start:.1f} to {picture.end:.1f} s[/]" if picture.end else ""
        table.add_row(
            f"[{COLOURS[action]}]{action}[/]",
            escaped(decision.rule or ""),
            escaped(decision.prompt or ""),
            f"{decision.score:.3f}",
            chance,
            f"{decision.margin:+.2f}",
            linked(picture.path) + when,
        )
    if rows:
        output.print_table(table)
    counts = Counter(one.decision.action.value for one in moderated)
    said = ", ".join(f"[bold]{counts[action]:,}[/] {action}" for action in COLOURS)
    output.console().print(f"{len(moderated):,} pictures: {said}")


def print_findings(policy: Policy, found: Sequence[Finding], *, with_model: bool) -> None:
    """What a check found, a line each."""
    console = output.console()
    for finding in found:
        mark = "[red]error[/]  " if finding.is_error else "[yellow]note[/]   "
        rule = f"[bold]{escaped(finding.rule)}[/]: " if finding.rule else ""
        console.print(f"{mark}{rule}{escaped(finding.message)}")
    asked = "" if with_model else "; no model was asked"
    if not found:
        console.print(f"{len(policy.rules)} rules, nothing to find{asked}")


def print_calibrated(policy: Path, chosen: Sequence[Calibrated]) -> None:
    """A table of thresholds and what was measured at them."""
    from rich.table import Table

    if not chosen:
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("rule", "goal", "threshold", "precision", "recall", "pictures", "error"):
        table.add_column(column, no_wrap=True)
    for one in chosen:
        calibration, goal = one.threshold.calibration, one.threshold.goal
        assert calibration is not None
        assert goal is not None
        error = (
            "" if one.error_before is None else f"{one.error_before:.3f} -> {one.error_after:.3f}"
        )
        table.add_row(
            escaped(one.rule),
            f"{goal[0]} {goal[1]:g}",
            f"{one.threshold.at:.4g}",
            interval(calibration.precision),
            interval(calibration.recall),
            f"{calibration.pictures:,}, {calibration.positives:,} of them",
            error,
        )
    output.print_table(table)
    output.console().print(f"thresholds written into [bold]{escaped(str(policy))}[/]")


def print_evaluated(results: Sequence[Evaluated]) -> None:
    """A table of rules, and below each its groups."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("rule", "pictures", "precision", "recall", "caught without a reason"):
        table.add_column(column, no_wrap=True)
    for one in results:
        table.add_row(
            f"[bold]{escaped(one.rule)}[/]",
            f"{one.pictures:,}, {one.positives:,} of them",
            interval(one.precision),
            interval(one.recall),
            interval(one.false_positive_rate),
        )
        for group in one.groups:
            mark = "  [red]more than the others[/]" if group.is_worse else ""
            rate = interval(group.false_positive_rate) + mark
            table.add_row(f"  {escaped(group.name)}", f"{group.pictures:,}", "", "", rate)
    output.print_table(table)


def calibrated_json(chosen: Sequence[Calibrated], refused: Sequence[Refused]) -> dict[str, Any]:
    """What a calibration chose and refused, as data."""
    return {
        "chosen": [
            {
                "rule": one.rule,
                **asdict(one.threshold),
                "calibration_error": [one.error_before, one.error_after],
            }
            for one in chosen
        ],
        "refused": [{"rule": one.rule, "why": str(one.why)} for one in refused],
    }


def print_replayed(found: Replayed) -> None:
    """How many decisions change from what to what, and each of them."""
    console = output.console()
    same = sum(count for (old, new), count in found.counts.items() if old is new)
    console.print(f"{same:,} stay as they are, [bold]{len(found.changes):,}[/] change")
    if found.unknown:
        console.print(f"{found.unknown:,} were not decided on before")
    for (old, new), count in sorted(found.counts.items(), key=lambda item: -item[1]):
        if old is not new:
            console.print(f"{count:>9,}  {old.value} -> {new.value}")
    for picture, before, after in found.changes:
        console.print(
            f"{before.value} -> [{COLOURS[after.action.value]}]{after.action.value}[/]  "
            f"{escaped(after.nearest.rule)} {after.margin:+.2f}  {linked(picture.path)}"
        )


def print_attacked(measured: Attacked) -> None:
    """A table of flips by rule and attack, and what the counter-measures cost."""
    from rich.table import Table

    from tritonclip_search.policy.attacks import MEASURES

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("rule", "attack", "hidden", "framed", "flipped"):
        table.add_column(column, no_wrap=True)
    for measure in MEASURES[1:]:
        table.add_column(f"with {measure}", no_wrap=True)
    for one in measured.flips:
        shares = [f"{one.flipped[measure]:.1%}" for measure in MEASURES]
        table.add_row(escaped(one.rule), one.attack, str(one.hidden), str(one.framed), *shares)
    output.print_table(table)
    for cost in measured.costs:
        what = "go to a person" if cost.measure == "review" else "of its answers change"
        output.console().print(
            f"[dim]{escaped(cost.rule)}: {cost.measure} costs: {cost.changed:.1%} {what} on "
            "unharmed pictures[/]"
        )


def replayed_json(found: Replayed) -> dict[str, Any]:
    """The same, as data."""
    return {
        "counts": [
            {"before": old.value, "after": new.value, "pictures": count}
            for (old, new), count in found.counts.items()
        ],
        "unknown": found.unknown,
        "changes": [
            {
                "path": picture.path,
                "before": before.value,
                "after": after.action.value,
                "rule": after.rule,
                "margin": after.margin,
            }
            for picture, before, after in found.changes
        ],
    }


def interval(values: Interval) -> str:
    """A share within its interval."""
    low, share, high = values
    return f"{share:.1%} ({low:.1%} to {high:.1%})" if share == share else "nothing to measure"

"""What the commands on policies print for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tritonclip_cli import output
from tritonclip_cli.archive_output import escaped, linked

if TYPE_CHECKING:
    from tritonclip_search.policy import Policy
    from tritonclip_search.policy.checking import Finding
    from tritonclip_search.policy.moderation import Moderated

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

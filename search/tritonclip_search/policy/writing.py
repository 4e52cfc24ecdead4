"""Chosen thresholds, written into the policy's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritonclip_search.policy.calibration import Calibrated
from tritonclip_search.policy.file import document, text_of
from tritonclip_search.policy.rules import Policy


def write_thresholds(policy: Policy, calibrated: Sequence[Calibrated]) -> None:
    """Put thresholds into the file that `policy` was read from, as a whole or not at all.

    Everything else in it stays, comments too.
    """
    before = policy.path.read_text(encoding="utf-8")
    changed = document(before.encode(), policy.path)
    rules = {rule["name"]: rule for rule in changed["rules"]}
    for one in calibrated:
        _write(rules[one.rule], one)
    partial = policy.path.with_name(f".{policy.path.name}.partial")
    partial.write_text(text_of(changed, before), encoding="utf-8")
    partial.chmod(policy.path.stat().st_mode)
    partial.replace(policy.path)


def _write(rule: Any, one: Calibrated) -> None:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    threshold, calibration = one.threshold, one.threshold.calibration
    assert threshold.goal is not None
    assert calibration is not None

    def interval(values: Sequence[float]) -> CommentedSeq:
        listed = CommentedSeq(round(value, 4) for value in values)
        listed.fa.set_flow_style()
        return listed

    there = rule["threshold"]
    there.fa.set_block_style()
    there["at"] = threshold.at
    there["calibrated"] = CommentedMap(
        {
            **vars(calibration),
            "precision": interval(calibration.precision),
            "recall": interval(calibration.recall),
        }
    )

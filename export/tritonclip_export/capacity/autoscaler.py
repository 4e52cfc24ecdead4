"""The HorizontalPodAutoscaler, as far as the chart in deploy/ uses it.

After "Horizontal Pod Autoscaling: algorithm details" and "configurable scaling behavior" of the
documentation of Kubernetes 1.35. Constants that the chart sets are those of the chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

# Of the controller: seconds between two looks, and how far from the target it leaves things alone.
PERIOD = 15.0
_TOLERANCE = 0.1
# Of the chart: growth by as much again or by two, whichever is more, in so many seconds; shrinking
# by a fifth or by one a minute.
_UP_SECONDS = 30.0
_UP_SHARE, _UP_PODS = 1.0, 2
_DOWN_SECONDS = 60.0
_DOWN_SHARE, _DOWN_PODS = 0.2, 1


@dataclass(frozen=True)
class Target:
    """What the chart is told: `autoscaling` of its values."""

    queue_ms: float = 20.0
    requests_per_second: float = 0.0
    """Of one replica; 0 to look at the queue alone."""
    least: int = 2
    most: int = 100
    scale_down_seconds: float = 300.0


@dataclass(frozen=True)
class Seen:
    """The metrics of the replicas that are ready, a value each, over the last minute."""

    queue_ms: Sequence[float]
    requests_per_second: Sequence[float]
    starting: int
    """Replicas that are not ready yet."""


@dataclass
class Autoscaler:
    """Says how many replicas there should be; asked every `PERIOD` seconds."""

    target: Target
    _advised: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, seen: Seen) -> int:
        """How many replicas are wanted from now on."""
        current = len(seen.queue_ms) + seen.starting
        if not self._advised:
            self._advised.append((now, current))  # as the controller does when it starts
        advice = [self._advice(seen.queue_ms, self.target.queue_ms, seen.starting)]
        if self.target.requests_per_second:
            goal = self.target.requests_per_second
            advice.append(self._advice(seen.requests_per_second, goal, seen.starting))
        wanted = min(max(max(advice), self.target.least), self.target.most)
        self._advised = [
            (when, n) for when, n in self._advised if when > now - self.target.scale_down_seconds
        ] + [(now, wanted)]
        if wanted < current:
            wanted = min(current, max(n for _, n in self._advised))
        wanted = self._limited(now, current, wanted)
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    @staticmethod
    def _advice(values: Sequence[float], target: float, starting: int) -> int:
        ready, total = len(values), sum(values)
        current = ready + starting
        if not ready:
            return current
        ratio = total / ready / target
        if ratio > 1 and starting:
            # Those that are still starting are taken to need nothing, so that nobody overshoots.
            ratio = max(1.0, total / current / target)
        if abs(ratio - 1) <= _TOLERANCE:
            return current
        return math.ceil(ratio * (current if ratio > 1 else ready))

    def _limited(self, now: float, current: int, wanted: int) -> int:
        if wanted > current:
            lately = sum(n for when, n in self._changes if n > 0 and when > now - _UP_SECONDS)
            before = current - lately
            return min(wanted, max(math.ceil(before * (1 + _UP_SHARE)), before + _UP_PODS))
        lately = sum(n for when, n in self._changes if n < 0 and when > now - _DOWN_SECONDS)
        before = current - lately
        return max(wanted, min(math.floor(before * (1 - _DOWN_SHARE)), before - _DOWN_PODS))

"""A coordinate search that keeps only what it can tell from noise.

One axis after the other, from the best setting so far. A candidate is measured once; one that
looks better is measured again, in turn with the best so far, and kept if it gains more than
measurements vary by. In the end the first and the last setting are measured in turn once more, and
that is the gain.

Gains are differences of logarithms, so that they add up and variation is relative. It is the
standard deviation of repeated measurements of one setting, pooled over all settings that were
repeated; two means differ if they are more than two standard errors of their difference apart, and
at least `LEAST_GAIN`. What else the machine does comes and goes in bursts rather than at random, so
in turn each pair must agree, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tritonclip_export.errors import SettingRefusedError
from tritonclip_export.repository.setting import Setting
from tritonclip_export.tuning.space import Axis, Ladder

REPEATS = 3
"""Of the baseline, and of each comparison in turn."""
LEAST_GAIN = 0.02

Verdict = Literal["baseline", "kept", "no gain", "over the limit", "refused"]


@dataclass(frozen=True)
class Figures:
    """One measurement: items a second, and the 99th percentile of latency in milliseconds."""

    throughput: float
    p99_ms: float


Measure = Callable[[Setting], Figures]


@dataclass(frozen=True)
class Objective:
    """What counts as better.

    With a limit, only the 99th percentile counts as long as the best so far is over it; then only
    throughput, of settings that are within it.

    Attributes:
        name: throughput, or the 99th percentile of latency.
        limit_ms: of the 99th percentile, for throughput; None for no limit.
    """

    name: Literal["throughput", "latency"] = "throughput"
    limit_ms: float | None = None

    def by_latency(self, before: Figures) -> bool:
        """Whether latency is what can be gained over `before`."""
        over = self.limit_ms is not None and before.p99_ms > self.limit_ms
        return self.name == "latency" or over

    def gain(self, before: Figures, after: Figures) -> float:
        """The logarithm of how many times better `after` is."""
        if self.by_latency(before):
            return math.log(before.p99_ms / after.p99_ms)
        return math.log(after.throughput / before.throughput)

    def allows(self, before: Figures, after: Figures) -> bool:
        """Whether `after` is not over a limit that `before` keeps."""
        return self.by_latency(before) or self.limit_ms is None or after.p99_ms <= self.limit_ms


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        axis: what was changed; empty for the baseline.
        setting: that was tried.
        figures: means of its measurements; None if it was refused.
        verdict: what became of it.
        gain: over the best so far, relative; None for the baseline and where it was refused.
        reason: why it was refused.
    """

    axis: str
    setting: Setting
    figures: Figures | None
    verdict: Verdict
    gain: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        before: the setting that it began with, and `figures_before` its last ones.
        best: the best it found; `before` itself where nothing was gained for certain.
        gain: of `best`, relative, measured in turn with `before`; 0 where they are the same.
        noise: what a gain had to exceed there.
        trials: in order, the baseline first.
        untried: axes, begun or not, that the time did not suffice for.
    """

    before: Setting
    best: Setting
    figures_before: Figures
    figures_best: Figures
    gain: float
    noise: float
    trials: tuple[Trial, ...]
    untried: tuple[str, ...]

    @property
    def gained(self) -> bool:
        """Whether there is anything to write."""
        return self.best != self.before


def search(
    baseline: Setting,
    axes: Sequence[Axis],
    measure: Measure,
    objective: Objective,
    *,
    deadline: float,
    clock: Callable[[], float],
    show: Callable[[Trial], None] = lambda _: None,
) -> Outcome:
    """Look for a setting that is better than `baseline`.

    Args:
        baseline: how the tower is run now.
        axes: what to change, in this order.
        measure: runs a load under a setting; may raise `SettingRefusedError`, and the search goes
            on without that setting.
        objective: what counts as better.
        deadline: when to have finished, by `clock`, in seconds. The baseline is measured whatever
            the time, and what is found at the last moment is compared with it after that.
        clock: the time in seconds.
        show: told of each trial once it is decided.

    Raises:
        SettingRefusedError: the baseline itself is refused.
    """
    return _Search(baseline, measure, objective, deadline, clock, show).run(axes)


class _OutOfTimeError(Exception):
    pass


class _Search:
    """One search: the best so far, every measurement, and what those tell about noise."""

    def __init__(
        self,
        baseline: Setting,
        measure: Measure,
        objective: Objective,
        deadline: float,
        clock: Callable[[], float],
        show: Callable[[Trial], None],
    ) -> None:
        self.baseline = self.best = baseline
        self.measure = measure
        self.objective = objective
        self.deadline = deadline
        self.clock = clock
        self.show = show
        self.began = clock()
        self.measured: dict[Setting, list[Figures]] = {}
        self.trials: list[Trial] = []

    def run(self, axes: Sequence[Axis]) -> Outcome:
        first = _mean([self._figures(self.baseline) for _ in range(REPEATS)])
        self._tell(Trial("", self.baseline, first, "baseline"))
        left = list(axes)
        try:
            while left:
                for ladder in left[0].ladders(self.best):
                    self._climb(left[0].name, ladder)
                left.pop(0)
        except _OutOfTimeError:
            pass
        return self._compared([axis.name for axis in left if any(axis.ladders(self.best))])

    def _climb(self, axis: str, ladder: Ladder) -> None:
        """Try the steps of a ladder, and keep those that gain."""
        reference: Figures | None = None
        for candidate in ladder:
            if candidate in self.measured:
                continue
            # Itself and what it is compared with, its confirmation; the comparison at the end once
            # there is something to compare.
            final = 2 * REPEATS * (self.best != self.baseline)
            if not self._time_for(2 + 2 * REPEATS + final):
                raise _OutOfTimeError
            reference = reference or self._figures(self.best)
            try:
                trial, wanted = self._tried(axis, candidate, reference)
            except SettingRefusedError as refused:
                self._tell(Trial(axis, candidate, None, "refused", reason=str(refused)))
                break
            self._tell(trial)
            if trial.verdict == "kept":
                self.best, reference = candidate, trial.figures
            elif trial.gain is not None and math.log1p(trial.gain) < -wanted:
                break

    def _tried(self, axis: str, candidate: Setting, reference: Figures) -> tuple[Trial, float]:
        """What becomes of a candidate, and what its gain had to exceed."""
        gain_over, allows = self.objective.gain, self.objective.allows
        figures, times, agreed = self._figures(candidate), 1, False
        if gain_over(reference, figures) > LEAST_GAIN and allows(reference, figures):
            # Without the measurement that it was chosen for, which luck may have had a part in.
            times = REPEATS
            reference, figures, agreed = self._in_turn(self.best, candidate)
        gain, wanted = gain_over(reference, figures), self._noise(times, reference)
        verdict: Verdict = "kept" if agreed and gain > wanted else "no gain"
        if not allows(reference, figures):
            verdict = "over the limit"
        return Trial(axis, candidate, figures, verdict, math.expm1(gain)), wanted

    def _compared(self, untried: list[str]) -> Outcome:
        """Baseline and best once more, in turn."""
        before = after = _mean(self.measured[self.baseline])
        gain = noise = 0.0
        if self.best != self.baseline:
            try:
                before, after, agreed = self._in_turn(self.baseline, self.best)
                gain, noise = self.objective.gain(before, after), self._noise(REPEATS, before)
                lasting = agreed and gain > noise and self.objective.allows(before, after)
            except SettingRefusedError:
                lasting = False
            if not lasting:
                self.best, after, gain = self.baseline, before, 0.0
        return Outcome(
            before=self.baseline,
            best=self.best,
            figures_before=before,
            figures_best=after,
            gain=math.expm1(gain),
            noise=math.expm1(noise),
            trials=tuple(self.trials),
            untried=tuple(untried),
        )

    def _in_turn(self, a: Setting, b: Setting) -> tuple[Figures, Figures, bool]:
        """Means of both, and whether `b` is better in each pair.

        The order changes each time, so that a drift of the machine cancels.
        """
        figures: dict[Setting, list[Figures]] = {a: [], b: []}
        for turn in range(REPEATS):
            for setting in (a, b) if turn % 2 == 0 else (b, a):
                figures[setting].append(self._figures(setting))
        pairs = zip(figures[a], figures[b], strict=True)
        agreed = all(self.objective.gain(before, after) > 0 for before, after in pairs)
        return _mean(figures[a]), _mean(figures[b]), agreed

    def _figures(self, setting: Setting) -> Figures:
        figures = self.measure(setting)
        self.measured.setdefault(setting, []).append(figures)
        return figures

    def _noise(self, times: int, incumbent: Figures) -> float:
        """What the gain between two means of so many measurements each must exceed."""
        by_latency = self.objective.by_latency(incumbent)
        squares, degrees = 0.0, 0
        for repeats in self.measured.values():
            values = [math.log(f.p99_ms if by_latency else f.throughput) for f in repeats]
            mean = math.fsum(values) / len(values)
            squares += math.fsum((value - mean) ** 2 for value in values)
            degrees += len(values) - 1
        deviation = math.sqrt(squares / degrees) if degrees else 0.0
        return max(math.log1p(LEAST_GAIN), 2 * deviation * math.sqrt(2 / times))

    def _time_for(self, measurements: int) -> bool:
        each = (self.clock() - self.began) / sum(map(len, self.measured.values()))
        return self.clock() + each * measurements <= self.deadline

    def _tell(self, trial: Trial) -> None:
        self.trials.append(trial)
        self.show(trial)


def _mean(figures: Sequence[Figures]) -> Figures:
    n = len(figures)
    return Figures(
        math.fsum(f.throughput for f in figures) / n, math.fsum(f.p99_ms for f in figures) / n
    )

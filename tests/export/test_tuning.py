"""What `tune` tries, keeps and carries over, without a server."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tritonclip.errors import InvalidArgument
from tritonclip_export.bundle import Bundle
from tritonclip_export.errors import RepositoryError, SettingRefusedError, TuningError
from tritonclip_export.repository.assemble import Assembled, assemble, findings
from tritonclip_export.repository.execution import Execution
from tritonclip_export.repository.setting import TUNED_PARAMETER, Setting, read_setting
from tritonclip_export.served.model_config import read_config
from tritonclip_export.tuning.search import (
    REPEATS,
    Figures,
    Objective,
    Outcome,
    search,
)
from tritonclip_export.tuning.space import Machine, axes
from tritonclip_export.tuning.tune import tune

DEFAULT = Setting(instances=1, threads=0, delay_us=0, preferred=(), feeders=1)
CPU = Machine(cores=4, gpus=0, max_batch=64, concurrency=32)
GPU = replace(CPU, gpus=1)


class Bench:
    """A made-up server: what it gives under a setting, and the minutes that have passed."""

    def __init__(
        self,
        figures: Callable[[Setting], Figures],
        *,
        noise: float = 0.0,
        seconds: float = 1.0,
    ) -> None:
        self.figures = figures
        self.swings = itertools.cycle((1 - noise, 1 + noise, 1.0, 1 + noise, 1 - noise))
        self.seconds = seconds
        self.now = 0.0
        self.asked: list[Setting] = []

    def measure(self, setting: Setting) -> Figures:
        self.asked.append(setting)
        self.now += self.seconds
        figures, swing = self.figures(setting), next(self.swings)
        return Figures(figures.throughput * swing, figures.p99_ms / swing)

    def search(
        self,
        machine: Machine = CPU,
        objective: Objective | None = None,
        *,
        baseline: Setting = DEFAULT,
        seconds: float = 1000,
    ) -> Outcome:
        return search(
            baseline,
            axes(machine),
            self.measure,
            objective or Objective(),
            deadline=seconds,
            clock=lambda: self.now,
        )


def faster(factor: float = 1.0) -> Figures:
    """100 items a second at p99 300 ms, times a factor."""
    return Figures(100 * factor, 300 / factor)


def test_what_helps_is_found_and_what_does_not_is_left_as_it_was() -> None:
    def two_instances(s: Setting) -> Figures:
        return faster((1.3 if s.instances == 2 else 1.0) * (0.8 if s.delay_us else 1.0))

    outcome = Bench(two_instances).search()
    assert outcome.best == replace(DEFAULT, instances=2, threads=2)
    assert outcome.gain == pytest.approx(0.3)
    assert [t.setting for t in outcome.trials if t.verdict == "kept"] == [outcome.best]
    assert outcome.untried == ()


def test_gains_within_the_noise_are_not_kept() -> None:
    """3 % more is nothing to be sure of where measurements vary by 8 %."""

    def slightly(s: Setting) -> Figures:
        return faster(1.03 if s.feeders == 2 else 1.0)

    assert Bench(slightly).search().best.feeders == 2
    for start in range(5):
        bench = Bench(slightly, noise=0.08)
        for _ in range(start):
            next(bench.swings)
        outcome = bench.search()
        assert not outcome.gained
        assert outcome.gain == 0
        assert outcome.figures_best == outcome.figures_before


def test_a_lucky_candidate_is_measured_again_before_it_is_kept() -> None:
    seen: set[Setting] = set()

    def lucky_once(s: Setting) -> Figures:
        first = s not in seen and s != DEFAULT
        seen.add(s)
        return faster(1.5 if first else 1.0)

    bench = Bench(lucky_once)
    outcome = bench.search()
    assert not outcome.gained
    assert all(bench.asked.count(t.setting) > 1 for t in outcome.trials)


def test_a_quiet_moment_of_a_busy_machine_is_no_gain() -> None:
    """From the screening of the first candidate on, for as long as four measurements take."""
    for begins, ends in itertools.combinations(range(4, 12), 2):
        if ends - begins > 4:
            continue
        bench = Bench(lambda _: faster(2.4 if begins <= bench.now <= ends else 1.0))  # noqa: B023
        assert not bench.search().gained


def test_what_does_not_last_until_the_end_is_given_up() -> None:
    bench = Bench(lambda s: faster(1.5 if s.instances == 2 and bench.now < 20 else 1.0))
    outcome = bench.search()
    assert "kept" in [t.verdict for t in outcome.trials]
    assert not outcome.gained


def test_what_usually_matters_comes_first_and_worse_ends_a_direction() -> None:
    on_cpu = Bench(lambda s: faster(0.5 if s != DEFAULT else 1.0)).search(CPU)
    assert [t.axis for t in on_cpu.trials] == [
        *("", "instances and threads", "threads", "queue delay", "preferred batches"),
        "instances before",
    ]
    on_gpu = Bench(lambda s: faster(0.5 if s != DEFAULT else 1.0)).search(GPU)
    assert [t.axis for t in on_gpu.trials][:3] == ["", "instances", "instances before"]
    assert all(t.setting.threads == DEFAULT.threads for t in on_gpu.trials)


def test_several_gpus_may_be_fed_by_more_processes() -> None:
    def most(**changes: int) -> int:
        _, before, *_ = axes(replace(GPU, **{"cores": 32, **changes}))
        return max(s.feeders for s in itertools.chain(*before.ladders(DEFAULT)))

    assert (most(gpus=1), most(gpus=4), most(gpus=4, cores=8)) == (4, 16, 8)


def test_instances_and_threads_stay_within_the_cores() -> None:
    for cores in (1, 2, 6, 96):
        machine = replace(CPU, cores=cores)
        for axis in axes(machine):
            for setting in itertools.chain(*axis.ladders(DEFAULT)):
                assert setting.threads is not None
                assert setting.instances * setting.threads <= cores
                assert setting.threads or setting.instances == 1
                assert setting.instances <= 8
                assert all(1 < size <= 32 for size in setting.preferred)


def test_a_single_caller_is_never_made_to_wait_for_a_batch() -> None:
    for axis in axes(replace(CPU, concurrency=1)):
        for setting in itertools.chain(*axis.ladders(DEFAULT)):
            assert setting.delay_us == 0
            assert setting.preferred == ()


def test_the_time_is_kept_and_what_it_did_not_suffice_for_is_said() -> None:
    bench = Bench(lambda s: faster(1.0 + 0.1 * s.feeders), seconds=10)
    outcome = bench.search(seconds=120)
    assert bench.now <= 120
    assert outcome.untried[-1] == "instances before"
    assert not outcome.gained
    enough = Bench(lambda s: faster(1.0 + 0.1 * s.feeders), seconds=10).search(seconds=1200)
    assert enough.gained
    assert enough.untried == ()


def test_without_any_time_only_the_baseline_is_measured() -> None:
    bench = Bench(lambda _: faster())
    outcome = bench.search(seconds=0)
    assert bench.asked == [DEFAULT] * REPEATS
    assert outcome.figures_best == Figures(100, 300)


def test_a_setting_that_the_server_refuses_is_reported_and_passed_over() -> None:
    def no_memory(s: Setting) -> Figures:
        if s.instances > 1:
            raise SettingRefusedError("out of memory")
        return faster(1.2 if s.delay_us == 500 else 1.0)

    outcome = Bench(no_memory).search()
    refused = [t for t in outcome.trials if t.verdict == "refused"]
    assert [(t.setting.instances, t.reason) for t in refused] == [(2, "out of memory")]
    assert outcome.best.delay_us == 500


def test_latency_is_made_small_and_a_limit_is_kept_while_throughput_grows() -> None:
    def waiting_pays(s: Setting) -> Figures:
        return Figures(100 + s.delay_us / 50, 50 + s.delay_us / 20)

    tuned = replace(DEFAULT, delay_us=2000, preferred=(8,))
    latency = Bench(waiting_pays).search(objective=Objective("latency"), baseline=tuned)
    assert latency.best.delay_us == 0
    assert latency.gain == pytest.approx(150 / 50 - 1)
    unlimited = Bench(waiting_pays).search()
    assert unlimited.best.delay_us == 5000
    limited = Bench(waiting_pays).search(objective=Objective("throughput", limit_ms=160))
    assert limited.best.delay_us == 2000
    assert [t.setting.delay_us for t in limited.trials if t.verdict == "over the limit"] == [5000]
    over = Bench(waiting_pays).search(
        objective=Objective("throughput", limit_ms=60), baseline=replace(DEFAULT, delay_us=5000)
    )
    assert over.figures_best.p99_ms <= 60


@pytest.fixture
def tuned(bundle: Callable[[str], Bundle], tmp_path: Path) -> Path:
    """A repository with findings for its image tower."""
    target = tmp_path / "repository"
    assemble([bundle("demo")], target, runtime="python")
    setting = Setting(instances=2, threads=1, delay_us=500, preferred=(8, 16), feeders=2)
    written = findings.write(
        target, findings.tower_models("demo", "image"), setting, {"date": "today", "gain": 0.1}
    )
    assert written == ("demo_image_encoder", "demo_image_preprocess")
    return target


def image_configs(repository: Path) -> list[Any]:
    models = findings.tower_models("demo", "image")
    return [read_config(repository / model / "config.pbtxt") for model in models]


def test_findings_change_only_what_they_name_and_say_where_they_come_from(
    tuned: Path, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    assemble([bundle("demo")], tmp_path / "plain", runtime="python")
    assert read_setting(*image_configs(tuned)) == Setting(2, 1, 500, (8, 16), 2)
    for config, plain in zip(image_configs(tuned), image_configs(tmp_path / "plain"), strict=True):
        assert json.loads(config.parameters[TUNED_PARAMETER].string_value)["date"] == "today"
        for field in ("input", "output", "max_batch_size", "model_warmup", "backend"):
            assert getattr(config, field) == getattr(plain, field)
    for other in sorted(path.name for path in tuned.iterdir()):
        if other not in findings.tower_models("demo", "image"):
            there, here = (
                (folder / other / "config.pbtxt").read_text()
                for folder in (tmp_path / "plain", tuned)
            )
            assert there == here
    comment = (tuned / "demo_image_encoder" / "config.pbtxt").read_text().splitlines()[0]
    assert comment.startswith("# RGB pixels")


def test_assemble_keeps_findings_and_does_not_touch_the_models_that_have_them(
    tuned: Path, bundle: Callable[[str], Bundle]
) -> None:
    again = assemble([bundle("demo")], tuned, runtime="python")
    assert again.written == ()
    assert again.tuned == ("demo_image_encoder", "demo_image_preprocess")
    moved = assemble([bundle("demo")], tuned, runtime="python", execution=Execution(instances=3))
    assert moved.written == ("demo_text_encoder",)


def test_findings_are_dropped_when_told_so_and_where_they_do_not_hold(
    tuned: Path, bundle: Callable[[str], Bundle]
) -> None:
    def reassembled(**options: Any) -> Assembled:
        done = assemble([bundle("demo")], tuned, **{"runtime": "python", **options})
        assert done.tuned == ()
        assert all(TUNED_PARAMETER not in c.parameters for c in image_configs(tuned))
        return done

    before = [path.read_bytes() for path in sorted(tuned.rglob("config.pbtxt"))]
    files = sorted(tuned.rglob("config.pbtxt"))
    for options in ({"keep_tuned": False}, {"runtime": "onnxruntime"}):
        done = reassembled(**options)
        assert "demo_image_encoder" in done.written
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)


def test_a_folder_that_cannot_be_tuned_is_refused_with_what_to_do(
    tuned: Path, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    with pytest.raises(RepositoryError, match="`tritonclip assemble` makes a repository"):
        tune(tmp_path / "nowhere", [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RepositoryError, match="holds nothing that `tritonclip assemble` wrote"):
        tune(tmp_path / "empty", [])
    with pytest.raises(InvalidArgument, match="no bundle 'dem', but demo"):
        tune(tuned, [], bundle="dem")
    assemble([bundle("siglip")], tuned, runtime="python")
    with pytest.raises(InvalidArgument, match="choose one with --bundle: demo, siglip"):
        tune(tuned, [])
    assemble([bundle("demo")], tmp_path / "gpu", runtime="onnxruntime")
    with pytest.raises(TuningError, match=r"no backend for runtime 'onnxruntime'.*--explicit"):
        tune(tmp_path / "gpu", [])


def test_noise_is_relative() -> None:
    """The same search on a server ten thousand times as fast keeps the same."""

    def scaled(s: Setting) -> Figures:
        figures = faster(1.1 if s.instances == 2 else 1.0)
        return Figures(figures.throughput * 1e4, figures.p99_ms / 1e4)

    assert math.isclose(Bench(scaled).search().gain, 0.1)

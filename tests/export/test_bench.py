"""Benchmarks: what is counted, and that the figures are exactly what was counted."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from tritonclip.errors import InvalidArgument
from tritonclip_export.bench import cost, summary, triton, workloads
from tritonclip_export.bench.load import UNSENT, Log, Timing, closed_loop, open_loop
from tritonclip_export.bench.plots import throughput_latency
from tritonclip_export.bench.results import Interval, Latency, Measurement, Report, Usage
from tritonclip_export.bench.sending import RequestFailed
from tritonclip_export.bench.usage import parse_gpus
from tritonclip_export.errors import BenchmarkError

TIMING = Timing(start=0.0, warmup=1.0, seconds=2.0, repeats=3)


def log(*entries: tuple[float, float, float, str]) -> Log:
    return Log.of(entries)


def measurement(**changes: object) -> Measurement:
    latency = Latency(
        count=10, mean=2.0, p50=2.0, p90=3.0, p99=4.0, p999=5.0, max=6.0, histogram=""
    )
    values: dict[str, object] = {
        "server": "tritonclip",
        "workload": "jpeg-640x480",
        "protocol": "grpc",
        "concurrency": 8,
        "rate": None,
        "batch": 1,
        "processes": 1,
        "seconds": 10.0,
        "throughput": Interval(mean=100.0, low=90.0, high=110.0, repeats=(95.0, 105.0)),
        "latency": latency,
        "lateness_ms": 0.0,
        "failures": {},
        "generator": Usage(cores=0.1, memory_mib=50.0),
        "usage": Usage(cores=1.5, memory_mib=500.0),
    }
    return Measurement.model_validate({**values, **changes})


def test_percentiles_are_those_of_the_requests() -> None:
    found = summary.percentiles(np.arange(1, 1001) / 1e6)
    assert (found.p50, found.p90, found.p99, found.p999) == pytest.approx((0.5, 0.9, 0.99, 0.999))
    assert found.max == 1.0
    assert found.mean == pytest.approx(0.5005)
    whole = HdrHistogram.decode(found.histogram)
    assert whole.get_total_count() == found.count == 1000
    assert whole.get_value_at_percentile(50) == 500


def test_an_interval_is_students() -> None:
    found = summary.interval([10.0, 12.0, 14.0])
    half = 4.303 * 2 / 3**0.5  # t of two degrees of freedom; the standard deviation is 2
    assert found.mean == 12
    assert found.low == pytest.approx(12 - half)
    assert found.high == pytest.approx(12 + half)
    alone = summary.interval([10.0])
    assert (alone.mean, alone.low, alone.high) == (10, None, None)


def test_rounds_of_one_load_become_one_measurement() -> None:
    slow = measurement(latency=summary.percentiles(np.full(100, 0.020)))
    fast = measurement(
        throughput=summary.interval([30.0]),
        latency=summary.percentiles(np.full(300, 0.010)),
        usage=Usage(cores=1.0, memory_mib=2000),
    )

    found = summary.merged([slow, fast])

    assert found.throughput.repeats == (*slow.throughput.repeats, 30.0)
    assert found.latency is not None
    assert found.latency.count == 400
    assert found.latency.mean == pytest.approx(12.5)
    assert found.latency.p50 == pytest.approx(10.0, rel=1e-3)
    assert found.latency.p99 == pytest.approx(20.0, rel=1e-3)
    assert found.usage is not None
    assert found.usage.memory_mib == 2000


def test_throughput_counts_the_share_of_a_request_in_each_repeat_and_no_failure() -> None:
    answered = log(
        (0.0, 0.0, 0.9, ""),  # warm-up
        (0.8, 0.9, 1.1, ""),  # half of it, from when it was sent
        (1.0, 1.0, 2.9, ""),
        (2.0, 2.0, 2.9, "HTTP 500"),
        (2.9, 2.9, 3.3, ""),  # a quarter, and three
        (6.5, 6.5, 7.5, ""),  # half of it
    )
    found = summary.throughput(answered, TIMING, batch=4)
    assert found.repeats == pytest.approx((1.75 * 4 / 2, 0.75 * 4 / 2, 0.5 * 4 / 2))
    assert summary.failures(answered, TIMING) == {"HTTP 500": 1}


def test_latency_counts_from_when_a_request_was_due() -> None:
    late = log((2.0, 2.5, 2.6, ""), (0.5, 0.5, 5.0, ""), (3.0, 7.0, 7.0, UNSENT))
    found = summary.latency(late, TIMING)
    assert found is not None
    assert found.count == 2
    assert found.p50 == pytest.approx(600, rel=1e-3)
    assert found.max == 4000
    assert summary.lateness(late, TIMING) == pytest.approx(500)
    assert summary.latency(log((2.0, 2.0, 2.1, "gone")), TIMING) is None


def test_a_stall_is_charged_to_every_request_that_it_delays() -> None:
    """One connection, 100 requests a second, and a server that once takes 0.2 s."""
    numbers = itertools.count()

    def send(number: int) -> None:
        if number == 10:
            time.sleep(0.2)

    timing = Timing(time.monotonic() + 0.02, 0.0, 0.5, 1)
    sent = open_loop([send], lambda: next(numbers), timing, rate=100)
    assert len(sent.due) == 50
    np.testing.assert_allclose(sent.due - timing.start, np.arange(50) / 100, atol=1e-9)
    delayed = (sent.done - sent.due)[10:30]
    np.testing.assert_array_less(0.2 - 0.01 * np.arange(20) - 0.001, delayed)
    assert np.median((sent.done - sent.due)[:10]) < 0.02

    timing = Timing(time.monotonic() + 0.02, 0.0, 0.5, 1)
    numbers = itertools.count()
    closed = closed_loop([send], lambda: next(numbers), timing)
    assert (closed.done - closed.due > 0.1).sum() == 1  # what a closed loop would have told


def test_processes_share_a_rate() -> None:
    timing = Timing(time.monotonic(), 0.0, 0.2, 1)
    sent = [
        open_loop([lambda _: None] * 2, lambda: None, timing, rate=100, share=(i, 2))
        for i in (0, 1)
    ]
    due = np.sort(np.concatenate([part.due for part in sent])) - timing.start
    np.testing.assert_allclose(due, np.arange(20) / 100, atol=1e-9)


def test_what_cannot_be_sent_is_counted_all_the_same() -> None:
    timing = Timing(time.monotonic(), 0.0, 0.1, 1)
    sent = open_loop([lambda _: time.sleep(0.3)], lambda: None, timing, rate=50, patience=0.1)
    assert len(sent.due) == 5
    assert list(sent.failures) == ["", UNSENT, UNSENT, UNSENT, UNSENT]


def test_a_closed_loop_keeps_all_its_callers_busy_and_outlives_failures() -> None:
    busy, most, lock = 0, 0, threading.Lock()

    def send(number: int) -> None:
        nonlocal busy, most
        with lock:
            busy, most = busy + 1, max(most, busy + 1)
        time.sleep(0.01)
        with lock:
            busy -= 1
        if number == 3:
            raise RequestFailed("HTTP 503")

    numbers = itertools.count()
    timing = Timing(time.monotonic(), 0.0, 0.2, 1)
    sent = closed_loop([send] * 4, lambda: next(numbers), timing)
    assert most == 4
    assert summary.failures(sent, timing) == {"HTTP 503": 1}
    assert (sent.due == sent.sent).all()


def test_steps_are_the_difference_of_tritons_counters() -> None:
    def counters(requests: int, milliseconds: int, executions: int) -> triton.Statistics:
        time_spent = {"count": str(requests), "ns": str(milliseconds * 1_000_000)}
        keys = ("success", "queue", "compute_input", "compute_infer", "compute_output")
        return {
            "demo_image": {
                "name": "demo_image",
                "inference_count": str(requests),
                "execution_count": str(executions),
                "inference_stats": dict.fromkeys(keys, time_spent),
            },
            "idle": {"name": "idle"},
        }

    (step,) = triton.steps(counters(10, 100, 10), counters(30, 300, 15))
    assert (step.model, step.requests, step.batch) == ("demo_image", 20, 4.0)
    assert (step.queue_ms, step.infer_ms, step.cache_hits) == (10.0, 10.0, 0)


def test_gpu_figures_are_means_and_peaks_of_what_nvidia_smi_says() -> None:
    lines = [
        "0, NVIDIA L4, 50, 1000, 60.5\n",
        "1, NVIDIA L4, 0, 10, [N/A]\n",
        "0, NVIDIA L4, 100, 1200, 71.5\n",
        "0, NVIDIA",
    ]
    first, second = parse_gpus(lines)
    assert (first.utilization_percent, first.memory_mib, first.power_watts) == (75, 1200, 66)
    assert (second.memory_mib, second.power_watts) == (10, None)


def test_doubts_name_what_else_was_measured() -> None:
    assert measurement().doubts() == ()
    busy = measurement(generator=Usage(cores=0.97, memory_mib=50))
    assert "use more processes" in busy.doubts()[0]
    assert "cannot answer 200" in measurement(rate=200.0).doubts()[0]
    assert "3 requests failed (gone)" in measurement(failures={"gone": 3}).doubts()[0]


def test_workloads_are_what_their_names_say_and_the_same_every_time() -> None:
    import io

    from PIL import Image

    (jpeg, png, short, long) = workloads.named("jpeg-640x480, png-640x480,text-short,text-long")
    for workload, kind in ((jpeg, "JPEG"), (png, "PNG")):
        image = Image.open(io.BytesIO(workload.item(0)))
        assert (image.size, image.format) == ((640, 480), kind)
        assert len({workload.item(i) for i in range(11)}) == 11
    assert workloads.named("jpeg-640x480")[0].item(3) == jpeg.item(3)
    assert len({short.item(i) for i in range(20_000)}) == 20_000
    assert len(short.item(0).split()) == 8
    assert len(long.item(0).split()) == 80
    with pytest.raises(InvalidArgument, match="no workload 'gif'; there are jpeg-640x480"):
        workloads.named("gif")


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    from tritonclip_export.bench import environment

    report = Report(
        **dict(environment.here()),
        about={"model": "demo"},
        measurements=(measurement(),),
    )
    report.save(tmp_path / "new" / "report.json")
    assert Report.load(tmp_path / "new" / "report.json") == report
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(BenchmarkError, match=r"other\.json is not a report"):
        Report.load(tmp_path / "other.json")


def test_a_plot_names_servers_and_loads() -> None:
    drawn = throughput_latency(
        [measurement(), measurement(server="another", concurrency=32)], title="photographs"
    )
    assert drawn.startswith("<?xml")
    for word in ("tritonclip, grpc", "another, grpc", "32", "photographs"):
        assert word in drawn


def test_cost_is_arithmetic() -> None:
    found = cost.cost(3_600_000, rate=100, price=0.5)
    assert (found.hours, found.dollars, found.items_per_dollar) == (10, 5, 720_000)
    shared = cost.cost(3_600_000, rate=100, price=0.5, machines=4)
    assert (shared.hours, shared.dollars) == (2.5, 5)
    assert cost.frames(hours=10, frames_per_second=2) == 72_000
    with pytest.raises(InvalidArgument, match="rate must be positive, not 0"):
        cost.cost(1, rate=0, price=1)

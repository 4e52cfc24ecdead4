"""The simulation against what queueing theory says, and what `capacity` makes of it."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench_reports import closed_loops
from tritonclip.errors import InvalidArgument
from tritonclip_export.capacity.autoscaler import Autoscaler, Seen, Target
from tritonclip_export.capacity.plan import Plan, Rise, plan, within
from tritonclip_export.capacity.replica import Replica, replica_of
from tritonclip_export.capacity.simulation import simulate
from tritonclip_export.capacity.traffic import arrivals, day, read_day
from tritonclip_export.errors import BenchmarkError

# One at a time, 100 a second; work of any request the same, or spread.
EVEN = Replica(rates=(100.0,), queues=(0.0,), spread=0.0)
SPREAD = Replica(rates=(100.0,), queues=(0.0,), spread=0.8)
# Batching: eight together go three times as fast as one after the other.
BATCHING = Replica(
    rates=tuple(np.linspace(40, 120, 8)), queues=tuple(np.linspace(0, 40, 8)), spread=0.1
)


@pytest.mark.parametrize("replica", [EVEN, SPREAD])
@pytest.mark.parametrize("load", [0.3, 0.7])
def test_waiting_is_as_long_as_pollaczek_and_khinchine_say(replica: Replica, load: float) -> None:
    rate = load * replica.most
    came = arrivals([rate] * 4000, 1.0, np.random.default_rng(3))

    outcome = simulate(replica, came, replicas=1)

    service = 1 / replica.most
    second_moment = service**2 * math.exp(replica.spread**2)
    expected = service + rate * second_moment / (2 * (1 - load))
    assert outcome.latencies.mean() == pytest.approx(expected, rel=0.04)


def test_a_closed_loop_of_so_many_callers_is_answered_at_the_rate_that_was_measured() -> None:
    came = np.zeros(8)  # all at once, so that the last is answered after the sum of the steps

    outcome = simulate(Replica(BATCHING.rates, BATCHING.queues, 0.0), came, replicas=1)

    assert outcome.latencies.max() == pytest.approx(sum(1 / rate for rate in BATCHING.rates))


def test_a_report_of_bench_becomes_a_replica() -> None:
    report = closed_loops({1: 40.0, 4: 100.0, 8: 120.0}, queues={1: 0.0, 4: 12.0, 8: 36.0})

    replica = replica_of(report, "jpeg-640x480")

    assert replica.rates == pytest.approx((40, 60, 80, 100, 105, 110, 115, 120))
    assert replica.queue(4) == pytest.approx(12)
    assert replica.queue(8 + 12) == pytest.approx(36 + 100)
    assert replica.spread == pytest.approx(math.log(2) / 2.326, rel=1e-3)


def test_a_report_that_does_not_tell_how_a_server_behaves_says_what_is_missing() -> None:
    report = closed_loops({8: 120.0, 32: 130.0})

    with pytest.raises(BenchmarkError, match=r"callers: 8, 32; at least three.*--concurrency 1,2"):
        replica_of(report, "jpeg-640x480")


def test_the_autoscaler_grows_at_once_and_shrinks_when_it_was_enough_for_a_while() -> None:
    scaler = Autoscaler(Target(queue_ms=20, least=2, most=10, scale_down_seconds=300))

    # Four times the target on two replicas: eight are wanted, four come in the first half minute.
    assert scaler.decide(15, Seen([80, 80], [0, 0], 0)) == 4
    assert scaler.decide(30, Seen([80, 80], [0, 0], 2)) == 4
    assert scaler.decide(60, Seen([80] * 4, [0] * 4, 0)) == 8
    # Within a tenth of the target nothing happens.
    assert scaler.decide(105, Seen([21] * 8, [0] * 8, 0)) == 8
    # Idle: not before five minutes, and then a fifth a minute.
    assert scaler.decide(300, Seen([0] * 8, [0] * 8, 0)) == 8
    assert scaler.decide(420, Seen([0] * 8, [0] * 8, 0)) == 6
    assert scaler.decide(435, Seen([0] * 6, [0] * 6, 0)) == 6
    assert scaler.decide(495, Seen([0] * 6, [0] * 6, 0)) == 4


def test_a_fleet_swings_where_only_the_queue_scales_it_and_rests_where_requests_do_too() -> None:
    # A server that answers one request after the other has no queue until it has nothing else.
    replica = Replica(rates=(200.0,), queues=(0.0,), spread=0.1)
    came = arrivals([400.0] * 600, 1.0, np.random.default_rng(3))

    alone, both = (
        simulate(replica, came, replicas=4, target=Target(20, requests, least=2, most=20))
        for requests in (0, 150)
    )

    counts = [count for _, count in alone.replicas]
    assert min(counts) == 2
    assert max(counts) == 20
    assert alone.percentile(99) > 200
    assert [count for _, count in both.replicas] == [4, 3]
    assert both.percentile(99) < 20


def test_a_day_gets_as_many_replicas_in_each_hour_as_its_target_needs() -> None:
    found = planned(day(peak=500, trough=50), price=0.8)

    assert all(hour.p99_ms <= 200 for hour in found.hours)
    counts = [hour.replicas for hour in found.hours]
    assert counts[16] == max(counts) == math.ceil(500 / found.per_replica)
    assert counts[4] == min(counts) == 1
    assert found.dollars == pytest.approx(0.8 * sum(counts))
    assert found.dollars_fixed == pytest.approx(0.8 * max(counts) * 24)


def test_during_a_burst_replicas_come_when_they_have_started_and_not_before() -> None:
    quick, slow = (
        planned([200.0], rise=Rise(3, 300), start_seconds=seconds).burst for seconds in (15, 120)
    )

    assert quick is not None
    assert slow is not None
    assert quick.p99_ms[0] == slow.p99_ms[0] <= 200
    assert quick.replicas[1] >= 5
    assert quick.p99_ms[1] < slow.p99_ms[1]
    assert quick.recovered_seconds is not None
    assert slow.recovered_seconds is not None
    assert 15 < quick.recovered_seconds < slow.recovered_seconds


def test_what_no_number_of_servers_can_do_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"alone takes 25 ms.*within 20 ms"):
        within(BATCHING, 20)


def test_a_burst_that_would_take_hours_to_simulate_says_what_to_do() -> None:
    with pytest.raises(InvalidArgument, match=r"33 million requests.*a tenth of the load"):
        planned(day(1000, 1000), rise=Rise(100, 321))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hour,rate\n0,5\n", "each hour from 0 to 23"),
        ("0,many\n", "HOUR,REQUESTS"),
        ("".join(f"{hour},-1\n" for hour in range(24)), "not negative"),
    ],
)
def test_a_file_of_a_day_that_is_none_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(text)

    with pytest.raises(InvalidArgument, match=complaint):
        read_day(tmp_path / "day.csv")


def test_the_command_says_how_many_replicas_and_what_they_cost(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    closed_loops({1: 40.0, 4: 100.0, 8: 120.0}).save(tmp_path / "report.json")
    (tmp_path / "day.csv").write_text("".join(f"{hour},{10 * hour}\n" for hour in range(24)))
    command = [
        *(Path(sys.executable).with_name("tritonclip"), "capacity", "--from", "report.json"),
        *("--day", "day.csv", "--p99", "200", "--price", "0.8"),
        *("--burst", "2", "--burst-seconds", "60"),
    ]

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["3", "30.0", "1"] in [line[:3] for line in lines]
    assert ["23", "230.0", "3"] in [line[:3] for line in lines]
    assert "autoscaling.requestsPerSecond of the chart" in done.stdout
    assert "burst from 230 to 460 requests/s: 3 replicas become" in done.stdout
    assert done.stderr == ""


def planned(
    rates: Sequence[float],
    *,
    price: float = 1.0,
    rise: Rise | None = None,
    start_seconds: float = 60.0,
) -> Plan:
    """For BATCHING replicas and 200 ms, with the chart's other defaults."""
    most = within(BATCHING, 200)
    return plan(
        BATCHING,
        rates,
        p99_ms=200,
        per_replica=most,
        price=price,
        rise=rise,
        target=Target(requests_per_second=most, least=1),
        start_seconds=start_seconds,
    )

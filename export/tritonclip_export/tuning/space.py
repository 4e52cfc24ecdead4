"""What there is to try, in the order in which it usually matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tritonclip_export.repository.setting import Setting

Ladder = list[Setting]

# In memory, an instance on the CPU is another copy of the weights.
MOST_ON_CPU = 8
MOST_ON_GPU = 3
# For one GPU or the CPU.
MOST_FEEDERS = 4
DELAYS_US = (500, 2000, 5000)


@dataclass(frozen=True)
class Machine:
    """What the encoder of a tower runs on, and what it is asked.

    Attributes:
        cores: that the server may use.
        gpus: that the encoder runs on, with all its instances on each; 0 for the CPU.
        max_batch: the largest batch that the encoder takes.
        concurrency: requests in flight.
        fed: whether another model stands before the encoder.
    """

    cores: int
    gpus: int
    max_batch: int
    concurrency: int
    fed: bool = True


@dataclass(frozen=True)
class Axis:
    """One thing to change.

    Attributes:
        name: of it.
        ladders: away from the best setting so far, in either direction: where a step is clearly
            worse, those behind it are worse still.
    """

    name: str
    ladders: Callable[[Setting], list[Ladder]]


def axes(machine: Machine) -> list[Axis]:
    """The axes of a coordinate search."""
    feeders = [Axis("instances before", lambda best: _feeders(best, machine))] * machine.fed
    batching = [
        Axis("queue delay", lambda best: _delays(best, machine)),
        Axis("preferred batches", lambda best: _preferred(best, machine)),
    ]
    if machine.gpus:
        # There, a GPU waits for pixels sooner than anything else.
        return [Axis("instances", _on_gpu), *feeders, *batching]
    on_cpu = [
        Axis("instances and threads", lambda best: _on_cpu(best, machine)),
        Axis("threads", lambda best: _fewer_threads(best, machine)),
    ]
    return [*on_cpu, *batching, *feeders]


def _on_gpu(best: Setting) -> list[Ladder]:
    return _around(best, [replace(best, instances=n) for n in range(1, MOST_ON_GPU + 1)])


def _on_cpu(best: Setting, machine: Machine) -> list[Ladder]:
    """Instances that share the cores evenly."""
    counts = [2**k for k in range(machine.cores.bit_length()) if 2**k <= MOST_ON_CPU]
    return _around(
        best,
        [
            replace(best, instances=n, threads=0 if n == 1 else machine.cores // n)
            for n in counts
            if n <= machine.cores
        ],
    )


def _fewer_threads(best: Setting, machine: Machine) -> list[Ladder]:
    """Cores left to what else the server does."""
    share = best.threads or machine.cores // best.instances
    fewer = {share - 1, share * 3 // 4, share // 2}
    return [[replace(best, threads=n) for n in sorted(fewer, reverse=True) if 1 <= n < share]]


def _delays(best: Setting, machine: Machine) -> list[Ladder]:
    # Without a preferred size below what is in flight, the batcher would wait in vain each time.
    sizes = best.preferred or tuple(_sizes(machine)[-2:-1])
    waits = DELAYS_US if machine.concurrency > 1 else ()
    longer = [replace(best, delay_us=delay, preferred=sizes) for delay in waits]
    return _around(best, [replace(best, delay_us=0), *longer])


def _preferred(best: Setting, machine: Machine) -> list[Ladder]:
    # From large to small: a small batch costs throughput, and a smaller one more.
    sizes = [(), *((size,) for size in reversed(_sizes(machine)))]
    return _around(best, [replace(best, preferred=size) for size in sizes])


def _sizes(machine: Machine) -> list[int]:
    """Batches that requests in flight can fill."""
    most = min(machine.concurrency, machine.max_batch)
    return sorted({size for size in (most // 4, most // 2, most) if size > 1})


def _feeders(best: Setting, machine: Machine) -> list[Ladder]:
    most = min(MOST_FEEDERS * max(1, machine.gpus), machine.cores)
    counts = [2**k for k in range(most.bit_length())]
    return _around(best, [replace(best, feeders=n) for n in counts])


def _around(best: Setting, steps: list[Setting]) -> list[Ladder]:
    """Up and down from where `best` stands among `steps`; all of them where it is not one."""
    if best not in steps:
        return [steps]
    here = steps.index(best)
    return [steps[here + 1 :], steps[:here][::-1]]

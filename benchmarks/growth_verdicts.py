"""Whether what grew lies on a straight line, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence

from studies import Instances, LabelSets, Stream

# Half as much again as repeats of one load differ by on a machine of two cores.
THROUGHPUT_TOLERANCE = 0.15
# Allocators give memory back late, and a sample may meet a request more or less.
MEMORY_TOLERANCE_MIB = 32.0
BUSY = 0.85
# Shorter ones are few windows of the client's, so their halves begin and end within one.
LONG_STREAM = 5_000


def streams(rows: Sequence[Stream]) -> list[Stream]:
    """Each beside the longest of its encoder: as fast, and with no more memory at the end."""
    return [row.model_copy(update={"verdict": _stream(row, rows)}) for row in rows]


def _stream(row: Stream, rows: Sequence[Stream]) -> str:
    longest = max((x for x in rows if x.encoder == row.encoder), key=lambda x: x.images)
    ratio = (row.images / row.seconds) / (longest.images / longest.seconds)
    # Times, because results come in bursts of a batch.
    times = [1 / rate for rate in row.tenths]
    halves = sum(times[:5]) / sum(times[5:])
    found = []
    if abs(ratio - 1) > THROUGHPUT_TOLERANCE:
        found.append(f"{ratio:.2f} times the throughput of {longest.images:,} images")
    if row.images >= LONG_STREAM and abs(halves - 1) > THROUGHPUT_TOLERANCE:
        found.append(f"its second half ran at {halves:.2f} times the speed of its first")
    # The first tenth still fills windows and arenas.
    for who, used in (("client", row.client_mib), ("server", row.server_mib)):
        if (grown := used[-1] - used[1]) > MEMORY_TOLERANCE_MIB:
            found.append(f"the {who}'s memory grew by {grown:,.0f} MiB after the first tenth")
            after = longest.client_mib if who == "client" else longest.server_mib
            if row is not longest and after[-1] - used[-1] <= MEMORY_TOLERANCE_MIB:
                found[-1] += f", and no further in {longest.images:,} images"
    return "; ".join(found) or "linear: constant throughput and memory"


def instances(rows: Sequence[Instances], cores: int) -> list[Instances]:
    """Memory on the line through the first and the last; throughput until the cores are busy."""
    first, last = rows[0], rows[-1]
    found = []
    for row in rows:
        gain = row.throughput.mean / first.throughput.mean
        slope = (last.memory_mib - first.memory_mib) / max(1, last.instances - first.instances)
        expected = first.memory_mib + slope * (row.instances - first.instances)
        off = row.memory_mib / expected - 1
        memory = (
            f"memory linear, {slope:,.0f} MiB an instance"
            if abs(off) <= THROUGHPUT_TOLERANCE
            else f"memory {off:+.0%} off the line of {slope:,.0f} MiB an instance"
        )
        if gain >= (1 - THROUGHPUT_TOLERANCE) * row.instances:
            speed = "throughput linear"
        elif first.cores >= BUSY * cores:
            speed = (
                f"throughput {gain:.2f} of one's, because one instance uses {first.cores:.1f} of "
                f"{cores} cores already"
            )
        elif row.cores >= BUSY * cores:
            speed = f"throughput {gain:.2f} of one's: all {cores} cores are busy"
        else:
            speed = f"throughput {gain:.2f} of one's, with {row.cores:.1f} of {cores} cores in use"
        found.append(row.model_copy(update={"verdict": f"{memory}; {speed}"}))
    return found


def label_sets(rows: Sequence[LabelSets]) -> list[LabelSets]:
    """As fast with many as with one, and so much memory for each."""
    first, last = rows[0], rows[-1]
    slope = (last.memory_mib - first.memory_mib) / max(1, last.sets - first.sets)
    found = []
    for row in rows:
        ratio = row.throughput.mean / first.throughput.mean
        speed = "constant" if abs(ratio - 1) <= THROUGHPUT_TOLERANCE else f"{ratio:.2f} of one's"
        off = row.memory_mib - first.memory_mib - slope * (row.sets - first.sets)
        line = "linear" if abs(off) <= MEMORY_TOLERANCE_MIB else f"{off:+,.0f} MiB off the line"
        verdict = f"throughput {speed}; memory {line}, {slope:.1f} MiB a set"
        found.append(row.model_copy(update={"verdict": verdict}))
    return found

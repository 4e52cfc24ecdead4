"""The figures of `docs/video.md`, from the results of its study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages import guide
from benchmarks.pages.markdown import table

PAGE = "video.md"
HOURS = 1000


def pages(results: Path) -> Iterator[tuple[str, str]]:
    """The page as it stands, with its figures written anew."""
    studies = {
        "video_found": _found,
        "video_cost": _cost,
        "video_hour": _hour,
        "video_size": _size,
    }
    yield from guide.filled(PAGE, {"figures": guide.lines_of(results, studies)})


def _found(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    yield (
        f"On {result['date']}, {result['machine']}, with the demo checkpoint "
        "([results](../benchmarks/results/video_found.json)): "
        f"{figures['clips']} clips of six scenes each, {figures['seconds'] / 60:.0f} minutes in "
        "all, in H.264, HEVC, VP9 and AV1, 240p to 1080p, some turned, faded, zoomed, noisy or of "
        f"an unsteady rate, at a frame a second. Each of the {figures['queries']} drawings, which "
        "the checkpoint never saw in this style, is asked for by its name; only its own clip and "
        "time count as right, though others look alike. The three thresholds (a cut, a repeat, the "
        "half of a peak) were looked at on these same clips; other values hardly changed recall, "
        "and no second set confirms them."
    )
    yield ""
    names = {
        "moments": "`search`",
        "best frame": "clips by their best frame",
        "mean": "clips by one vector, `mean`",
        "max": "clips by one vector, `max`",
        "weighted": "clips by one vector, `weighted`",
    }
    columns = ("clip@1", "clip@5", "moment@1", "moment@5")
    yield from table(
        ("", *(f"{column.replace('@', ', recall@')}" for column in columns)),
        [
            (names[way], *(f"{one[c]:.1%}" if c in one else "" for c in columns))
            for way, one in figures["recall"].items()
        ],
    )
    yield ""
    overlap = figures["overlap"]
    yield (
        "Moments that were found share with the truth, by what both cover together (IoU): "
        f"{overlap['mean']:.2f} on average, {overlap['median']:.2f} in the median."
    )
    yield ""
    yield "Cuts, found within a second:"
    yield ""
    yield from table(
        ("", "recall", "precision", "seconds"),
        [
            (way, f"{one['recall']:.1%}", f"{one['precision']:.1%}", f"{one['seconds']:.1f}")
            for way, one in figures["cuts"].items()
        ],
    )
    yield ""
    yield f"Frames kept of {figures['samples']:,} samples, by the cosine of a repeat:"
    yield ""
    yield from table(
        ("", "frames", "the best frame is of the scene"),
        [
            (same, f"{one['frames']:,}", f"{one['recall@1']:.1%}")
            for same, one in figures["repeats"].items()
        ],
    )


def _cost(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    yield (
        f"On {result['date']}, {result['machine']} "
        "([results](../benchmarks/results/video_cost.json)): clips of "
        f"{figures['seconds']} seconds at 30 frames a second, sampled at one a second, times "
        "faster than real time. Embedding is that of frames which are decoded already, by the demo "
        "checkpoint on the same two cores; indexing is all of it."
    )
    yield ""
    ways = ("decoding", "fast", "embedding", "indexing")
    yield from table(
        ("", "decoding", "decoding, `--fast`", "embedding", "indexing"),
        [
            (name, *(f"{one[way]:.0f} x" for way in ways))
            for name, one in figures["times_real_time"].items()
        ],
    )
    yield ""
    yield from _thousand_hours(figures)
    yield ""


def _hour(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    seconds, frames = figures["indexing"], figures["frames"]
    yield (
        f"**An hour** of 1080p H.264, with {figures['model']} in {figures['precision']}, is "
        f"indexed in {seconds:.0f} s on those two cores, {frames / seconds:.0f} x real time: "
        f"decoding alone takes {figures['decoding']:.0f} s. The indexer takes "
        f"{figures['memory_mib']:.0f} MiB at most ({result['date']}, "
        "[results](../benchmarks/results/video_hour.json))."
    )
    yield ""


def _size(result: dict[str, Any]) -> Iterator[str]:
    figures = result["figures"]
    memory = figures["memory"]
    yield (
        f"Sampling {memory['hours']:.0f} hours takes {memory['mib']:.0f} MiB at most "
        f"([results](../benchmarks/results/video_size.json))."
    )
    yield ""
    yield "What an hour takes in a folder store, of the demo checkpoint's 192 dimensions:"
    yield ""
    yield from table(
        ("", "samples", "records", "MB"),
        [
            (name, f"{one['samples']:,}", f"{one['records']:,}", f"{one['bytes'] / 1e6:.1f}")
            for name, one in figures["bytes"].items()
        ],
    )


def _thousand_hours(figures: dict[str, Any]) -> Iterator[str]:
    """The arithmetic of a thousand hours."""
    large, small = (figures["times_real_time"][size] for size in ("1080p H.264", "360p H.264"))
    yield (
        f"**A thousand hours** take {HOURS / large['indexing']:,.0f} hours of these two cores in "
        f"1080p and {HOURS / small['indexing']:,.0f} in 360p, of which "
        f"{HOURS / large['decoding']:,.0f} and {HOURS / small['decoding']:,.0f} go into decoding. "
        "In embedding, too, most is not the encoder, which is a small one here: a frame is sent "
        "whole (6 MB in 1080p) and resized by the server, exactly as a picture would be. "
        "One of R pictures a second "
        f"takes {HOURS:,} / R hours more: {HOURS / 78:,.0f} at 78 a second, which ViT-B/32 in INT8 "
        "reaches on two such cores. So **the limit is what comes before the encoder**, and "
        f"with a GPU even more: at 2,000 a second it is done in {HOURS * 60 / 2000:.0f} minutes, "
        "and waits for whoever decodes for it. Buy cores, keep proxies at 360p, or take `--fast`. "
        "These drawings decode faster than films with grain do: count with your own. No L4 was at "
        "hand: `tritonclip bench` measures R on yours, and `tritonclip cost --video-hours 1000 "
        "--fps 1` does the sum with its price."
    )

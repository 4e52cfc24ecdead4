"""Videos: how often the right moment is found, what decoding costs, and what a store takes.

    python -m benchmarks.studies.video found bundles/demo
    python -m benchmarks.studies.video cost bundles/demo
    python -m benchmarks.studies.video hour bundles/ViT-B-32
    python -m benchmarks.studies.video size bundles/demo

For the first, clips of the demo's held-out drawings are made in every kind of `benchmarks.clips`,
indexed at a frame a second, and asked for each drawing by its name. The drawing's own clip and time
is what has to come first; others that look alike count as wrong. For the second, clips at 30
frames a second are decoded and indexed in several sizes, in turns. For the third, an hour of 1080p
is indexed. For the fourth, two hours are sampled, for their memory, and what a store takes is
weighed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from benchmarks import record
from benchmarks.clips import Clip, Scene, make
from benchmarks.drawings import drawings
from benchmarks.footprint import peak_kib
from benchmarks.servers import served
from stand_ins.clips import Shot, write_clip
from tritonclip import Client
from tritonclip.types import FloatArray
from tritonclip_export.bundle import Bundle
from tritonclip_search import Collection, open_collection
from tritonclip_search.hits import Hit
from tritonclip_search.video import pooled, sample, segments
from tritonclip_search.video.pooling import Pool
from tritonclip_search.video.segmenting import CUT, SAME

CLIPS, SCENES = 40, 6
# Clips whose decoding is timed: width, height, codec.
SIZES = {
    "360p H.264": (640, 360, "libx264"),
    "1080p H.264": (1920, 1080, "libx264"),
    "1080p HEVC": (1920, 1080, "libx265"),
}
SECONDS = 30
HOUR = 3600
# Seconds by which a cut may be found late: samples are that far apart.
LATE = 1.05
MEMORY = """
import re, sys
from tritonclip_search.video import sample
count = sum(1 for _ in sample(sys.argv[1]))
print(count, re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""

Samples = list[tuple[float, FloatArray]]


def main() -> None:
    """Measure one part and write its result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("found", "cost", "hour", "size"))
    parser.add_argument("bundle", type=Path)
    options = parser.parse_args()
    part = {"found": _found, "cost": _cost, "hour": _hour, "size": _size}[options.part]
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Bundle.load(options.bundle)) as server,
        Client(server.grpc_url) as client,
        open_collection(f"{folder}/archive", client) as archive,
    ):
        os.environ["TRITONCLIP_URL"] = server.grpc_url  # for command lines
        figures = part(Path(folder), client, archive)
    print(json.dumps(figures, indent=2))
    print(record.save(f"video_{options.part}", figures))


def _found(folder: Path, client: Client, archive: Collection) -> dict[str, Any]:
    names, drawing = _drawings()
    clips = list(make(folder, names[: CLIPS * SCENES], drawing, scenes=SCENES))
    archive.add([folder / "*.m*", folder / "*.webm"])
    scenes = [(clip, scene) for clip in clips for scene in clip.scenes]
    queries = client.label_embeddings([scene.label for _, scene in scenes], "plain")
    samples = [_samples(clip, client) for clip in clips]
    ranks: dict[str, list[list[int]]] = {}
    for row, (clip, scene) in enumerate(scenes):
        for way, found in _answers(archive, samples, queries[row], clips).items():
            ranks.setdefault(way, []).append(found(clip, scene))
    overlaps = [_overlap(archive, clip, scene) for clip, scene in scenes]
    right = [overlap for overlap in overlaps if overlap is not None]
    frames = archive.count("kind = frame")
    return {
        "clips": len(clips),
        "queries": len(scenes),
        "seconds": sum(clip.scenes[-1].end for clip in clips),
        "recall": {way: _recalls(found) for way, found in ranks.items()},
        "overlap": {"mean": statistics.mean(right), "median": statistics.median(right)},
        "cuts": _cuts(clips, samples),
        "repeats": _repeats(clips, samples, scenes, queries),
        "samples": sum(map(len, samples)),
        "frames": frames,
    }


def _answers(
    archive: Collection,
    samples: Sequence[Samples],
    query: FloatArray,
    clips: Sequence[Clip],
) -> dict[str, Callable[[Clip, Scene], list[int]]]:
    """Ways to ask, each with the ranks that it gives the clip and, where it has any, the moment."""

    def moments(clip: Clip, scene: Scene) -> list[int]:
        hits = archive.search(scene.label, top=20)
        order = [hit for i, hit in enumerate(hits) if hit.path not in [h.path for h in hits[:i]]]
        return [_rank(order, lambda h: h.path == str(clip.file)), _rank(hits, _is_of(clip, scene))]

    def pooling(how: Pool) -> Callable[[Clip, Scene], list[int]]:
        scores = [float(pooled(np.stack([v for _, v in one]), how) @ query) for one in samples]
        return lambda clip, _: [_place(scores, clips.index(clip))]

    best = [max(float(vector @ query) for _, vector in one) for one in samples]
    return {
        "moments": moments,
        "best frame": lambda clip, _: [_place(best, clips.index(clip))],
        "mean": pooling("mean"),
        "max": pooling("max"),
        "weighted": pooling("weighted"),
    }


def _overlap(archive: Collection, clip: Clip, scene: Scene) -> float | None:
    """Of the first moment with the scene, where it is of that clip: shared by total seconds."""
    for hit in archive.search(scene.label, top=5):
        if _is_of(clip, scene)(hit):
            shared = min(hit.end, scene.end) - max(hit.start, scene.start)
            return shared / (max(hit.end, scene.end) - min(hit.start, scene.start))
    return None


def _is_of(clip: Clip, scene: Scene) -> Callable[[Hit], bool]:
    return lambda hit: hit.path == str(clip.file) and scene.start - 0.01 <= hit.time < scene.end


def _cuts(clips: Sequence[Clip], samples: Sequence[Samples]) -> dict[str, dict[str, float]]:
    """Recall and precision of cuts, found in embeddings and by PySceneDetect."""
    from scenedetect import AdaptiveDetector, ContentDetector, detect

    def embedded(cut: float) -> Iterator[list[float]]:
        for clip, one in zip(clips, samples, strict=True):
            yield [s.start for s in segments(one, clip.scenes[-1].end, cut=cut)][1:]

    def detected(detector: Any) -> Iterator[list[float]]:
        for clip in clips:
            found = detect(str(clip.file), detector())
            yield [begin.seconds for begin, _ in found][1:]

    ways = {f"embeddings, below {cut}": embedded(cut) for cut in (0.7, 0.8, CUT, 0.9, 0.95)}
    ways |= {"ContentDetector": detected(ContentDetector)}
    ways |= {"AdaptiveDetector": detected(AdaptiveDetector)}
    figures = {}
    for way, found in ways.items():
        right = wrong = 0
        began = time.monotonic()
        for clip, at in zip(clips, found, strict=True):
            for cut in clip.cuts:
                near = [one for one in at if cut - 1.05 <= one <= cut + LATE]
                right += bool(near)
                at = [one for one in at if one not in near[:1]]
            wrong += len(at)
        cuts = sum(len(clip.cuts) for clip in clips)
        figures[way] = {
            "recall": right / cuts,
            "precision": right / (right + wrong),
            "seconds": time.monotonic() - began,
        }
    return figures


def _repeats(
    clips: Sequence[Clip],
    samples: Sequence[Samples],
    scenes: Sequence[tuple[Clip, Scene]],
    queries: FloatArray,
) -> dict[str, dict[str, float]]:
    """How many frames are kept, and how often the best one is of the scene asked for."""
    figures = {}
    for same in (0.9, 0.95, SAME, 0.99, 2.0):
        kept = [
            (clip, frame)
            for clip, one in zip(clips, samples, strict=True)
            for segment in segments(one, clip.scenes[-1].end, same=same)
            for frame in segment.frames
        ]
        scores = np.stack([frame.vector for _, frame in kept]) @ queries.T
        right = 0
        for column, (clip, scene) in enumerate(scenes):
            best, frame = kept[int(np.argmax(scores[:, column]))]
            right += best is clip and scene.start - 0.01 <= frame.start < scene.end
        figures["all kept" if same > 1 else f"{same}"] = {
            "frames": len(kept),
            "recall@1": right / len(scenes),
        }
    return figures


def _cost(folder: Path, client: Client, archive: Collection) -> dict[str, Any]:
    rows: dict[str, dict[str, list[float]]] = {}
    files = {
        name: _filmed(folder / f"{w}x{h}-{c}.mp4", w, h, c) for name, (w, h, c) in SIZES.items()
    }
    for _ in range(2):
        for name, file in files.items():
            images = [frame.image for frame in sample(file)]
            file.write_bytes(file.read_bytes() + b"\0")  # so that it is indexed again
            timed: dict[str, Callable[[], object]] = {
                "decoding": partial(_count, file),
                "fast": partial(_count, file, fast=True),
                "embedding": partial(client.embed_images, images),
                "indexing": partial(archive.add, [file]),
            }
            for what, work in timed.items():
                row = rows.setdefault(name, {})
                row.setdefault(what, []).append(_times(work))
    return {
        "times_real_time": {
            name: {key: statistics.median(values) for key, values in row.items()}
            for name, row in rows.items()
        },
        "seconds": SECONDS,
    }


def _hour(folder: Path, client: Client, archive: Collection) -> dict[str, Any]:
    """One in 1080p H.264, which is a clip again and again."""
    del archive
    once, film = _filmed(folder / "once.mp4", *SIZES["1080p H.264"]), folder / "hour.mp4"
    listed = folder / "clips.txt"
    listed.write_text(f"file '{once.name}'\n" * (HOUR // SECONDS))
    with (
        av.open(str(listed), format="concat", options={"safe": "0"}) as clips,
        av.open(str(film), "w") as joined,
    ):
        stream = joined.add_stream_from_template(clips.streams.video[0])
        for packet in clips.demux(clips.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                joined.mux(packet)
    began = time.monotonic()
    frames = _count(film)
    decoded = time.monotonic()
    command = (str(Path(sys.executable).with_name("tritonclip")), "index", str(film))
    peak = 0
    with subprocess.Popen(
        [*command, "--store", str(folder / "hour")], stdout=subprocess.DEVNULL
    ) as indexer:
        while indexer.poll() is None:
            peak = max(peak, peak_kib(indexer.pid))
            time.sleep(0.1)
    indexed = time.monotonic()
    if indexer.returncode:
        raise RuntimeError(f"indexing ended with {indexer.returncode}")
    info = client.info()
    return {
        "model": info.source,
        "precision": info.precision,
        "runtime": info.runtime,
        "frames": frames,
        "decoding": decoded - began,
        "indexing": indexed - decoded,
        "memory_mib": peak / 1024,
    }


def _size(folder: Path, client: Client, archive: Collection) -> dict[str, Any]:
    del archive
    return {"memory": _memory(folder), "bytes": _bytes(folder, client)}


def _count(file: Path, *, fast: bool = False) -> int:
    return sum(1 for _ in sample(file, fast=fast))


def _times(work: Callable[[], object]) -> float:
    """How many times faster than the clip itself."""
    began = time.monotonic()
    work()
    return SECONDS / (time.monotonic() - began)


def _memory(folder: Path) -> dict[str, float]:
    """Of sampling two hours, in MiB."""
    shots = [Shot(Image.new("RGB", (8, 8), c), 1200.0, c) for c in ("red", "green", "blue") * 2]
    write_clip(folder / "hours.mp4", shots, size=(320, 180), fps=2)
    told = subprocess.run(
        [sys.executable, "-c", MEMORY, str(folder / "hours.mp4")],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    frames, kib = map(int, told.split())
    return {"hours": frames / 3600, "mib": kib / 1024}


def _bytes(folder: Path, client: Client) -> dict[str, dict[str, float]]:
    """What ten minutes of a still camera, and of a film, take in a folder, as bytes an hour."""
    names, drawing = _drawings()
    still = [Shot(drawing(names[0]), 600.0)]
    film = [Shot(drawing(name), 6.0, zoom=1.5) for name in names[:100]]
    figures: dict[str, dict[str, float]] = {}
    for name, shots, noise in (("still camera", still, 8), ("film", film, 0)):
        file = folder / f"{name}.mp4"
        write_clip(file, shots, size=(320, 180), fps=4, noise=noise)
        with open_collection(f"{folder}/{name}", client) as archive:
            archive.add([file])
            records = archive.count()
        size = sum(f.stat().st_size for f in (folder / name).rglob("*") if f.is_file())
        figures[name] = {"records": records * 6, "bytes": size * 6, "samples": 3600}
    return figures


def _filmed(file: Path, width: int, height: int, codec: str) -> Path:
    """A clip at 30 frames a second, all of which moves."""
    names, drawing = _drawings()
    shots = [Shot(drawing(name), SECONDS / 2, zoom=2.0) for name in names[:2]]
    write_clip(file, shots, size=(width, height), fps=30, codec=codec, keyframe_every=8)
    return file


def _samples(clip: Clip, client: Client) -> Samples:
    frames = list(sample(clip.file))
    vectors = client.embed_images([frame.image for frame in frames])
    return [(frame.time, vector) for frame, vector in zip(frames, vectors, strict=True)]


def _drawings() -> tuple[list[str], Callable[[str], Image.Image]]:
    """Names of the held-out drawings in some order, and the drawings by them."""
    encoded = drawings()
    names = sorted(encoded)
    random.Random(1).shuffle(names)
    return names, lambda name: Image.open(io.BytesIO(encoded[name]))


def _rank(hits: Sequence[Hit], is_right: Callable[[Hit], bool]) -> int:
    return next((rank for rank, hit in enumerate(hits) if is_right(hit)), len(hits) + 20)


def _place(scores: Sequence[float], wanted: int) -> int:
    return sum(score > scores[wanted] for score in scores)


def _recalls(ranks: Sequence[Sequence[int]]) -> dict[str, float]:
    figures = {}
    for what, column in zip(("clip", "moment"), zip(*ranks, strict=True), strict=False):
        for top in (1, 5):
            figures[f"{what}@{top}"] = sum(rank < top for rank in column) / len(column)
    return figures


if __name__ == "__main__":
    main()

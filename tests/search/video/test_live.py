"""Cameras: segments as they end, connections that are lost, and what is too old."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from stand_ins.clips import Shot, write_clip
from tritonclip.errors import InvalidArgument
from tritonclip_search import Collection
from tritonclip_search.indexing.live import follow
from tritonclip_search.records import Kind
from tritonclip_search.sources.item import age, is_live
from tritonclip_search.video.live import public_name, watch
from tritonclip_search.video.sampling import Frame

Drawing = Callable[[str], Image.Image]


@pytest.fixture
def recording(tmp_path: Path, drawing: Drawing) -> Path:
    """Two seconds of a cat and two of a rocket."""
    file = tmp_path / "recording.ts"
    shots = [Shot(drawing("cat"), 2.0), Shot(drawing("rocket"), 2.0)]
    write_clip(file, shots, fps=10, keyframe_every=1)
    return file


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextmanager
def camera(recording: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """FFmpeg, that sends a recording in real time to the first who connects."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-re", "-i", str(recording)]
    target = f"tcp://127.0.0.1:{port}?listen=1"
    with subprocess.Popen([*command, "-c", "copy", "-f", "mpegts", target]) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_camera_that_goes_away_is_found_again(recording: Path) -> None:
    port = free_port()
    lost: list[str] = []
    frames = watch(
        f"tcp://127.0.0.1:{port}", 2, on_loss=lost.append, sleep=lambda _: time.sleep(0.1)
    )
    began = time.time()
    for _ in range(2):
        with camera(recording, port):
            first = list(islice(frames, 6))
            times = [frame.time for frame in first]
            assert times == sorted(times)
            assert times[-1] - times[0] == pytest.approx(2.5, abs=0.3)
            assert began - 1 < times[0] < time.time() + 1
    assert any("Connection refused" in reason for reason in lost)
    assert lost[0].endswith("; trying again in 1 s")


@pytest.mark.slow
def test_a_camera_that_speaks_rtsp_is_followed_through_its_restart(
    recording: Path, root: Path
) -> None:
    python = "/usr/bin/python3"  # of the system, whose packages GStreamer's are
    library = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run([python, "-c", library], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no GStreamer here; tests/rtsp_server.py says what brings it")
    port = free_port()
    command = [python, str(root / "tests" / "rtsp_server.py"), str(recording), str(port)]
    lost: list[str] = []
    frames = watch(f"rtsp://me:hunter2@127.0.0.1:{port}/door", 2, on_loss=lost.append)
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            times = [frame.time for frame in islice(frames, 8)]
            server.kill()
        assert times[-1] - times[0] == pytest.approx(3.5, abs=0.3)
    assert lost
    assert "hunter2" not in str(lost)


def test_segments_of_a_live_source_are_found_by_the_clock(
    collection: Collection, drawing: Drawing
) -> None:
    collection._make()
    now = time.time()
    shown = [(0, "cat"), (1, "cat"), (2, "rocket"), (3, "rocket"), (60, "rocket")]
    url = "rtsp://me:hunter2@camera/door"
    old = [Frame(now - 40 * 86400, drawing("sushi").convert("RGB"))]
    frames = [Frame(now + at, drawing(name).convert("RGB")) for at, name in shown]
    for some in (old, frames):
        follow(
            collection._store,
            collection.name,
            collection._client,
            url,
            iter(some),
            fps=1,
            keep=timedelta(days=30) if some is frames else None,
            on_segment=lambda _: None,
        )
    records = sorted(collection.records("kind = moment"), key=lambda record: record.start)
    ranges = [(round(r.start - now), round(r.end - now)) for r in records]
    assert ranges == [(0, 2), (2, 4), (60, 61)]  # a gap ends a segment, and 40 days are too old
    assert {record.path for record in records} == {"rtsp://camera/door"}
    best = collection.search("a cat", top=1)[0]
    assert (round(best.start - now), best.record.kind) == (0, Kind.FRAME)
    assert best.record.date == pytest.approx(now * 1e6, abs=1e6)


def test_the_command_line_follows_until_ctrl_c(
    recording: Path, tmp_path: Path, search_server: str, environment: dict[str, str]
) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from tritonclip_cli import main; main()", "index"]
    options = ["--fps", "2", "--keep", "30d", "--url", search_server, "--model", "demo"]
    with (
        camera(recording, port),
        subprocess.Popen(
            [*command, f"tcp://127.0.0.1:{port}", *options],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as indexer,
    ):
        assert indexer.stdout is not None
        told = indexer.stdout.readline()
        indexer.send_signal(signal.SIGINT)
        _, errors = indexer.communicate(timeout=30)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d-\d\d:\d\d:\d\dZ  1 frames\n", told)
    assert indexer.returncode == 130
    assert "Traceback" not in errors


def test_ages_and_live_sources_are_told_from_others() -> None:
    assert age("12h") == timedelta(hours=12)
    with pytest.raises(InvalidArgument, match="'30 days' is no age"):
        age("30 days")
    assert is_live("rtsp://camera/door")
    assert is_live("pipe:0")
    assert not is_live("s3://bucket/clips")
    assert public_name("rtsp://me:hunter2@camera:554/door?x=1") == "rtsp://camera:554/door?x=1"

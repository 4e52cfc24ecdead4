"""Frames of a video: which, when, which way up, and whatever the state of the file."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageColor

from stand_ins.clips import Shot, write_clip
from tests.search.video.conftest import COLOURS
from tritonclip.errors import InvalidArgument
from tritonclip_search.errors import VideoError
from tritonclip_search.video import sample
from tritonclip_search.video.damage import Damage
from tritonclip_search.video.sampling import frame_at

CODECS = {
    "h264.mp4": "libx264",
    "hevc.mp4": "libx265",
    "vp9.webm": "libvpx-vp9",
    "av1.mp4": "libsvtav1",
    "h264.mkv": "libx264",
    "h264.ts": "libx264",
}


def colour(image: Image.Image) -> str:
    """The name of the colour that the picture has in its middle."""
    seen = np.array(image.getpixel((image.width // 2, image.height // 2)))
    return min(COLOURS, key=lambda c: int(np.abs(seen - np.array(ImageColor.getrgb(c))).sum()))


def times(source: Path, fps: float = 1.0, **options: object) -> list[float]:
    return [round(frame.time, 3) for frame in sample(source, fps, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CODECS)
def test_frames_come_at_their_times_from_every_codec(
    name: str, coloured: Callable[..., Path]
) -> None:
    clip = coloured(name, codec=CODECS[name])
    frames = list(sample(clip))
    assert [round(frame.time, 3) for frame in frames] == [float(n) for n in range(15)]
    assert [colour(frame.image) for frame in frames] == [
        COLOURS[int(frame.time / 2.5)] for frame in frames
    ]


@pytest.mark.parametrize("name", CODECS)
def test_fast_gives_keyframes_in_order_with_their_true_times(
    name: str, coloured: Callable[..., Path]
) -> None:
    clip = coloured(name, codec=CODECS[name], keyframe_every=3)
    frames = list(sample(clip, fast=True))
    assert [round(frame.time, 3) for frame in frames] == [0, 3, 6, 9, 12]
    assert [colour(frame.image) for frame in frames] == [
        COLOURS[int(frame.time / 2.5)] for frame in frames
    ]


@pytest.mark.parametrize("name", CODECS)
def test_it_starts_in_the_middle_as_if_it_had_come_from_the_beginning(
    name: str, coloured: Callable[..., Path]
) -> None:
    clip = coloured(name, codec=CODECS[name], keyframe_every=3)
    whole = {round(frame.time, 3): frame.image.tobytes() for frame in sample(clip)}
    for frame in sample(clip, start=8.0):
        assert frame.image.tobytes() == whole.pop(round(frame.time, 3))
    assert list(whole) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert round(frame_at(clip, 7.9).time, 3) == 7.917


def test_samples_further_apart_than_keyframes_are_the_same_and_hardly_decode_anything(
    coloured: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = coloured(keyframe_every=1)
    from tritonclip_search.video.file import Video

    decoded = []
    decode = Video._decoded
    monkeypatch.setattr(
        Video, "_decoded", lambda self, packet: decoded.append(1) or decode(self, packet)
    )
    assert times(clip, 0.2) == [0, 5, 10]
    assert len(decoded) < 30  # of 360


def test_time_stamps_count_and_not_the_numbers_of_frames(coloured: Callable[..., Path]) -> None:
    clip = coloured(is_steady=False)
    with av.open(str(clip)) as container:
        stamps = [frame.time for frame in container.decode(video=0)]
    assert 150 < len(stamps) < 210  # of 360
    frames = list(sample(clip, fps=2))
    due = [next(s for s in stamps if s >= n / 2 - 1e-6) for n in range(30)]
    assert [frame.time for frame in frames] == pytest.approx(due)
    assert [colour(frame.image) for frame in frames] == [
        COLOURS[int(frame.time / 2.5)] for frame in frames
    ]


def test_no_frame_comes_twice_where_more_are_asked_for_than_there_are(
    coloured: Callable[..., Path],
) -> None:
    clip = coloured(fps=5)
    assert times(clip, 30) == [round(n / 5, 3) for n in range(75)]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_as_ffmpeg_turns_them(rotation: int, tmp_path: Path) -> None:
    clip = tmp_path / "phone.mp4"
    picture = Image.linear_gradient("L").rotate(30, fillcolor=40).convert("RGB")
    write_clip(clip, [Shot(picture, 0.5, background="navy")], rotation=rotation)
    (frame,) = sample(clip)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(clip), "-frames:v", "1"]
    shown = subprocess.run(
        [*command, "-f", "image2pipe", "-c:v", "ppm", "-"], capture_output=True, check=True
    )
    expected = Image.open(io.BytesIO(shown.stdout))
    assert frame.image.size == expected.size == ((320, 240) if rotation == 180 else (240, 320))
    off = np.asarray(frame.image, int) - np.asarray(expected, int)
    assert np.abs(off).max() <= 2  # two versions of FFmpeg convert to RGB


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_of_a_file_that_was_cut_off_the_rest_comes_and_the_loss_is_told(
    suffix: str, coloured: Callable[..., Path], tmp_path: Path
) -> None:
    whole = coloured(f"whole{suffix}", container_options={"movflags": "faststart"})
    cut = tmp_path / f"cut{suffix}"
    encoded = whole.read_bytes()
    cut.write_bytes(encoded[: int(len(encoded) * 0.6)])
    damage: list[Damage] = []
    got = times(cut, on_damage=damage.append)
    assert 3 <= len(got) < 15
    assert got == [float(n) for n in range(len(got))]
    if suffix != ".ts":  # which says nothing of its length
        (lost,) = damage
        assert lost.start == pytest.approx(len(got), abs=1.5)
        assert lost.end == pytest.approx(15, abs=0.1)


def test_flipped_bytes_cost_no_more_than_what_they_are_in(
    coloured: Callable[..., Path],
) -> None:
    clip = coloured("rotten.mp4", keyframe_every=1, noise=20)
    encoded = bytearray(clip.read_bytes())
    dice = random.Random(1)
    for _ in range(200):
        encoded[dice.randrange(40_000, len(encoded) - 40_000)] ^= 0xFF
    clip.write_bytes(encoded)
    damage: list[Damage] = []
    got = times(clip, on_damage=damage.append)
    assert len(got) >= 12
    assert damage
    assert all(0 <= lost.start < lost.end <= 16 for lost in damage)


def test_what_is_no_video_is_refused_and_a_playlist_leads_nowhere(
    tmp_path: Path, coloured: Callable[..., Path], twemoji: dict[str, bytes]
) -> None:
    secret = coloured("secret.ts")
    reasons = {}
    for name, content in {
        "empty.mp4": b"",
        "noise.mp4": random.Random(0).randbytes(50_000),
        "text.mp4": b"not a video at all",
        "picture.mp4": twemoji["cat"],
        "playlist.m3u8": f"#EXTM3U\n#EXTINF:15,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VideoError) as raised:
            list(sample(tmp_path / name))
        reasons[name] = str(raised.value)
    other = "is of a kind of file that holds no video"
    assert reasons["picture.mp4"] == other
    broken = "cannot be opened as a video: Invalid data found when processing input"
    assert set(reasons.values()) <= {broken, other}
    with pytest.raises(VideoError, match="cannot be opened as a video: No such file"):
        list(sample(tmp_path / "absent.mp4"))


def test_sound_without_pictures_is_refused_as_such(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=1024)
        frame.rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="has no pictures, only sound"):
        list(sample(tmp_path / "sound.mkv"))


def test_a_codec_that_nobody_has_is_named_as_such(coloured: Callable[..., Path]) -> None:
    clip = coloured()
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match="codec"):
        list(sample(clip))


def test_what_is_encrypted_ends_in_an_error_and_not_in_a_hang(
    coloured: Callable[..., Path],
) -> None:
    clip = coloured(noise=10)
    encoded = bytearray(clip.read_bytes())
    begin = encoded.index(b"mdat") + 8
    end = encoded.index(b"moov")
    encoded[begin:end] = random.Random(0).randbytes(end - begin)
    clip.write_bytes(encoded)
    damage: list[Damage] = []
    with pytest.raises(VideoError, match="not one of its frames can be decoded"):
        list(sample(clip, on_damage=damage.append))
    assert damage


def test_rates_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="fps is 0; ask for more than 0 and at most 240"):
        next(sample("clip.mp4", fps=0))


MEMORY = """
import re, sys
from tritonclip_search.video import sample
for count, frame in enumerate(sample(sys.argv[1])):
    if count in (60, 1800):
        print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    shots = [Shot(Image.new("RGB", (8, 8), c), 302.0) for c in COLOURS]
    write_clip(tmp_path / "long.mp4", shots, size=(160, 120), fps=4)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "long.mp4")]
    told = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    early, late = (int(kib) / 1024 for kib in told.split())
    assert late < early + 15
    assert late < 150

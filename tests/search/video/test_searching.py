"""The second where it happens: moments, clips and frames, and ways to look at them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from stand_ins.clips import Shot, write_clip
from tritonclip import Client
from tritonclip.errors import InvalidArgument
from tritonclip_cli import app
from tritonclip_search import Collection, Hit, Record, open_collection
from tritonclip_search.looking.edl import edl
from tritonclip_search.looking.timeline import timeline
from tritonclip_search.records import Kind, file_id
from tritonclip_search.video.moments import clips, moments

Drawing = Callable[[str], Image.Image]
Run = Callable[..., Result]
CLIPS = {
    "animals": {"cat": 4.0, "key": 3.0, "octopus": 5.0},
    "things": {"rocket": 3.0, "guitar": 4.0, "umbrella": 3.0},
    "food": {"sushi": 3.0, "tangerine": 5.0, "violin": 3.0, "snowman": 4.0},
}


@pytest.fixture(scope="module")
def folder(
    drawing: Drawing, twemoji: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three clips, and a picture of a castle."""
    here = tmp_path_factory.mktemp("recordings")
    for name, shots in CLIPS.items():
        write_clip(here / f"{name}.mp4", [Shot(drawing(n), s) for n, s in shots.items()], fps=12)
    (here / "castle.png").write_bytes(twemoji["castle"])
    return here


@pytest.fixture(scope="module")
def indexed(
    folder: Path, search_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Collection]:
    archive = str(tmp_path_factory.mktemp("archive") / "archive")
    with Client(search_server, model="demo") as client, open_collection(archive, client) as opened:
        opened.add([folder])
        yield opened


def found(hit: Hit) -> tuple[str, float, float]:
    return Path(hit.path).name, round(hit.start, 2), round(hit.end, 2)


def hit(start: float, end: float, score: float, kind: Kind = Kind.FRAME, file: str = "a") -> Hit:
    plain = dict.fromkeys(("size", "modified", "date", "width", "height"), 0)
    texts = dict.fromkeys(("sha256", "format", "precision", "error"), "")
    record = Record(
        id=f"{file} {kind} {start}",
        file=file,
        kind=kind,
        path=f"/{file}.mp4",
        folders=(),
        start=start,
        end=end,
        vector=np.ones(1, np.float32),
        **plain,
        **texts,
    )
    return Hit(record, score, start=start, end=end)


def test_frames_above_half_of_the_peak_are_one_moment() -> None:
    scores = [0.1, 0.1, 0.2, 0.3, 0.5, 0.4, 0.2, 0.1, 0.1]
    hits = [hit(n, n + 1, score) for n, score in enumerate(scores)]
    (moment, *others) = moments(hits, {"a": 0.1})
    assert (moment.start, moment.end, moment.score) == (3, 6, 0.5)
    assert (moment.record.start, moment.time) == (4, 4)
    assert [(other.start, other.end) for other in others] == [(0, 1), (8, 9)]


def test_two_peaks_are_two_moments_each_as_wide_as_its_own() -> None:
    scores = [0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.25, 0.23, 0.1]
    hits = [hit(n, n + 1, score) for n, score in enumerate(scores)]
    first, second, *_ = moments(hits, {"a": 0.1})
    assert (first.start, first.end) == (1, 2)
    assert (second.start, second.end) == (6, 8)


def test_a_shot_that_scores_as_its_frames_do_makes_them_one_moment() -> None:
    frames = [hit(0, 1, 0.5), hit(9, 10, 0.48)]
    (moment,) = moments([*frames, hit(0, 10, 0.55, Kind.MOMENT)], {"a": 0.2})
    assert (moment.start, moment.end, moment.score) == (0, 10, 0.55)
    assert moment.record.kind is Kind.FRAME  # that can be shown


def test_of_a_whole_video_is_told_where_nothing_of_it_was_found() -> None:
    whole = hit(0, 60, 0.3, Kind.VIDEO)
    assert moments([whole], {"a": 0.3}) == [whole]
    (moment, *_) = moments([whole, hit(5, 6, 0.2)], {"a": 0.3})
    assert (moment.start, moment.end) == (5, 6)


def test_clips_are_told_by_their_best_moments() -> None:
    hits = [hit(0, 1, 0.5), hit(7, 8, 0.4), hit(2, 3, 0.3, file="b")]
    assert [found(one) for one in clips(hits)] == [("a.mp4", 0, 1), ("b.mp4", 2, 3)]


@pytest.mark.parametrize(
    ("text", "clip", "start", "end"),
    [("a cat", "animals.mp4", 0, 4), ("a guitar", "things.mp4", 3, 7), ("sushi", "food.mp4", 0, 3)],
)
def test_a_search_leads_to_the_moment(
    text: str, clip: str, start: float, end: float, indexed: Collection
) -> None:
    (best,) = indexed.search(text, top=1)
    assert found(best) == (clip, start, end)
    assert start <= best.time < end


def test_moments_clips_and_frames_are_asked_for(indexed: Collection) -> None:
    by_clip = indexed.search("a cat", per="clip")
    assert sorted(Path(one.path).name for one in by_clip) == [
        *("animals.mp4", "castle.png", "food.mp4", "things.mp4")
    ]
    assert found(by_clip[0]) == ("animals.mp4", 0, 4)
    frames = indexed.search("a cat", per="frame", top=50)
    assert {one.record.kind for one in frames} == {Kind.FRAME, Kind.IMAGE}
    assert [one.score for one in frames] == sorted((one.score for one in frames), reverse=True)
    assert found(frames[0]) == ("animals.mp4", 0, 4)
    everything = indexed.search("a cat", top=50)
    ranges = [found(one) for one in everything if one.is_video]
    assert len(ranges) == len(set(ranges))


def test_pictures_and_moments_are_found_side_by_side(indexed: Collection) -> None:
    first = indexed.search("a castle", top=1)[0]
    assert (Path(first.path).name, first.is_video, first.end) == ("castle.png", False, 0)
    (only,) = indexed.search("a cat", top=1, where="kind = image")
    assert only.path.endswith("castle.png")
    (whole,) = indexed.search("a cat", top=1, where="kind = video")
    assert found(whole) == ("animals.mp4", 0, pytest.approx(12, abs=0.1))


def test_the_course_of_a_text_has_its_peak_where_it_is_shown(
    indexed: Collection, folder: Path
) -> None:
    file = file_id(str(folder / "food.mp4"))
    course = indexed.course(file, ["sushi", "a violin", "a snowman"])
    assert course.starts.tolist() == pytest.approx([0, 3, 8, 11], abs=0.01)
    assert course.scores.argmax(axis=1).tolist() == [0, 2, 3]
    picture = timeline(course)
    curves = {"#0072B2", "#D55E00", "#009E73"}
    colours = {f"#{r:02X}{g:02X}{b:02X}" for _, (r, g, b) in picture.getcolors(2**24)}
    assert curves <= colours
    with pytest.raises(InvalidArgument, match="no frames of a video 'absent'"):
        indexed.course("absent", ["sushi"])


def test_an_edit_list_has_the_moments_in_their_order() -> None:
    hits = [hit(3.0, 7.04, 0.5), hit(3600, 3601.5, 0.4, file="b")]
    assert edl("a  cat\nat night", hits, rate=25).splitlines() == [
        "TITLE: a cat at night",
        "FCM: NON-DROP FRAME",
        "",
        "001  AX       V     C        00:00:03:00 00:00:07:01 01:00:00:00 01:00:04:01",
        "* FROM CLIP NAME: a.mp4",
        "* SOURCE FILE: /a.mp4",
        "* COMMENT: score 0.500",
        "",
        "002  AX       V     C        01:00:00:00 01:00:01:13 01:00:04:01 01:00:05:14",
        "* FROM CLIP NAME: b.mp4",
        "* SOURCE FILE: /b.mp4",
        "* COMMENT: score 0.400",
    ]


@pytest.fixture
def run(folder: Path, tmp_path: Path, search_server: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command beside a link to the recordings, for the demo model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRITONCLIP_URL", search_server)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "recordings").symlink_to(folder)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--model", "demo"])

    return call


def test_the_command_line_leads_to_the_second(run: Run, tmp_path: Path) -> None:
    told = run("index", "recordings/").stdout
    assert "4 added" in told
    assert "1 pictures, 3 videos in 10 shots" in told
    assert re.search(r"00:00:37 of video at \d+ x real time", told)
    table = run("search", "a guitar", "--top", "2").stdout
    assert re.search(r"things\.mp4 +00:00:03-00:00:07 +320 x 240", table)
    options = ("--page", "hits.html", "--sheet", "hits.png", "--edl", "hits.edl", "--json")
    first, *_ = json.loads(run("search", "a guitar", *options).stdout)
    assert first["path"] == str(tmp_path / "recordings" / "things.mp4")
    assert (first["kind"], first["start"], first["end"]) == ("frame", 3, 7)
    page = (tmp_path / "hits.html").read_text(encoding="utf-8")
    address = f'src="file://{tmp_path}/recordings/things.mp4#t=3.000,7.000"'
    assert f"{address}></video>" in page
    assert page.count('poster="data:image/jpeg;base64,') == page.count("<video")
    assert "00:00:03-00:00:07 · 0." in page
    with Image.open(tmp_path / "hits.png") as sheet:
        assert sheet.height > 200
    assert "00:00:03:00 00:00:07:00 01:00:00:00 01:00:04:00" in (tmp_path / "hits.edl").read_text()
    run("search", "a guitar", "a rocket", "--timeline", "guitar.png")
    with Image.open(tmp_path / "guitar.png") as drawn:
        assert drawn.width == 1200
    paths = run("search", "a guitar", "--paths").stdout.splitlines()
    assert sorted(map(Path.name.fget, map(Path, paths))) == sorted(
        [*(f"{name}.mp4" for name in CLIPS), "castle.png"]
    )

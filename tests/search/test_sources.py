from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from tritonclip_search.errors import SourceError
from tritonclip_search.sources.item import Item, Problem, Source
from tritonclip_search.sources.opening import files_in, is_gone, listed, open_source, read


def png(colour: str = "red", size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def put(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png())


def shard(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def paths(source: Source) -> list[str]:
    return [found.path for found in source.items() if isinstance(found, Item)]


def problems(source: Source) -> list[Problem]:
    return [found for found in source.items() if isinstance(found, Problem)]


def below(folder: Path, names: Iterable[str]) -> list[str]:
    return [f"{folder}/{name}" for name in names]


def test_a_folder_gives_its_pictures_in_order_and_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, "b/2.JPG", "b/1.png", "a.webp", "notes.txt", ".hidden/c.gif", "b/x/3.tiff")
    found = paths(open_source(str(tmp_path)))
    assert found == below(tmp_path, ["a.webp", ".hidden/c.gif", "b/1.png", "b/2.JPG", "b/x/3.tiff"])


def test_an_item_says_what_its_file_is(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    os.utime(tmp_path / "a.png", ns=(0, 1_700_000_000_123_456_789))
    (item,) = open_source(str(tmp_path / "a.png")).items()
    assert isinstance(item, Item)
    assert (item.size, item.modified) == (len(png()), 1_700_000_000_123_456)
    assert item.read(10**6) == png()
    assert item.read(5) == png()[:5]


def test_a_relative_folder_has_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "pictures/a.png")
    monkeypatch.chdir(tmp_path)
    assert paths(open_source("pictures")) == below(tmp_path, ["pictures/a.png"])
    assert paths(open_source("./pictures/../pictures/")) == below(tmp_path, ["pictures/a.png"])


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "a" / "nowhere.png").symlink_to(tmp_path / "absent")
    (tmp_path / "a" / "linked.png").symlink_to(tmp_path / "a" / "1.png")
    source = open_source(str(tmp_path))
    assert paths(source) == below(tmp_path, ["a/1.png", "a/linked.png"])
    (problem,) = problems(source)
    assert str(problem) == f"{tmp_path}/a/nowhere.png: no such file"


def test_a_name_that_is_not_utf8_is_reported_readably(tmp_path: Path) -> None:
    put(tmp_path, "good.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).write_bytes(png())
    source = open_source(str(tmp_path))
    assert paths(source) == below(tmp_path, ["good.png"])
    (problem,) = problems(source)
    assert problem.path == f"{tmp_path}/caf\\xe9.png"
    assert "not UTF-8" in problem.reason
    assert problem.path.encode()


def test_a_folder_that_may_not_be_read_costs_only_itself(
    nobody: Callable[[Callable[[], None]], None],
    open_folder: Path,
) -> None:
    put(open_folder, "a.png", "closed/b.png")
    (open_folder / "closed").chmod(0)

    def look() -> None:
        source = open_source(str(open_folder))
        assert paths(source) == below(open_folder, ["a.png"])
        (problem,) = problems(source)
        assert str(problem) == f"{open_folder}/closed: cannot be read: Permission denied"
        assert not is_gone(f"{open_folder}/closed/b.png")

    nobody(look)


def test_a_shard_gives_its_members(tmp_path: Path) -> None:
    put(tmp_path, "loose.png")
    shard(
        tmp_path / "000.tar",
        {"./x/1.png": png("blue"), "1.json": b"{}", "2.jpg": png("green"), "3.png": b""},
    )
    expected = below(tmp_path, ["000.tar!/x/1.png", "000.tar!/2.jpg", "000.tar!/3.png"])
    assert paths(open_source(str(tmp_path / "000.tar"))) == expected
    assert paths(open_source(str(tmp_path))) == [*expected, f"{tmp_path}/loose.png"]
    items = list(open_source(str(tmp_path / "000.tar")).items())
    assert [item.read(10**6) for item in items if isinstance(item, Item)] == [
        png("blue"),
        png("green"),
        b"",
    ]
    assert read(expected[1], 10**6) == png("green")
    assert is_gone(f"{tmp_path}/000.tar!/4.png")
    assert not is_gone(expected[0])


def test_a_shard_that_is_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {"1.png": png(), "2.png": os.urandom(40_000)})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:-30_000])
    source = open_source(str(tmp_path / "a.tar"))
    assert f"{tmp_path}/a.tar!/1.png" in paths(source)
    (problem,) = problems(source)
    assert "cannot be read to its end" in problem.reason


def test_a_glob_is_expanded_here(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.jpg", "b/3.png")
    source = open_source(f"{tmp_path}/**/*.png")
    assert paths(source) == below(tmp_path, ["a/1.png", "b/3.png"])
    assert source.covers(f"{tmp_path}/a/9.png")
    assert not source.covers(f"{tmp_path}/a/2.jpg")


def test_a_list_costs_no_more_than_its_wrong_lines(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "more/b.png")
    found = list(listed(below(tmp_path, ["a.png", "absent.png", "more"])).items())
    assert [one.path for one in found] == below(tmp_path, ["a.png", "absent.png", "more/b.png"])
    assert isinstance(found[1], Problem)
    assert found[1].reason == "no such file or folder"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "absent: no such file or folder"),
        ("a" * 300, "aaa: File name too long"),
        ("", "an empty name leads to no file"),
    ],
)
def test_what_leads_nowhere_is_named(name: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        open_source(name)
    with pytest.raises(SourceError, match=said):
        list(files_in(name, (".png",)))


def test_what_a_source_covers_ends_at_its_edges(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "ab/2.png")
    source = open_source(f"{tmp_path}/a")
    assert source.covers(f"{tmp_path}/a/gone.png")
    assert not source.covers(f"{tmp_path}/ab/2.png")


def test_a_url_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(SourceError) as raised:
        list(open_source("sftp://me:hunter2@host/pictures").items())
    assert "hunter2" not in str(raised.value)
    assert "environment" in str(raised.value)

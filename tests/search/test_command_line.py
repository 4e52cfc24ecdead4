"""The commands on archives, as a shell sees them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tritonclip_cli import app
from tritonclip_search.errors import CollectionNotFound

Run = Callable[..., Result]


@pytest.fixture
def run(pictures: Path, search_server: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder that has `pictures`; errors are raised."""
    monkeypatch.chdir(pictures.parent)
    monkeypatch.setenv("TRITONCLIP_URL", search_server)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: str, **options: str) -> Result:
        model = () if arguments[0] == "collections" else ("--model", "demo")
        result = CliRunner().invoke(app, [*arguments, *model], **options)  # type: ignore[arg-type]
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_a_folder_is_indexed_once_and_searched(run: Run, tmp_path: Path) -> None:
    first = run("index", "pictures")
    assert first.exit_code == 0
    assert "20 added" in first.stdout
    assert "20 pictures, exact scan" in first.stdout
    assert "20 unchanged" in run("index", "pictures/").stdout
    found = run("search", "a citrus fruit", "--top", "3")
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0].split() == ["score", "path", "size"]
    score, path, *size = lines[1].split()
    assert 0.5 < float(score) < 1
    assert path == f"{tmp_path}/pictures/tangerine.png"
    assert size == ["72", "x", "72"]
    assert len(lines) == 4
    assert re.search(r"among 20 pictures, exact scan, \d+ ms", found.stderr)


def test_hits_are_data_for_other_programs(run: Run, tmp_path: Path) -> None:
    run("index", "pictures")
    hits = json.loads(run("search", "a cat", "--top", "2", "--json").stdout)
    assert [Path(hit["path"]).name for hit in hits] == ["cat.png", "dog.png"]
    assert hits[0]["score"] > hits[1]["score"]
    assert hits[0]["format"] == "PNG"
    assert hits[0]["probability"] is None
    paths = run("search", "a cat", "--top", "2", "--paths").stdout
    assert paths == f"{tmp_path}/pictures/cat.png\n{tmp_path}/pictures/dog.png\n"


def test_pictures_words_weights_and_exclusions_go_together(run: Run) -> None:
    run("index", "pictures")

    def best(*arguments: str) -> str:
        return Path(run("search", *arguments, "--paths", "--top", "1").stdout.strip()).stem

    assert best("--image", "pictures/dog.png") == "dog"
    assert best("a rocket", "--image", "pictures/dog.png", "--weight", "9", "--weight", "1") == (
        "rocket"
    )
    pets = run("search", "a pet", "--without", "dog", "--paths", "--top", "2").stdout
    assert "cat.png" in pets
    assert "dog.png" not in pets
    assert best("a citrus fruit", "--where", "path = pictures/key.png") == "key"
    assert run("search", "a cat", "--above", "0.99").stdout == "nothing found\n"


def test_a_page_opens_its_pictures_and_needs_nothing_else(run: Run, tmp_path: Path) -> None:
    shutil.copy("pictures/cat.png", 'pictures/<b>cat & "co"\'s.png')
    run("index", "pictures")
    run("search", "a cat", "--top", "4", "--page", "hits.html", "--sheet", "hits.png")
    page = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert f'href="file://{tmp_path}/pictures/dog.png"' in page
    assert "<b>cat" not in page
    assert "&lt;b&gt;cat &amp; &quot;co&quot;&#x27;s.png" in page
    assert not re.findall(r'(?:src|href)="(?!data:|file:)', page)
    assert "<script" not in page
    with Image.open(tmp_path / "hits.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > sheet.height


def test_what_cannot_be_embedded_is_named_and_the_status_says_so(run: Run) -> None:
    Path("pictures/broken.png").write_bytes(b"nothing")
    first = run("index", "pictures")
    assert first.exit_code == 1
    assert "20 added" in first.stdout
    assert re.search(r"failed: .*/pictures/broken\.png: ", first.stderr)
    assert run("index", "pictures").exit_code == 0  # recorded
    retried = run("index", "pictures", "--retry", "--json")
    assert retried.exit_code == 1
    assert len(json.loads(retried.stdout)["unreadable"]) == 1


def test_vanished_pictures_are_listed_until_they_are_pruned(run: Run, tmp_path: Path) -> None:
    run("index", "pictures")
    Path("pictures/cat.png").unlink()
    told = run("index", "pictures").stdout
    assert "1 vanished; --prune removes them" in told
    assert f"{tmp_path}/pictures/cat.png" in told
    assert "1 removed" in run("index", "pictures", "--prune").stdout
    assert json.loads(run("index", "pictures", "--json").stdout)["vanished"] == []


def test_a_list_on_standard_input_is_indexed(run: Run) -> None:
    told = run("index", "-", input="pictures/cat.png\npictures/dog.png\npictures/absent.png\n")
    assert told.exit_code == 1
    assert "2 added" in told.stdout
    assert "pictures/absent.png: no such file or folder" in told.stderr


def test_tags_are_written_and_asked_for(run: Run) -> None:
    run("index", "pictures")
    counts = json.loads(run("tag", "--labels", "cat, rocket", "--above", "0.9", "--json").stdout)
    assert counts["cat"] >= 1
    found = run("search", "something", "--where", "tags = rocket", "--paths").stdout
    assert len(found.splitlines()) == counts["rocket"]


def test_duplicates_are_grouped(run: Run) -> None:
    Image.open("pictures/cat.png").convert("RGB").resize((60, 60)).save("pictures/small cat.png")
    run("index", "pictures")
    found = json.loads(run("duplicates", "--json").stdout)
    names = [[Path(path).name for path in group] for group in found["groups"]]
    assert ["cat.png", "small cat.png"] in names
    assert "found by altering 21 of the pictures" in run("duplicates").stderr


def test_collections_are_listed_described_and_dropped_when_confirmed(run: Run) -> None:
    assert "no collections here" in run("collections").stdout
    run("index", "pictures", "--collection", "press", "--half")
    (described,) = json.loads(run("collections", "--json").stdout)
    assert described["name"] == "press"
    assert described["records"] == 20
    assert (described["dim"], described["vectors"]) == (192, "float16")
    assert "exact scan" in run("collections", "press").stdout
    with pytest.raises(CollectionNotFound, match="'pictures' in archive; there are: press"):
        run("search", "a cat")
    refused = run("collections", "press", "--drop", input="n\n")
    assert refused.exit_code == 1
    assert "drop 'press' with 20 records?" in refused.stderr
    assert "dropped press" in run("collections", "press", "--drop", input="y\n").stdout
    assert "no collections here" in run("collections").stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    {
        ("search", "a cat"): "there is no collection 'pictures' in archive; `tritonclip index`",
        ("search", "a cat", "-s", "no/where"): "there is no collection 'pictures' in no/where; ",
        ("index", "absent"): "absent: no such file or folder",
        ("collections", "absent"): "there is no collection 'absent'",
        ("collections", "--drop"): "name the collection to drop",
    }.items(),
)
def test_a_wrong_command_says_what_is_wrong(
    arguments: tuple[str, ...], why: str, run: Run, environment: dict[str, str]
) -> None:
    del run  # has changed into a folder and named a server
    command = [sys.executable, "-c", "from tritonclip_cli import main; main()", *arguments]
    if arguments[0] != "collections":
        command += ["--model", "demo"]
    done = subprocess.run(
        command, env={**environment, **os.environ}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert why in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "why"),
    {
        ("--top", "0"): "Invalid value",
        ("--store", "mysql://me:hunter2@db"): "no store is reached by mysql://",
        ("--collection", "Press"): "'Press' is no name for a collection",
    }.items(),
)
def test_a_wrong_value_says_what_is_wrong_and_shows_no_secret(
    option: tuple[str, str], why: str, run: Run
) -> None:
    done = run("search", "a cat", *option)

    assert done.exit_code == 2
    assert option[0] in done.stderr
    assert why in done.stderr
    assert "hunter2" not in done.stderr


def test_ctrl_c_ends_cleanly_and_keeps_what_was_embedded(
    tmp_path: Path, twemoji: dict[str, bytes], search_server: str, environment: dict[str, str]
) -> None:
    (tmp_path / "pictures").mkdir()
    for number, drawing in enumerate(twemoji.values()):
        (tmp_path / "pictures" / f"{number}.png").write_bytes(drawing)
    command = [sys.executable, "-c", "from tritonclip_cli import main; main()", "index", "pictures"]
    options = ["--url", search_server, "--model", "demo"]
    with subprocess.Popen(
        [*command, *options], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as indexer:
        until = time.monotonic() + 60
        while not (tmp_path / "archive" / "pictures" / "vectors.0").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        indexer.send_signal(signal.SIGINT)
        _, told = indexer.communicate(timeout=30)
    assert indexer.returncode == 130
    assert "stopped; what was embedded is kept" in told
    assert "Traceback" not in told


def test_a_full_disk_is_named_and_loses_nothing(
    tmp_path: Path, pictures: Path, search_server: str, environment: dict[str, str]
) -> None:
    (tmp_path / "small").mkdir()
    script = f"""
mount -t tmpfs -o size=200k none {tmp_path}/small || exit 77
tritonclip() {{ {sys.executable} -c 'from tritonclip_cli import main; main()' "$@"; }}
tritonclip index {pictures}/cat.png -s {tmp_path}/small/archive -m demo && echo one
head -c 140k /dev/zero > {tmp_path}/small/filler
tritonclip index {pictures} -s {tmp_path}/small/archive -m demo; echo status $?
rm {tmp_path}/small/filler
tritonclip index {pictures} -s {tmp_path}/small/archive -m demo
"""
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", script],
        env={**environment, "TRITONCLIP_URL": search_server},
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no disk can be mounted here")
    assert "status 1" in done.stdout
    assert "no space is left for the archive" in done.stderr
    assert "19 added, 1 unchanged" in done.stdout

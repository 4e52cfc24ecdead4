"""What `embed` and `classify` make of what is typed, before a server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from mistakes import run
from tritonclip.errors import InvalidArgument
from tritonclip_cli.queries import labels_from


def test_a_label_that_is_there_twice_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert labels_from("a,,a, b", None, "utf-8") == ["a", "b"]
    assert "the label 'a' is there 2 times; it counts once" in capsys.readouterr().err


def test_a_file_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("Hund\nKäse\n".encode("latin-1"))

    with pytest.raises(InvalidArgument, match=r"line 2 of .*labels.txt is not utf-8.*--encoding"):
        labels_from(None, file, "utf-8")
    assert labels_from(None, file, "latin-1") == ["Hund", "Käse"]


def test_the_mark_at_the_beginning_of_utf_8_is_no_part_of_a_label(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("Käse\r\nHund\r\n".encode("utf-8-sig"))

    assert labels_from(None, file, "utf-8") == ["Käse", "Hund"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [("latin-99", "no encoding is called 'latin-99'"), ("utf-16", "iconv -f utf-16 -t utf-8")],
)
def test_an_encoding_that_cannot_be_read_by_lines_is_refused(name: str, answer: str) -> None:
    said = run(["classify", "a.png", "--labels", "a", "--encoding", name])

    assert said.status == 2
    assert answer in " ".join(said.err.replace("│", " ").split())

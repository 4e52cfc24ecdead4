"""What a run that was cut off leaves, and what the next one makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tritonclip.errors import InvalidArgument
from tritonclip_cli.journal import Journal, key_of

MADE_BY = {"weights_sha256": "0" * 64, "dim": 4, "precision": "fp32"}
KEYS = [key_of(f"text {i}", file=False) for i in range(100)]
VECTORS = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A journal of ten batches of ten."""
    journal = Journal(tmp_path / "journal", MADE_BY)
    for i, (key, vector) in enumerate(zip(KEYS, VECTORS, strict=True), 1):
        journal.add(key, vector)
        if i % 10 == 0:
            journal.flush()
    journal.close()
    return journal.file


def test_what_was_added_is_found_bit_for_bit(file: Path) -> None:
    journal = Journal(file, MADE_BY)

    assert journal.kept == 100
    assert all(np.array_equal(journal[key], v) for key, v in zip(KEYS, VECTORS, strict=True))
    assert key_of("text 100", file=False) not in journal


def test_whatever_a_crash_leaves_whole_batches_are_found_and_the_next_goes_on_behind(
    file: Path,
) -> None:
    whole = file.read_bytes()
    header = whole.index(b"\n") + 1
    batch = (len(whole) - header) // 10
    for size in [*range(header + 3 * batch - 5, header + 3 * batch + 6), header - 1, 0]:
        file.write_bytes(whole[:size])

        journal = Journal(file, MADE_BY)
        kept = journal.kept
        journal.add(KEYS[-1], VECTORS[-1])
        journal.close()
        again = Journal(file, MADE_BY)
        again.close()

        assert kept == max(0, size - header) // batch * 10
        assert again.kept == kept + 1
        assert KEYS[-1] in again


def test_a_flipped_bit_costs_its_batch_and_those_behind(file: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)

    assert Journal(file, MADE_BY).kept in (40, 50)


def test_vectors_of_another_model_are_kept_until_someone_says_otherwise(file: Path) -> None:
    other = {**MADE_BY, "precision": "int8"}

    with pytest.raises(InvalidArgument, match=r"precision was 'fp32'.*--overwrite"):
        Journal(file, other)
    same = Journal(file, MADE_BY)
    same.close()
    dropped = Journal(file, other, drop_others=True)

    assert (same.kept, dropped.kept) == (100, 0)


def test_two_runs_into_one_file_do_not_mix(file: Path) -> None:
    first = Journal(file, MADE_BY)

    with pytest.raises(InvalidArgument, match="another process"):
        Journal(file, MADE_BY)

    first.close()
    Journal(file, MADE_BY).close()


def test_a_file_that_has_changed_has_another_key(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"one")
    before = key_of(str(picture), file=True)
    picture.write_bytes(b"another")

    assert key_of(str(picture), file=True) != before

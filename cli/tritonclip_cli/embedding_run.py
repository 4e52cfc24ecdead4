"""One run of `embed`: what an earlier one left unfinished is taken over, the rest is embedded."""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tritonclip_cli.values import shown

if TYPE_CHECKING:
    from tritonclip import ModelInfo
    from tritonclip.errors import InvalidInput
    from tritonclip.types import FloatArray
    from tritonclip_cli.embedding_files import Writer
    from tritonclip_cli.journal import Journal


class Stream(Protocol):
    """Embeds items in their order; a vector of NaN stands for one that `on_error` was told of."""

    def __call__(
        self, items: Iterator[str], /, *, on_error: Callable[[InvalidInput], object]
    ) -> Iterator[FloatArray]:
        """See `Client.stream_images`."""


class Run:
    """Writes a vector for each item, in their order.

    Attributes:
        count: items so far.
        earlier: how many of them an earlier run had embedded.
        failed: the items that could not be embedded, with their positions among all.
    """

    def __init__(self, writer: Writer, journal: Journal | None, *, are_files: bool) -> None:
        self.count = self.earlier = 0
        self.failed: list[InvalidInput] = []
        self._writer = writer
        self._journal = journal
        self._are_files = are_files
        # Items on their way: name, key, and whether the journal has their vector.
        self._waiting: deque[tuple[str, bytes, bool]] = deque()
        self._sent = array("Q")  # positions of the items that were sent

    def through(self, items: Iterator[str], stream: Stream, show: Callable[[int], None]) -> None:
        """Embed `items`; `show` is told how many are done."""
        for vector in stream(self._unknown(items), on_error=self._fail):
            self._take_over()
            name, key, _ = self._waiting.popleft()
            self._write(name, key, vector)
            show(self.count)
        self._take_over()

    def _unknown(self, items: Iterator[str]) -> Iterator[str]:
        from tritonclip_cli.journal import key_of

        for position, item in enumerate(items):
            key = key_of(item, file=self._are_files) if self._journal else b""
            known = self._journal is not None and key in self._journal
            self._waiting.append((item, key, known))
            if not known:
                self._sent.append(position)
                yield item

    def _take_over(self) -> None:
        """Write the vectors that the journal has, up to the next that is on its way."""
        while self._waiting and self._waiting[0][2]:
            name, key, _ = self._waiting.popleft()
            assert self._journal is not None
            self._writer.write(shown(name), self._journal[key])
            self.count += 1
            self.earlier += 1

    def _write(self, name: str, key: bytes, vector: FloatArray) -> None:
        from tritonclip_cli.embedding_files import failed

        self._writer.write(shown(name), vector)
        if self._journal is not None and not failed(vector):
            self._journal.add(key, vector)
        self.count += 1

    def _fail(self, error: InvalidInput) -> None:
        if error.index is not None:
            error.index = self._sent[error.index]
        self.failed.append(error)


@contextmanager
def journal_beside(
    output: Path | None, info: ModelInfo, inputs: str, *, anew: bool
) -> Iterator[Journal | None]:
    """The journal of a run that writes `output`; None for one that writes to standard output.

    It is removed when the block ends without an error, and else left for the next run, as standard
    error is told.

    Args:
        output: the file.
        info: of what embeds.
        inputs: what kind they are.
        anew: drop what the journal of another model holds.

    Raises:
        InvalidArgument: it is another model's, or another process has it.
    """
    from tritonclip_cli.journal import Journal, path_for

    if output is None:
        yield None
        return
    made_by = {
        "weights_sha256": info.weights_sha256,
        "dim": info.dim,
        "precision": info.precision,
        "preprocess": info.preprocess,
        "orient": info.orient,
        "inputs": inputs,
    }
    journal = Journal(path_for(output), made_by, drop_others=anew)
    if journal.kept:
        print(f"going on after the {journal.kept:,} vectors of an unfinished run", file=sys.stderr)
    try:
        yield journal
    except BaseException:
        journal.close()
        if journal.kept:
            print(
                f"{journal.kept:,} vectors are kept in {shown(journal.file)}: run the same again, "
                "and it goes on after them",
                file=sys.stderr,
            )
        else:
            journal.file.unlink(missing_ok=True)
        raise
    journal.discard()

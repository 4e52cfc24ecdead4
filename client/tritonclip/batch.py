"""Items on their way through requests: packed, sent, and isolated where one of them is bad.

All of it is plain state without any waiting, so that the two clients share it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tritonclip.errors import (
    ImageError,
    InvalidArgument,
    InvalidInput,
    ModelMismatch,
    ServerError,
    TextError,
)
from tritonclip.images import encode_image, image_name, image_weight, snapshot
from tritonclip.info import IMAGE_SUFFIX, SCORES_SUFFIX, TEXT_SUFFIX, TOKENIZE_SUFFIX, ModelInfo
from tritonclip.texts import encode_text, text_name
from tritonclip.types import FloatArray, OnError
from tritonclip.wire import EMBEDDING, InferRequest

# Requests stay well below the 64 MiB that Triton's HTTP endpoint takes by default
# (--http-max-input-size). A window of them is held as the caller's items, encoded and serialised.
MAX_REQUEST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Modality:
    """What tells images from texts between a caller's item and the wire."""

    suffix: str
    """Of the Triton model's name."""
    tensor: str
    error: type[InvalidInput]
    name: Callable[[object], str | None]
    hold: Callable[[object], object]
    """Makes an item safe to keep until it is sent."""
    weigh: Callable[[object], int]
    """About how many bytes it takes in a request."""
    is_slow: Callable[[object], bool]
    """Whether encoding an item reads a file or compresses pixels."""
    encode: Callable[[object, int, ModelInfo], bytes]
    keep: Callable[[object], object]
    """What is left of an item once it is encoded: enough for its name."""
    output: str = EMBEDDING
    """The tensor that answers."""
    width: Callable[[ModelInfo], int] = lambda info: info.dim
    """Its last axis."""
    axes: int = 2
    """Of an answer: [items, width], or [items, windows, width]."""
    fold: Callable[[FloatArray], FloatArray] = lambda answer: answer
    """What becomes of an answer."""


IMAGES = Modality(
    suffix=IMAGE_SUFFIX,
    tensor="IMAGE",
    error=ImageError,
    name=image_name,
    hold=snapshot,
    weigh=image_weight,
    is_slow=lambda image: not isinstance(image, bytes),
    encode=lambda image, index, info: encode_image(image, index, info.max_image_bytes),
    keep=image_name,
)
TEXTS = Modality(
    suffix=TEXT_SUFFIX,
    tensor="TEXT",
    error=TextError,
    name=text_name,
    hold=lambda text: text,
    weigh=lambda text: len(text) if isinstance(text, str) else 0,
    is_slow=lambda _text: False,
    encode=lambda text, index, info: encode_text(text, index, info.max_text_bytes),
    keep=lambda text: text,
)

TOKEN_COUNTS = replace(TEXTS, suffix=TOKENIZE_SUFFIX, output="TOKENS", width=lambda _info: 1)
SCORES = replace(IMAGES, suffix=SCORES_SUFFIX, output="SCORES", width=lambda info: len(info.scores))


class Batch:
    """Up to one request's worth of items, and what became of each.

    Drive it with `encode()`, then send `request()` until that is None, telling `accept` or `reject`
    the answer.
    """

    def __init__(
        self,
        modality: Modality,
        info: ModelInfo,
        sources: list[object],
        *,
        start: int = 0,
        strict: bool = False,
    ) -> None:
        """Take some of a caller's items.

        Args:
            modality: what the items are.
            info: of the model that embeds them.
            sources: the items; emptied as they are encoded.
            start: position of the first in the caller's input.
            strict: whether the first bad item raises, rather than each being noted in `errors`.
        """
        self._modality = modality
        self._info = info
        self._sources = sources
        self._start = start
        self._strict = strict
        self._waiting: dict[int, bytes] = {}
        self._rows: FloatArray | None = None
        self.errors: list[InvalidInput] = []

    @property
    def rows(self) -> FloatArray:
        """Folded answer, [items, dim] if all are bad; NaN where one is bad, or not embedded yet."""
        if self._rows is None:
            self._rows = np.full((len(self._sources), self._width), np.nan, dtype=np.float32)
        return self._rows

    @property
    def is_slow_to_encode(self) -> bool:
        """Whether `encode` would hold up an event loop."""
        return any(map(self._modality.is_slow, self._sources))

    def encode(self) -> None:
        """Turn the items into what goes over the wire."""
        for offset, source in enumerate(self._sources):
            try:
                encoded = self._modality.encode(source, self._start + offset, self._info)
            except InvalidInput as error:
                self.errors.append(error)
                if self._strict:
                    return  # the server may yet find an earlier one; a later one does not matter
            else:
                self._waiting[offset] = encoded
                self._sources[offset] = self._modality.keep(source)

    def request(self) -> InferRequest | None:
        """The request to send next; None when nothing is left to send.

        Raises:
            InvalidInput: nothing is left, this batch is strict, and its first bad item is this.
        """
        if not self._waiting:
            if self._strict and self.errors:
                raise self.errors[0]
            return None
        items = list(self._waiting.values())
        return InferRequest(self._model, self._modality.tensor, items, self._modality.output)

    def accept(self, vectors: FloatArray) -> None:
        """Take the answer to `request()`."""
        items, dim = len(self._waiting), self._width
        axes = [items, "windows", dim] if self._modality.axes == 3 else [items, dim]
        if vectors.ndim != len(axes) or (len(vectors), vectors.shape[-1]) != (items, dim):
            raise ServerError(
                f"model {self._model!r} answered with {self._modality.output} of shape "
                f"{list(vectors.shape)}, not {axes}"
            )
        folded = self._modality.fold(vectors)
        if items == len(self._sources):
            self._rows = folded.astype(np.float32)  # a copy: an answer is a view of its message
        else:
            self._rows = np.full((len(self._sources), *folded.shape[1:]), np.nan, dtype=np.float32)
            self._rows[list(self._waiting)] = folded
        self._waiting.clear()

    def reject(self, refusal: InvalidInput) -> None:
        """Take a refusal of `request()`: leave out the items it names, so the others can go again.

        Raises:
            InvalidInput: the first bad item, if this batch is strict; or the server named none.
        """
        sent = list(self._waiting)
        named = {
            sent[position]: reason
            for position, reason in bad_items(refusal.reason, self._modality.error.noun)
            if position < len(sent)
        }
        if not named:
            raise InvalidInput(f"the server refused a request: {refusal.reason}") from refusal
        for offset, reason in named.items():
            del self._waiting[offset]
            name = self._modality.name(self._sources[offset])
            error = self._modality.error(reason, self._start + offset, name)
            error.__cause__ = refusal
            if self._strict:
                raise error
            self.errors.append(error)

    @property
    def _width(self) -> int:
        return self._modality.width(self._info)

    @property
    def _model(self) -> str:
        return self._info.name + self._modality.suffix

    def report(self, on_error: OnError) -> None:
        """Tell of the bad items in order."""
        for error in sorted(self.errors, key=lambda error: error.index or 0):
            on_error(error)


def check_scores(info: ModelInfo) -> None:
    """That a model has heads.

    Raises:
        ModelMismatch: it has none.
    """
    if not info.scores:
        raise ModelMismatch(
            f"model {info.name!r} serves no heads; add one with "
            "`tritonclip assemble BUNDLE --head HEAD.safetensors`"
        )


def bad_items(message: str, noun: str) -> list[tuple[int, str]]:
    """Positions and reasons in a server's refusal: `image 3: not an image`, one a line.

    Triton puts text of its own before the message, e.g. `in ensemble 'x', `.
    """
    found = re.finditer(rf"\b{noun} (\d+): ([^\n]*)", message)
    return sorted({int(match[1]): match[2].strip() for match in found}.items())


class Packer:
    """Cuts a stream of items into batches, by count and by weight, without looking ahead."""

    def __init__(self, modality: Modality, info: ModelInfo, size: int, *, strict: bool) -> None:
        """Make batches of up to `size` items; the rest is as for `Batch`."""
        self._modality = modality
        self._info = info
        self._size = size
        self._strict = strict
        self._start = 0
        self._weight = 0
        self._sources: list[object] = []

    def add(self, source: object) -> Batch | None:
        """Take the next item; give back a batch when one is full."""
        weight = self._modality.weigh(source)
        full = None
        if self._sources and self._weight + weight > MAX_REQUEST_BYTES:
            full = self.flush()
        self._sources.append(self._modality.hold(source))
        self._weight += weight
        # With a size of one nothing was waiting above, so there is never a second full batch.
        return full or (self.flush() if len(self._sources) >= self._size else None)

    def alone(self, sources: object) -> Batch | None:
        """The one batch of `sources`, if it is plain without iterating that they make just one."""
        if not isinstance(sources, list | tuple | np.ndarray) or not 0 < len(sources) <= self._size:
            return None
        fits = sum(map(self._modality.weigh, sources)) <= MAX_REQUEST_BYTES or len(sources) == 1
        return next(self.pack(sources)) if fits else None

    def pack(self, sources: Iterable[object]) -> Iterator[Batch]:
        """Take all of `sources`, one when it is needed."""
        for source in sources:
            if batch := self.add(source):
                yield batch
        if batch := self.flush():
            yield batch

    def flush(self) -> Batch | None:
        """The items still waiting, if there are any."""
        if not self._sources:
            return None
        sources, start = self._sources, self._start
        self._sources, self._start, self._weight = [], start + len(sources), 0
        return Batch(self._modality, self._info, sources, start=start, strict=self._strict)


def one_or_many(inputs: object, single: bool) -> Iterable[object]:
    """The caller's input as an iterable.

    Raises:
        InvalidArgument: it is neither an item nor an iterable.
    """
    if single:
        return [inputs]
    if not isinstance(inputs, Iterable):
        raise InvalidArgument(f"expected items to embed, got {inputs!r} ({type(inputs).__name__})")
    return inputs

"""An encoder as an ONNX graph: its files, opening it, and the checks before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from tritonclip_export.bundle import sha256_of
from tritonclip_export.errors import ExportError
from tritonclip_export.served.cores import threads

OPSET = 20
OUTPUT = "EMBEDDING"

# Weights beyond this go to a file beside the graph. They are then written, checked and run without
# a copy in memory; inside the graph they take five more copies while it is written, and a protobuf
# message ends at 2 GiB.
EXTERNAL_DATA_FROM_BYTES = 2**28
EXTERNAL_DATA_SUFFIX = ".data"

# A tracer may fix the example's batch of two, or treat one as a case of its own. What holds for one
# and three rows holds for any number; a full batch of a big tower would take minutes to say so.
CHECKED_BATCHES = (1, 3)


Encode: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]
"""An encoder that is open, whatever runs it: PIXELS or TOKEN_IDS -> EMBEDDING [batch, dim]."""


@dataclass(frozen=True)
class Input:
    """The one input of an encoder: name, dtype and shape of an example, and its dynamic axes."""

    name: str
    example: npt.NDArray[Any]
    """Any valid content, batch 2; token ids at the full context length."""
    dynamic_axes: dict[int, str]
    lengths: tuple[int, ...] = ()
    """Lengths that axis 1 must run at, the example's own the last; none if it has one only."""

    def items(self) -> list[npt.NDArray[Any]]:
        """One row of the example at every length, the example's own the last."""
        item = self.example[:1]
        return [item[:, :length] for length in self.lengths] or [item]


def external_data_of(file: Path) -> Path | None:
    """The weights file beside a graph, if it has one."""
    data = file.with_name(file.name + EXTERNAL_DATA_SUFFIX)
    return data if data.is_file() else None


class Written(TypedDict):
    """What `bundle.json` records of the files of a graph."""

    file: str
    external_data: str | None
    sha256: str


def written(file: Path) -> Written:
    """The record of a graph that has been written to `file`, with what lies beside it."""
    data = external_data_of(file)
    return Written(
        file=file.name,
        external_data=data.name if data else None,
        sha256=sha256_of(file, *([data] if data else [])),
    )


class Encoder:
    """An ONNX encoder in ONNX Runtime, on the CPU unless told otherwise."""

    def __init__(
        self,
        file: Path,
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        packed: bool = True,
    ) -> None:
        """Open `file`.

        Args:
            file: the graph; its external data lies beside it.
            providers: what ONNX Runtime may run it on, the first first.
            packed: whether ONNX Runtime may copy the weights into the layout that is fastest.
                Without, external data stays in its file, mapped into memory.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        if not packed:
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            self._session = ort.InferenceSession(str(file), options, providers=list(providers))
        except Exception as error:
            raise ExportError(f"{file.name}: ONNX Runtime refuses the graph: {error}") from error
        self.input = self._session.get_inputs()[0]
        self.output = self._session.get_outputs()[0]
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())

    def __call__(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """EMBEDDING [batch, dim] of PIXELS or TOKEN_IDS."""
        (embeddings,) = self._session.run([self.output.name], {self.input.name: batch})
        return np.asarray(embeddings)


def check(file: Path, input: Input, *, dim: int) -> None:
    """Check a traced graph: ONNX's rules, the contract's tensors, and a run at several batch sizes.

    A batch repeats one item, so every row must agree with the first: a graph that has kept the
    example's batch size, or mixes rows, fails.

    Raises:
        ExportError: names the check that failed.
    """
    import onnx

    try:
        onnx.checker.check_model(str(file), full_check=True)
    except Exception as error:
        raise ExportError(f"{file.name}: onnx.checker: {error}") from error
    encoder = Encoder(file, packed=False)
    found = (encoder.input.name, encoder.output.name, encoder.output.type)
    if found != (input.name, OUTPUT, "tensor(float)"):
        raise ExportError(
            f"{file.name}: its tensors are {found}, not {input.name} -> {OUTPUT} FP32"
        )
    for item in input.items():
        for size in CHECKED_BATCHES:
            length = f", length {item.shape[1]}" if input.lengths else ""
            where = f"{file.name}: batch {size}{length}"
            try:
                rows = encoder(np.repeat(item, size, axis=0))
            except Exception as error:
                raise ExportError(f"{where}: ONNX Runtime: {error}") from error
            if rows.shape != (size, dim):
                raise ExportError(f"{where}: gives {rows.shape}, not {(size, dim)}")
            if not np.isfinite(rows).all():
                raise ExportError(f"{where}: gives NaN or infinity")
            norms = np.linalg.norm(rows, axis=1)
            if np.abs(norms - 1).max() > 1e-4 or np.abs(rows - rows[0]).max() > 1e-4:
                raise ExportError(f"{where}: rows of one input differ or are not unit vectors")

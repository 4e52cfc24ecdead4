"""`config.pbtxt`: Triton's `ModelConfig` protobuf in text format, read and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonclip_export.errors import RepositoryError


def read_config(file: Path) -> Any:
    """Parse a `config.pbtxt` into a `ModelConfig`.

    Raises:
        RepositoryError: the file is not a valid config; quotes the parser's line and reason.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise RepositoryError(f"{file} is not a valid model config: {error}") from error


def render_config(config: Any, comments: Sequence[str]) -> str:
    """The text of a `config.pbtxt`, `comments` first; the same config gives the same text."""
    from google.protobuf import text_format

    body = text_format.MessageToString(config, use_index_order=True)
    return "\n".join([*comments, body])


def comments(file: Path) -> list[str]:
    """The lines of a `config.pbtxt` that are comments."""
    text = file.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("#")]


def data_type_name(number: int) -> str:
    """The name of a data type, like `TYPE_UINT8`, which a parsed `ModelConfig` has as a number."""
    from tritonclient.grpc import model_config_pb2

    return str(model_config_pb2.DataType.Name(number))

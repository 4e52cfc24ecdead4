"""One shard: its pictures in, a file of vectors and a receipt out; done twice, the same twice."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tritonclip.batch import MAX_REQUEST_BYTES
from tritonclip.cancellation import Cancellation
from tritonclip.types import FloatArray
from tritonclip.window import in_order
from tritonclip_bulk.embedder import Answer, Embedder, Model
from tritonclip_bulk.pictures import Columns, Picture, pictures_of
from tritonclip_bulk.plan import Shard
from tritonclip_bulk.target import Target
from tritonclip_search.sources.item import Problem
from tritonclip_search.vector_files import schema

VECTORS = "vectors"
RECEIPTS = "receipts"
"""Folders of a target. A shard is done when its receipt is there, which is written last."""

# Rows in one Parquet row group: at 768 dimensions some 12 MB.
_ROW_GROUP = 4096
# What a batch is filled up with at most: small pictures of some 100 bytes.
_FILLING = 1 << 17


@dataclass(frozen=True)
class Receipt:
    """What became of a shard."""

    rows: int
    """Pictures with a vector."""
    size: int
    """In bytes, of the file of vectors."""
    sha256: str
    failed: tuple[Problem, ...]
    """Pictures without, in the order of their names: the quarantine."""

    def to_json(self) -> bytes:
        """As the target keeps it; the same bytes for the same receipt."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False).encode()

    @classmethod
    def read(cls, content: bytes) -> Receipt:
        """What `to_json` wrote."""
        plain: dict[str, Any] = json.loads(content)
        failed = tuple(Problem(**problem) for problem in plain.pop("failed"))
        return cls(**plain, failed=failed)


def vectors_name(shard: Shard) -> str:
    """Of a shard's file of vectors in the target."""
    return f"{VECTORS}/{shard.name}.parquet"


def receipt_name(shard: Shard) -> str:
    """Of its receipt."""
    return f"{RECEIPTS}/{shard.name}.json"


def read_receipt(target: Target, shard: Shard) -> Receipt | None:
    """Of a shard; None where it is not done.

    Raises:
        TargetError: the target cannot be read.
    """
    content = target.get(receipt_name(shard))
    return None if content is None else Receipt.read(content)


def embed_shard(
    shard: Shard, embedder: Embedder, target: Target, columns: Columns, *, half: bool = False
) -> Receipt:
    """Embed the pictures of a shard, and write its file and its receipt.

    Memory holds a window of encoded pictures, and the vectors of the shard.

    Args:
        shard: what to do.
        embedder: does it.
        target: where to.
        columns: of Parquet files.
        half: keep the vectors in half precision.

    Raises:
        ShardUnreadable: it cannot be read now.
        TargetError: the target cannot be written.
        TritonClipError: of the embedder.
    """
    limit = embedder.model.max_image_bytes
    rows: list[tuple[dict[str, Any], FloatArray]] = []
    failed: list[Problem] = []

    def pictures() -> Iterator[Picture]:
        with closing(pictures_of(shard, columns, limit)) as found:
            for one in found:
                if isinstance(one, Problem):
                    failed.append(one)
                elif len(one.encoded) > limit:
                    reason = f"more than the {limit:,} bytes that are embedded; make it smaller"
                    failed.append(Problem(one.name, reason))
                else:
                    yield one

    for batch, (vectors, bad) in _embedded(pictures(), embedder):
        for number, (picture, vector) in enumerate(zip(batch, vectors, strict=True)):
            if number in bad:
                failed.append(Problem(picture.name, bad[number]))
            else:
                rows.append((picture.row(), vector))
    rows.sort(key=lambda row: str(row[0]["name"]))
    content = _file(rows, embedder.model, half=half)
    digest = hashlib.sha256(content).hexdigest()
    target.put(vectors_name(shard), content)
    quarantine = tuple(sorted(failed, key=lambda problem: problem.path))
    receipt = Receipt(len(rows), len(content), digest, quarantine)
    target.put(receipt_name(shard), receipt.to_json())
    return receipt


def _embedded(
    pictures: Iterator[Picture], embedder: Embedder
) -> Iterator[tuple[list[Picture], Answer]]:
    def work(batch: list[Picture], _: Cancellation | None) -> tuple[list[Picture], Answer]:
        return batch, embedder.embed([picture.encoded for picture in batch])

    with ThreadPoolExecutor(embedder.at_once, thread_name_prefix="tritonclip-shard") as pool:
        batches = _batches(pictures, embedder.model.batch)
        results = in_order(batches, work, pool, embedder.at_once + 1, Cancellation())
        with closing(results):
            yield from results


def _batches(pictures: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    """By number and by weight; which are together follows from the pictures alone."""
    batch: list[Picture] = []
    weight = 0
    for picture in pictures:
        if batch and weight + len(picture.encoded) > MAX_REQUEST_BYTES - _FILLING:
            yield batch
            batch, weight = [], 0
        batch.append(picture)
        weight += len(picture.encoded)
        if len(batch) == size:
            yield batch
            batch, weight = [], 0
    if batch:
        yield batch


def _file(rows: list[tuple[dict[str, Any], FloatArray]], model: Model, *, half: bool) -> bytes:
    """A Parquet file, the same bytes for the same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema(model.origin, facts=True, half=half)
    vectors = np.array([vector for _, vector in rows], np.float16 if half else np.float32)
    flat = pa.array(vectors.reshape(-1), columns.field("embedding").type.value_type)
    arrays = [
        pa.FixedSizeListArray.from_arrays(flat, type=column.type)
        if column.name == "embedding"
        else pa.array([row[column.name] for row, _ in rows], column.type)
        for column in columns
    ]
    sink = io.BytesIO()
    table = pa.Table.from_arrays(arrays, schema=columns)
    # Numbers of vectors do not repeat: a dictionary of them is tried in vain.
    texts = [field.name for field in columns if pa.types.is_string(field.type)]
    pq.write_table(table, sink, use_dictionary=texts, compression="zstd", row_group_size=_ROW_GROUP)
    return sink.getvalue()

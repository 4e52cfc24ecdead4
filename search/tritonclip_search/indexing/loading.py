"""Vectors that are already there, from files into a collection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tritonclip_search.space import Description, VectorType
from tritonclip_search.stores.store import Store
from tritonclip_search.vector_files import VectorFile

# Records that are written at a time: the more, the quicker, until some ten thousand.
_SIZE = 4096


def load(
    store: Store,
    name: str,
    files: Sequence[VectorFile],
    *,
    vectors: VectorType = "float32",
    on_progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Write the pictures of `files` into the collection `name`, made if it is not there.

    Those that it has already are replaced, so what was interrupted is simply done again.

    Args:
        store: of the collection.
        name: the collection.
        files: of one embedding space, as `vector_files.find` gives them.
        vectors: what a new collection keeps of each number.
        on_progress: told how many pictures were written.

    Returns:
        how many pictures were loaded, each path counted once a file.

    Raises:
        SpaceMismatch: the collection is of another model.
        SourceError: a file cannot be read to its end; what was written stays.
        StoreError: of the store.
    """
    space = files[0].origin.space
    store.create(name, Description(space, vectors))
    description = store.describe(name)
    assert description is not None
    description.check(name, space)
    loaded = 0
    for file in files:
        for records in file.records(_SIZE):
            unique = list({record.id: record for record in records}.values())
            store.upsert(name, unique)
            loaded += len(unique)
            on_progress(loaded)
    store.settle(name)
    return loaded

"""From an address to a store, importing only the library that it needs."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tritonclip_search.errors import StoreNotInstalled
from tritonclip_search.stores.store import Store
from tritonclip_search.stores.url import StoreUrl

# The module beside this one with the store's `connect(url)`, and the extra with its library.
_STORES = {
    "local": ("local.store", ""),
    "lancedb": ("lance", "lancedb"),
    "postgresql": ("postgresql", "pgvector"),
    "milvus": ("milvus", "milvus"),
    "qdrant": ("qdrant", "qdrant"),
    "weaviate": ("weaviate", "weaviate"),
}


def open_store(url: str | StoreUrl) -> Store:
    """Connect to a store.

    Raises:
        InvalidArgument: no such kind of store, or an address it cannot be reached by.
        StoreNotInstalled: its client library is missing.
        StoreUnavailable: it cannot be reached.
        StoreDenied: it does not let us in.
    """
    address = StoreUrl.parse(url) if isinstance(url, str) else url
    module, extra = _STORES[address.scheme]
    try:
        connect = import_module(f"tritonclip_search.stores.{module}").connect
    except ModuleNotFoundError as error:
        raise StoreNotInstalled(
            f"{address.scheme}:// needs {error.name}, which is not installed. "
            f'pip install "tritonclip[{extra}]"'
        ) from error
    return cast(Store, connect(address))

"""Archives of pictures and videos, searched in plain words, on top of TritonCLIP's client.

    from tritonclip import Client
    from tritonclip_search import open_collection

    with Client("127.0.0.1:8001") as client, open_collection("archive", client) as pictures:
        pictures.add(["pictures/"])  # again: only what changed
        for hit in pictures.search("a red car at night", without=["people"]):
            print(hit.score, hit.path)

Everything raised on purpose is a `TritonClipError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritonclip_search.collection import Collection, open_collection
    from tritonclip_search.errors import (
        AuditError,
        CollectionNotFound,
        InvalidFilter,
        InvalidHead,
        InvalidLabels,
        InvalidPolicy,
        SourceError,
        SpaceMismatch,
        StoreDenied,
        StoreError,
        StoreNotInstalled,
        StoreUnavailable,
        TooFewExamples,
        VideoError,
    )
    from tritonclip_search.hits import Hit
    from tritonclip_search.indexing.report import Progress, Report
    from tritonclip_search.records import Record
    from tritonclip_search.stores.opening import open_store

# Imported on first use, as in the client.
_HOMES = {
    "AuditError": "errors",
    "Collection": "collection",
    "CollectionNotFound": "errors",
    "Hit": "hits",
    "InvalidFilter": "errors",
    "InvalidHead": "errors",
    "InvalidLabels": "errors",
    "InvalidPolicy": "errors",
    "Progress": "indexing.report",
    "Record": "records",
    "Report": "indexing.report",
    "SourceError": "errors",
    "SpaceMismatch": "errors",
    "StoreDenied": "errors",
    "StoreError": "errors",
    "StoreNotInstalled": "errors",
    "StoreUnavailable": "errors",
    "TooFewExamples": "errors",
    "VideoError": "errors",
    "open_collection": "collection",
    "open_store": "stores.opening",
}

__all__ = [
    "AuditError",
    "Collection",
    "CollectionNotFound",
    "Hit",
    "InvalidFilter",
    "InvalidHead",
    "InvalidLabels",
    "InvalidPolicy",
    "Progress",
    "Record",
    "Report",
    "SourceError",
    "SpaceMismatch",
    "StoreDenied",
    "StoreError",
    "StoreNotInstalled",
    "StoreUnavailable",
    "TooFewExamples",
    "VideoError",
    "open_collection",
    "open_store",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

import pickle
import subprocess
import sys

import pytest

import tritonclip_search
from tritonclip import TritonClipError
from tritonclip_search import errors

LAZY = """
import sys, tritonclip_search
heavy = {"numpy", "PIL", "grpc", "tritonclient", "lancedb", "psycopg", "qdrant_client", "pymilvus"}
assert not heavy & set(sys.modules), "import tritonclip_search"
tritonclip_search.open_collection
assert not heavy - {"numpy"} & set(sys.modules), "naming open_collection"
tritonclip_search.open_store("archive").names()
assert not heavy - {"numpy"} & set(sys.modules), "opening a folder"
assert not {"torch", "onnx", "tritonclip_export"} & set(sys.modules)
"""


def test_a_store_in_a_folder_needs_nothing_but_numpy() -> None:
    subprocess.run([sys.executable, "-c", LAZY], check=True)


def test_every_public_name_is_there() -> None:
    for name in tritonclip_search.__all__:
        assert getattr(tritonclip_search, name) is not None
    with pytest.raises(AttributeError, match="open_colection"):
        tritonclip_search.open_colection  # noqa: B018


def test_every_error_is_a_tritonclip_error_and_public() -> None:
    raised = [e for e in vars(errors).values() if isinstance(e, type)]
    ours = {e.__name__ for e in raised if e.__module__ == errors.__name__}
    assert all(issubclass(error, TritonClipError) for error in raised)
    assert ours <= set(tritonclip_search.__all__)


def test_a_missing_collection_is_told_with_its_store_and_those_that_are_there() -> None:
    error = pickle.loads(pickle.dumps(errors.CollectionNotFound("pres", "archive", ["press"])))
    assert (error.name, error.store, error.others) == ("pres", "archive", ("press",))
    assert str(error) == "there is no collection 'pres' in archive; there are: press"

import pickle
import subprocess
import sys

import pytest

import tritonclip
from tritonclip import errors

LAZY = """
import sys, tritonclip
heavy = {"numpy", "PIL", "grpc", "aiohttp", "tritonclient"}
assert not heavy & set(sys.modules), "import tritonclip"
tritonclip.Client
assert not heavy - {"numpy"} & set(sys.modules), "naming Client"
tritonclip.Client("127.0.0.1:1").close()
assert "grpc" in sys.modules and not {"aiohttp", "gevent", "torch", "onnx"} & set(sys.modules)
"""


def test_heavy_libraries_are_imported_only_when_needed():
    subprocess.run([sys.executable, "-c", LAZY], check=True)


def test_every_public_name_is_there():
    for name in tritonclip.__all__:
        assert getattr(tritonclip, name) is not None
    assert set(tritonclip.__all__) == set(dir(tritonclip))
    with pytest.raises(AttributeError, match="Clent"):
        tritonclip.Clent  # noqa: B018


def test_every_error_is_a_tritonclip_error_and_public():
    raised = [e for e in vars(errors).values() if isinstance(e, type)]
    assert all(issubclass(error, errors.TritonClipError) for error in raised)
    assert {error.__name__ for error in raised} <= set(tritonclip.__all__)


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(errors.ImageError("too large", 3, "a.jpg")))
    assert (error.reason, error.index, error.source) == ("too large", 3, "a.jpg")
    assert str(error) == "image 3 (a.jpg): too large"

"""What executes the encoders inside Triton, and on what.

Imports nothing, so that the command line has these names before it needs anything heavy.
"""

from typing import Literal

Runtime = Literal["python", "onnxruntime", "tensorrt", "openvino"]
IN_PYTHON: tuple[Runtime, ...] = ("python", "openvino")
"""Those that need no other backend of Triton than the one for Python."""

Device = Literal["gpu", "cpu"]

Accelerator = Literal["cuda", "tensorrt"]
"""What executes an ONNX graph on a GPU, inside ONNX Runtime."""

"""An encoder as an ONNX graph: traced, opened, checked."""

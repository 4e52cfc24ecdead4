"""What ONNX operators need in lower precision: the data behind the policy.

Operators that are in no set compute in the lower precision, with their sums in FP32, as tensor
cores do: matrix products, convolutions, additions, and LayerNormalization, whose `stash_type` keeps
its statistics in FP32.
"""

from __future__ import annotations

# What lower precision is for.
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"})

# Sums over many values, and functions whose inner steps overflow or cancel in half precision.
# The casts around them cost nothing: TensorRT fuses them into the kernel (docs/precision.md).
IN_FP32 = frozenset(
    {
        *("Softmax", "LogSoftmax", "LpNormalization", "InstanceNormalization"),
        *("GroupNormalization", "RMSNormalization", "BatchNormalization"),
        *("ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceLogSumExp"),
        *("GlobalAveragePool", "AveragePool", "CumSum", "Range", "ConstantOfShape", "Resize"),
        *("Pow", "Sqrt", "Exp", "Log", "Reciprocal", "Sin", "Cos"),
        *(
            "Gelu",
            "Erf",
            "Tanh",
            "Sigmoid",
            "Softplus",
            "HardSigmoid",
            "HardSwish",
            "Swish",
            "Mish",
        ),
    }
)

# They move values and compute nothing: their precision is that of what they move.
MOVES = frozenset(
    {
        *("Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile"),
        *("Gather", "GatherND", "GatherElements", "Split", "Identity", "Pad", "Concat"),
        *("DepthToSpace", "SpaceToDepth", "Trilu"),
    }
)

# What puts an attention mask on scores.
MASKS = frozenset({"Add", "Where"})

# Not in the graphs of `export`, and not what TensorRT compiles well.
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})

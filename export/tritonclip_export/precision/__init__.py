"""Precision as a property of the graph: FP16, BF16 and INT8 encoders made from the FP32 ones.

policy        which nodes stay in FP32, by construction and by measurement
activations   what is measured for that, on real inputs
scaling       weights made smaller by a power of two, where a product would overflow
rewrite       the types and casts of the graph
emulation     running such a graph on a CPU
int8          dynamic quantisation, for the CPU runtimes
bisection     which layer is to blame when a tolerance is missed
artifacts     all of it, for a bundle
"""

from tritonclip_export.precision.artifacts import write

__all__ = ["write"]

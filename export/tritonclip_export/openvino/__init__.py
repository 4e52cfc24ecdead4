"""OpenVINO: the encoders as models that Intel's library executes on CPUs.

library       finding it, and what it executes on this CPU
running       its models, opened
quantisation  INT8 by NNCF, calibrated on real inputs
artifacts     all of it, for a bundle
"""

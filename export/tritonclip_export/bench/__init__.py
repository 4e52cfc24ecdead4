"""Load on a running server, and what it answers with: throughput, latency, where the time goes.

`measure` runs one load and gives a `Measurement`; a `Report` of them is what `tritonclip bench`
writes. The generator is separate processes (`workers`) whose own CPU time is measured beside the
server's, because on one machine the two compete.
"""

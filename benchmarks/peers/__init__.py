"""Other servers of CLIP, each installed into an environment of its own and started on loopback.

A module for each; `PEERS` lists them. What they have in common is in `peer`.
"""

from benchmarks.peers.clip_server import ONNX, TORCH
from benchmarks.peers.fastapi_service import FASTAPI
from benchmarks.peers.infinity import INFINITY

PEERS = (INFINITY, ONNX, TORCH, FASTAPI)

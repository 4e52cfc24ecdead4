"""Other servers of CLIP, each installed into an environment of its own and started on loopback.

A module for each; `PEERS` lists them. What they have in common is in `peer`.
"""

from peers.clip_server import ONNX, TORCH
from peers.fastapi_service import FASTAPI
from peers.infinity import INFINITY

PEERS = (INFINITY, ONNX, TORCH, FASTAPI)

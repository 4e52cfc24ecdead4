"""Whether Triton's system shared memory pays off for encoded images, on one host.

The same requests with their images in the gRPC message, in a shared memory region, and in a region
with another one for the answers. A caller writes its images into its region for every request, as
an application has to. The server decodes and resizes for real; its encoders are stubs, which makes
any difference look larger than with a model.
"""

from __future__ import annotations

import argparse
import itertools
import mmap
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

import record
from servers import served
from tritonclip.endpoint import parse_endpoint
from tritonclip.grpc_wire import CHANNEL_OPTIONS, GrpcWire
from tritonclip.wire import InferRequest
from tritonclip_export.bench import workloads
from tritonclip_export.bench.usage import Meter, server_process
from tritonclip_export.bundle import Bundle

WORKLOADS = "jpeg-224x224,jpeg-640x480,jpeg-12mp"
BATCHES = (1, 16)
CALLERS = 2
ANSWER_BYTES = 2**20

Message = service_pb2.ModelInferRequest
Send = Callable[[list[bytes]], object]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each of three repeats")
    options = parser.parse_args()
    bundle = Bundle.load(options.bundle)
    figures: dict[str, dict[str, dict[str, float]]] = {}
    with served(bundle, stub=True) as server:
        for workload, batch in itertools.product(workloads.named(WORKLOADS), BATCHES):
            images = [workload.item(number) for number in range(batch)]
            name = f"{workload.name}, batch {batch}"
            figures[name] = _compared(
                server.grpc_url, f"{bundle.name}_image", images, options.seconds
            )
            for way, found in figures[name].items():
                row = "  ".join(f"{key} {value:9.2f}" for key, value in found.items())
                print(f"{name:24} {way:28} {row}", flush=True)
    print(record.save("shared-memory", {"callers": CALLERS, **figures}))


def _compared(
    url: str, model: str, images: list[bytes], seconds: float
) -> dict[str, dict[str, float]]:
    """Figures of each way; they take turns, so that what else the machine does is shared."""
    found: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    with ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(url, CHANNEL_OPTIONS))
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        ways = {
            "in the message": [_in_message(url, channel, model)] * CALLERS,
            "images in shared memory": [
                stack.enter_context(_in_region(stub, model, images, answers=False))
                for _ in range(CALLERS)
            ],
            "images and answers in shared memory": [
                stack.enter_context(_in_region(stub, model, images, answers=True))
                for _ in range(CALLERS)
            ],
        }
        for _ in range(3):
            for way, sends in ways.items():
                found[way].append(_measured(url, sends, images, seconds))
    return {
        way: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
        for way, turns in found.items()
    }


def _measured(url: str, sends: list[Send], images: list[bytes], seconds: float) -> dict[str, float]:
    """Closed loop of `CALLERS` threads."""
    pid = server_process(parse_endpoint(url))
    assert pid is not None
    for send in sends:
        send(images)
    latencies: list[float] = []
    server, cpu, began = Meter([pid]), time.process_time(), time.monotonic()

    def caller(send: Send) -> None:
        while (sent := time.monotonic()) < began + seconds:
            send(images)
            latencies.append(time.monotonic() - sent)

    with ThreadPoolExecutor(CALLERS) as threads:
        list(threads.map(caller, sends))
    elapsed, cpu = time.monotonic() - began, time.process_time() - cpu
    count = len(latencies) * len(images)
    return {
        "images_per_second": count / elapsed,
        "p50_ms": 1000 * statistics.median(latencies),
        "client_cpu_ms_per_image": 1000 * cpu / count,
        "server_cpu_ms_per_image": 1000 * server.read().cores * elapsed / count,
    }


def _in_message(url: str, channel: grpc.Channel, model: str) -> Send:
    wire = GrpcWire(parse_endpoint(url))
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def send(images: list[bytes]) -> object:
        call = wire.infer(InferRequest(model, "IMAGE", images))
        return call.read(infer(call.payload))

    return send


@contextmanager
def _in_region(stub: Any, model: str, images: list[bytes], *, answers: bool) -> Iterator[Send]:
    size = sum(map(len, InferRequest(model, "IMAGE", images).serialized()))
    with _region(stub, size) as (name, region), _region(stub, ANSWER_BYTES) as (out, answer):
        message = Message(model_name=model)
        tensor = message.inputs.add(name="IMAGE", datatype="BYTES", shape=[len(images), 1])
        tensor.parameters["shared_memory_region"].string_param = name
        tensor.parameters["shared_memory_byte_size"].int64_param = size
        output = message.outputs.add(name="EMBEDDING")
        if answers:
            output.parameters["shared_memory_region"].string_param = out
            output.parameters["shared_memory_byte_size"].int64_param = ANSWER_BYTES

        def send(images: list[bytes]) -> object:
            region.seek(0)
            for part in InferRequest(model, "IMAGE", images).serialized():
                region.write(part)
            response = stub.ModelInfer(message)
            shape = tuple(response.outputs[0].shape)
            raw = answer if answers else response.raw_output_contents[0]
            return np.frombuffer(raw, "<f4", count=shape[0] * shape[1]).reshape(shape).copy()

        yield send


@contextmanager
def _region(stub: Any, size: int) -> Iterator[tuple[str, mmap.mmap]]:
    name = f"tritonclip-{os.getpid()}-{time.monotonic_ns()}"
    file = Path("/dev/shm") / name
    with file.open("x+b") as opened:
        opened.truncate(size)
        region = mmap.mmap(opened.fileno(), size)
    stub.SystemSharedMemoryRegister(
        service_pb2.SystemSharedMemoryRegisterRequest(name=name, key=f"/{name}", byte_size=size)
    )
    try:
        yield name, region
    finally:
        stub.SystemSharedMemoryUnregister(
            service_pb2.SystemSharedMemoryUnregisterRequest(name=name)
        )
        file.unlink()


if __name__ == "__main__":
    main()

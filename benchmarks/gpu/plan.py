"""What is run on a card, in order of worth, how long each step may take, and how much of it is run.

python -m benchmarks.gpu.plan
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LEASE_SECONDS = 900
# What starting the machine and bringing the kit may take of it.
ARRIVAL_SECONDS = 300


@dataclass(frozen=True)
class Step:
    """A module of this package with `measure`.

    Attributes:
        name: of the module, and of its journal.
        needs: payloads that must have arrived.
        seconds: after which it is ended.
        about: what it answers.
        environment: the machine's own Python, or the server's, whose numpy is another.
    """

    name: str
    needs: tuple[str, ...]
    seconds: int
    about: str
    environment: Literal["machine", "server"] = "machine"


STEPS = (
    Step("ceiling", (), 15, "how fast this card multiplies matrices"),
    Step(
        "parity",
        ("tools", "onnxruntime"),
        170,
        "whether FP16 graphs hold on tensor cores, beside half() and autocast in torch",
    ),
    Step(
        "towers",
        ("tools", "onnxruntime"),
        220,
        "items a second of each tower, as a share of the ceiling",
    ),
    Step(
        "ensemble",
        ("tools", "onnxruntime", "server"),
        170,
        "images a second of the whole server, and where the time goes",
        "server",
    ),
    Step("tensorrt", ("tools",), 20, "how far TensorRT itself gets here"),
)


@dataclass(frozen=True)
class Scale:
    """How much is measured, and on what; checkpoints by their names in `checkpoints`.

    Attributes:
        device: as torch calls it.
        precision: of the graphs that run on it.
        cubed: the side of the plain matrix product.
        parity: checkpoints whose FP16 is judged.
        pictures: of the demo's, for zero-shot.
        towers: checkpoints whose throughput is measured.
        served: the same, for the whole ensemble.
        batches: of the towers; the first are worth most.
        graphs: those of them that CUDA graphs and compiled modules are tried at.
        compiled: torch.compile's modes, quick ones first.
        in_flight: requests at a time.
        seconds: of a figure.
        builders: processes that write bundles at the same time.
    """

    device: Literal["cuda", "cpu"]
    precision: Literal["fp16", "fp32"]
    cubed: int
    parity: tuple[str, ...]
    pictures: int
    towers: tuple[str, ...]
    served: tuple[str, ...]
    batches: tuple[int, ...]
    graphs: tuple[int, ...]
    compiled: tuple[str, ...]
    in_flight: tuple[int, ...]
    seconds: float
    builders: int


_OTHERS = ("ViT-B-16-SigLIP2", "EVA02-B-16", "convnext_base", "MobileCLIP-S1")
CARD = Scale(
    device="cuda",
    precision="fp16",
    cubed=8192,
    parity=("demo", "demo-times-8192", "ViT-B-32", "ViT-L-14", *_OTHERS),
    pictures=1940,
    towers=("ViT-L-14", "ViT-B-32", "ViT-SO400M-14-SigLIP2"),
    served=("ViT-L-14", "ViT-B-32"),
    batches=(64, 1, 256, 8),
    graphs=(64, 1),
    compiled=("reduce-overhead", "max-autotune"),
    in_flight=(64, 1, 256, 8),
    seconds=0.5,
    builders=5,
)

# The same code in miniature where there is no card. FP16 graphs are written and left alone there:
# ONNX Runtime is no measure for them on a CPU.
REHEARSAL = Scale(
    device="cpu",
    precision="fp32",
    cubed=256,
    parity=("demo", "demo-times-8192"),
    pictures=40,
    towers=("demo",),
    served=("demo",),
    batches=(2, 1),
    graphs=(2,),
    compiled=("reduce-overhead",),
    in_flight=(8, 1),
    seconds=0.25,
    builders=1,
)


def main() -> None:
    """Print the plan."""
    at = ARRIVAL_SECONDS
    print(f"   0 s  the machine starts, the kit arrives, bundles are written ({at} s)")
    for step in STEPS:
        print(f"{at:4} s  {step.name}: {step.about} ({step.seconds} s)")
        at += step.seconds
    print(f"{at:4} s  the end, of {LEASE_SECONDS} s")


if __name__ == "__main__":
    main()

"""Starts clip-server on random weights, which it cannot download. Runs in its own environment.

Arguments: the flow's YAML file, and the folder that takes the weights.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from clip_server.model import openclip_model
from jina import Flow

ARCHITECTURE = "ViT-B-32-quickgelu"  # what clip-server calls ViT-B-32::openai


def write_weights(folder: Path) -> None:
    """The state of the model, and both towers as ONNX with the inputs that clip-server feeds."""
    torch.manual_seed(0)
    model = open_clip.create_model(ARCHITECTURE).eval()
    torch.save(model.state_dict(), folder / "weights.pt")
    mask = torch.ones(2, 77, dtype=torch.int32)
    examples = {
        "visual.onnx": {"pixel_values": torch.zeros(2, 3, 224, 224)},
        "textual.onnx": {"input_ids": mask, "attention_mask": mask},
    }
    for file, inputs in examples.items():
        method = model.encode_image if file == "visual.onnx" else model.encode_text
        torch.onnx.export(
            _Tower(model, method).eval(),
            tuple(inputs.values()),
            str(folder / file),
            input_names=list(inputs),
            output_names=["output"],
            dynamic_axes={name: {0: "batch"} for name in (*inputs, "output")},
            opset_version=14,
            dynamo=False,
        )


class _Tower(torch.nn.Module):
    def __init__(
        self, model: torch.nn.Module, method: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, inputs: torch.Tensor, *ignored: torch.Tensor) -> torch.Tensor:
        # An input that does nothing is left out of the graph, and then refused when it is fed.
        return self.method(sum((0 * other for other in ignored), inputs))


def main(flow: str, folder: Path) -> None:
    """Write what is missing, then serve until the end."""
    torch.set_num_threads(int(os.environ["TORCH_THREADS"]))
    if not (folder / "complete").is_file():
        write_weights(folder)
        (folder / "complete").touch()
    openclip_model.download_model = lambda *_, **__: str(folder / "weights.pt")
    with Flow.load_config(flow) as started:
        started.block()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

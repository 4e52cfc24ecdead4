"""Random weights that tell inputs apart.

Freshly initialised towers hardly look at their input: residual branches start at zero, batch
normalisation counts on statistics that it has not seen, and what all inputs have in common (the
class token, the positions) is in charge. Photographs then differ by a few ten-thousandths, so an
error relative to that spread says little. `enliven` lets the signal flow, as training would.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

# What is measured on the inputs is rounded to this share of a standard deviation, so that another
# machine, which sums in another order, finds the same weights.
STEP = 1 / 2

# What a residual branch that begins at nothing is scaled by, on average. Deep towers can be trained
# because such branches are small beside what they are added to (De & Smith 2020, arXiv:2002.10444).
# Branches as large as that make a tower chaotic: each block enlarges whatever differs, and through
# RN50 a rounding error becomes a hundred times as large.
RESIDUAL = 1 / 8


@torch.no_grad()
def enliven(model: nn.Module, pixels: torch.Tensor, token_ids: torch.Tensor, *, seed: int) -> None:
    """Make a randomly initialised dual encoder sensitive to its inputs, in place.

    Matrices come to keep the size of their input, constant gains and biases are drawn at random
    (residual branches add a little), and every normalisation centres what it gives, channel by
    channel, over the inputs. Different photographs, and different captions, then have an average
    cosine between 0 and 0.85.

    Args:
        model: with `encode_image` and `encode_text`, in evaluation mode.
        pixels: different photographs, [n, 3, height, width], normalised.
        token_ids: different texts, [m, length].
        seed: of what is drawn; the same seed and inputs give the same weights.
    """
    _randomise(model, torch.Generator().manual_seed(seed))
    hooks = [hook for module in model.modules() if (hook := _calibration(module)) is not None]
    dual: Any = model
    try:
        dual.encode_image(pixels)
        dual.encode_text(token_ids)
    finally:
        for hook in hooks:
            hook.remove()


def _randomise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | _ConvNd):
            _preserve_variance(module.weight)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            _preserve_variance(module.in_proj_weight)
    for module in model.modules():
        kind = type(module).__name__
        if "T5Attention" in kind:
            _scale_queries(module)
        elif kind.endswith("PostNorm"):
            _start_at_nothing(module)
    for name, parameter in model.named_parameters():
        start = parameter.flatten()[0]
        # A single number is the logit scale or bias.
        if parameter.numel() > 1 and bool((parameter == start).all()):
            noise = torch.rand(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.2 * noise - 0.1)
            else:  # a branch begins at 0, or at its layer scale: 1e-6 to 0.1
                parameter.copy_((RESIDUAL if abs(start) < RESIDUAL else 1) * (0.5 + noise))


def _preserve_variance(weight: torch.Tensor) -> None:
    """Scale a matrix or a kernel to rows of unit length on average, as for independent inputs."""
    rows = weight.flatten(1)
    weight.mul_(len(rows) ** 0.5 / rows.norm().clamp_min(1e-12))


def _scale_queries(attention: Any) -> None:
    """Give T5's queries the scale that its attention leaves out.

    The weights are to make up for it (Raffel et al. 2020, arXiv:1910.10683; so do the initial ones
    of Mesh TensorFlow). Softmax would otherwise see eight times the logits, pick one key for each
    query, and turn a rounding error into another pick.
    """
    attention.q.weight.mul_(attention.key_value_proj_dim**-0.5)


def _start_at_nothing(block: Any) -> None:
    """Mark the normalisations that end both residual branches of a block as the branches' gains.

    They begin at 1, as normalisations elsewhere do, and make a branch as large as what it is added
    to: in a tower as deep as EVA-02's E/14, of 64 blocks, single precision was a sixth of the
    spread away from double.
    """
    block.norm1.weight.zero_()
    block.norm2.weight.zero_()


def _calibration(module: nn.Module) -> Any:
    """A hook that calibrates `module` when it runs, if it is a normalisation."""
    if isinstance(module, _BatchNorm):
        return module.register_forward_pre_hook(_measure)
    if "norm" in type(module).__name__.lower() and getattr(module, "bias", None) is not None:
        return module.register_forward_hook(_centre)
    return None


def _measure(norm: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Set the running statistics of a batch normalisation to those of its input."""
    others = [axis for axis in range(inputs[0].ndim) if axis != 1]
    variance, mean = torch.var_mean(inputs[0], others, correction=0)
    deviation = 2 ** _rounded(variance.clamp_min(1e-8).log2() / 2)
    norm.running_var.copy_(deviation**2)
    norm.running_mean.copy_(_rounded(mean / deviation) * deviation)


def _centre(norm: Any, _inputs: object, output: torch.Tensor) -> torch.Tensor:
    """Take the mean of what a normalisation gives from its bias."""
    # Channels are last, or second in a feature map.
    channels = output.ndim - 1 if output.shape[-1] == norm.bias.numel() else 1
    mean = _rounded(output.mean([axis for axis in range(output.ndim) if axis != channels]))
    norm.bias -= mean
    return output - mean.view([-1 if axis == channels else 1 for axis in range(output.ndim)])


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return (values / STEP).round() * STEP

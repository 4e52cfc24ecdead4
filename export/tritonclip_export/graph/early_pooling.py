"""Pooling before the last block's products instead of after them.

A tower whose embedding comes from one token (CLIP's class token, the end of a text) computes its
last block for all tokens and throws all but one away. Layers that treat every token alone need no
other, so the choice moves in front of them: the same numbers, without two thirds of the last
block's products. That is 5 % of a tower of twelve blocks, whatever runs it; no compiler that we
build for does it by itself.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

# They treat every element alone; beside tokens they may read numbers and vectors of channels.
ELEMENTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Neg", "Abs", "Cast", "Clip"),
        *("Gelu", "Erf", "Tanh", "Sigmoid", "Relu", "Exp", "HardSigmoid", "HardSwish", "Softplus"),
    }
)
PRODUCTS = frozenset({"MatMul"})
OVER_CHANNELS = frozenset({"LayerNormalization"})

TOKENS = 3
"""The rank of a tensor that has tokens."""


def pool_early(graph: Any) -> None:
    """Move every choice of one token a row as far towards the input as it goes, in place.

    Args:
        graph: an `onnx_ir.Graph` with shapes. What it computes stays the same.
    """
    for pool in [node for node in graph if _chooses_a_token(node)]:
        alone = _for_one_token(pool)
        if any(node.op_type in PRODUCTS for node in alone):
            _move(graph, pool, alone)


def _chooses_a_token(node: Any) -> bool:
    """Whether `node` makes [rows, channels] of [batch, tokens, channels], for others to go on."""
    if node.op_type not in ("Gather", "GatherND") or _rank(node.inputs[0]) != TOKENS:
        return False
    if node.outputs[0].is_graph_output():
        return False  # its name is the contract's; an embedding is normalised after this
    indices = node.inputs[1]
    if node.op_type == "Gather":
        return node.attributes.get_int("axis", 0) == 1 and _rank(indices) == 0
    of_pairs = _rank(indices) == 2 and indices.shape[1] == 2  # (row, token)
    return of_pairs and node.attributes.get_int("batch_dims", 0) == 0


def _for_one_token(pool: Any) -> set[Any]:
    """The nodes whose results only `pool` wants in the end, and that treat every token alone."""
    found: set[Any] = set()
    waiting = [pool.inputs[0]]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if (
            node is not None
            and node not in found
            and all(use.node is pool or use.node in found for use in value.uses())
            and not value.is_graph_output()
            and _treats_tokens_alone(node)
        ):
            found.add(node)
            waiting += [each for each in node.inputs if _rank(each) == TOKENS]
    return found


def _treats_tokens_alone(node: Any) -> bool:
    result = node.outputs[0]
    if node.domain or len(node.outputs) != 1 or _rank(result) != TOKENS:
        return False
    tokens = [value for value in node.inputs if _rank(value) == TOKENS]
    if not all(_same(value.shape[axis], result.shape[axis]) for value in tokens for axis in (0, 1)):
        return False  # one that is broadcast: positions, or something for all tokens
    if node.op_type in OVER_CHANNELS:
        return node.attributes.get_int("axis", -1) in (-1, TOKENS - 1)
    if node.op_type in PRODUCTS:
        return _rank(node.inputs[0]) == TOKENS and _rank(node.inputs[1]) == 2
    channels = [value for value in node.inputs if _rank(value) in (0, 1)]
    return node.op_type in ELEMENTWISE and len(tokens) + len(channels) == len(node.inputs)


def _move(graph: Any, pool: Any, alone: set[Any]) -> None:
    rows = pool.outputs[0].shape[0]
    chosen: dict[Any, Any] = {}

    def choose(value: Any) -> Any:
        if value not in chosen:
            node = ir.node(
                pool.op_type,
                [value, pool.inputs[1]],
                pool.attributes,
                name=f"{value.name}_pooled",
                metadata_props=dict(pool.metadata_props),
            )
            (result,) = node.outputs
            result.name, result.type = node.name, value.type
            result.shape = ir.Shape([rows, *value.shape[2:]])
            graph.insert_before(pool, node)
            chosen[value] = result
        return chosen[value]

    for node in alone:
        for index, value in enumerate(node.inputs):
            if _rank(value) == TOKENS and value.producer() not in alone:
                node.replace_input_with(index, choose(value))
    for node in alone:
        (result,) = node.outputs
        result.shape = ir.Shape([rows, *result.shape[2:]])
        if node.op_type in OVER_CHANNELS:
            node.attributes["axis"] = ir.AttrInt64("axis", -1)
    pool.outputs[0].replace_all_uses_with(pool.inputs[0])
    graph.remove(pool, safe=True)
    graph.sort()  # what finds the token stands after the nodes that now need it


def _rank(value: Any) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _same(one: Any, other: Any) -> bool:
    """Whether two axes are known to be equally long."""
    unknown = isinstance(one, ir.SymbolicDim) and one.value is None
    return not unknown and one == other

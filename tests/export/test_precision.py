"""Encoders in lower precision: near FP32, valid, and honest where they cannot be near."""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from stress import write_stressed
from tritonclip_export import precision, samples
from tritonclip_export.bundle import TOWERS, Bundle, Precision
from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.errors import BundleError, DiskSpaceError, ExportError, PrecisionError
from tritonclip_export.export.writing import export
from tritonclip_export.parity.figures import TOLERANCES, Tolerance, compare
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.precision import activations, bisection, layers, policy
from tritonclip_export.precision.emulation import round_in_fp32
from tritonclip_export.precision.lower import FLOATING, FP16
from tritonclip_export.precision.operators import PRODUCTS
from tritonclip_export.precision.rewrite import lower_precision
from tritonclip_export.precision.running import fp32_embeddings, onnx_embeddings
from tritonclip_export.precision.scaling import scale_products, scaled_products
from tritonclip_export.repository.assemble import assemble

LOWER: tuple[Precision, ...] = ("fp16", "bf16", "int8")
FLOATS = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return Inputs.read(samples.sample_images(), samples.sample_texts())


@pytest.fixture(scope="module")
def few() -> Inputs:
    """Enough where a graph is looked at, or is broken for all."""
    return Inputs.read(samples.sample_images()[:4], samples.sample_texts()[:8])


@pytest.fixture
def demo(bundle: Callable[[str], Bundle], tmp_path: Path) -> Bundle:
    """A copy of the demo bundle, to add to."""
    return Bundle.load(Path(shutil.copytree(bundle("demo").path, tmp_path / "demo")))


@pytest.fixture
def big(external_data_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the bundle with weights beside its graph, to add to."""
    return Bundle.load(Path(shutil.copytree(external_data_bundle.path, tmp_path / "b")))


@pytest.fixture(scope="module")
def stressed(
    checkpoint_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Bundle]:
    """Bundles of the demo checkpoint under stress."""
    home = tmp_path_factory.mktemp("stressed")
    made: dict[str, Bundle] = {}

    def get(kind: str) -> Bundle:
        if kind in made:
            return made[kind]
        how = {"scale": {"scale": 8192.0}, "offset": {"offset": 2000.0}}[kind]
        folder = write_stressed(checkpoint_folder("demo"), home / f"{kind}-checkpoint", **how)
        made[kind] = export(load(parse(str(folder))), home / kind, name=kind, max_batch=8)
        return made[kind]

    return get


def figures(bundle: Bundle, stage: str) -> tuple[float, float]:
    """Error relative to the spread, of images and of texts."""
    found = {figure.stage: figure for figure in bundle.info.parity}
    image, text = found[f"{stage} image"], found[f"{stage} text"]
    assert image.passed
    assert text.passed
    return image.relative_to_spread, text.relative_to_spread


def test_embeddings_that_export_kept_serve_for_the_same_graphs_and_inputs_only(
    demo: Bundle, inputs: Inputs
) -> None:
    batches = Batches.of(demo, inputs)
    fewer = Batches.of(demo, Inputs(inputs.images, inputs.texts[1:]))
    computed, of_fewer = onnx_embeddings(demo, batches), onnx_embeddings(demo, fewer)
    assert all(map(np.array_equal, astuple(fp32_embeddings(demo, fewer)), astuple(of_fewer)))
    demo.file(demo.artifact("text").file).unlink()  # what is computed from now on fails

    assert all(map(np.array_equal, astuple(fp32_embeddings(demo, batches)), astuple(computed)))
    with pytest.raises(ExportError):
        fp32_embeddings(demo, fewer)
    changed = tuple(a.model_copy(update={"sha256": "0" * 64}) for a in demo.info.artifacts)
    with pytest.raises(ExportError):
        fp32_embeddings(demo.with_info(artifacts=changed), batches)
    kept = demo.file(demo.info.baseline.file)
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"baseline\.npz differs .*export the checkpoint again"):
        fp32_embeddings(demo, batches)


@pytest.mark.parametrize("name", LOWER)
def test_the_demo_checkpoint_keeps_its_embeddings(
    name: Precision, demo: Bundle, inputs: Inputs
) -> None:
    written = precision.write(demo, name, inputs=inputs)

    errors = figures(written, name)
    # FP16 rounds to 11 bits, BF16 to 8, which shows: the one is right, not a copy of FP32.
    assert max(errors) < {"fp16": 2e-3, "bf16": 2e-2, "int8": 5e-2}[name]
    assert min(errors) > {"fp16": 1e-4, "bf16": 1e-3, "int8": 5e-3}[name]
    for tower in ("image", "text"):
        artifact = written.artifact(tower, precision=name)
        model = onnx.load(written.file(artifact.file))
        onnx.checker.check_model(model, full_check=True)
        assert [i.name for i in model.graph.input] == [
            "PIXELS" if tower == "image" else "TOKEN_IDS"
        ]
        assert model.graph.output[0].name == "EMBEDDING"
        assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        full = demo.file(demo.artifact(tower).file).stat().st_size
        share = {"fp16": 0.6, "bf16": 0.6, "int8": 0.6}[name]
        assert written.file(artifact.file).stat().st_size < share * full
    assert Bundle.load(demo.path) == written


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_products_are_lowered_and_statistics_are_not(
    name: Precision, demo: Bundle, few: Inputs
) -> None:
    written = precision.write(demo, name, inputs=few)

    model = ir.load(written.file(written.artifact("image", precision=name).file))
    low = ir.DataType[FP16.onnx] if name == "fp16" else ir.DataType.BFLOAT16
    types = {(node.op_type, node.outputs[0].dtype) for node in model.graph}
    assert {dtype for op, dtype in types if op in ("MatMul", "Gemm", "Conv")} == {low}
    fp32 = ("Softmax", "Gelu", "ReduceMean", "ReduceL2", "Sub", "Clip")
    assert {dtype for op, dtype in types if op in fp32} == {ir.DataType.FLOAT}
    norms = [node for node in model.graph if node.op_type == "LayerNormalization"]
    assert norms
    assert all(node.attributes["stash_type"].as_int() == 1 for node in norms)  # statistics: FP32


def test_casts_are_few(demo: Bundle, few: Inputs) -> None:
    written = precision.write(demo, "fp16", inputs=few)

    model = ir.load(written.file(written.artifact("image", precision="fp16").file))
    ops = [node.op_type for node in model.graph]
    # Two around each softmax, each GELU and the pooling; one from the pixels, one for the norm.
    assert ops.count("Cast") == 2 * (ops.count("Softmax") + ops.count("Gelu") + 1) + 3


@pytest.mark.parametrize("kind", ["scale", pytest.param("offset", marks=pytest.mark.slow)])
def test_a_tower_that_naive_half_precision_breaks_is_kept(
    kind: str, stressed: Callable[[str], Bundle], few: Inputs
) -> None:
    bundle = stressed(kind)
    batches = Batches.of(bundle, few)
    reference = onnx_embeddings(bundle, batches)

    loaded = load(parse(bundle.info.source.reference)).model.half()
    spec = bundle.info.image
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (spec.mean, spec.std))
    pixels = torch.from_numpy(np.concatenate(batches.pixels))
    with torch.inference_mode():
        naive = loaded.encode_image(((pixels / 255 - mean) / std).half(), normalize=True)
    broken = compare("", reference.images, naive.numpy(), TOLERANCES["fp16"])
    assert not broken.passed
    assert not broken.min_cosine >= 0.9  # NaN, for the scaled one

    for name in ("fp16", "bf16"):
        bundle = precision.write(bundle, name, inputs=few)
        assert max(figures(bundle, name)) < 2e-2
    for tower in TOWERS:
        graph = ir.load(bundle.file(bundle.artifact(tower, precision="fp16").file)).graph
        types = {node.outputs[0].dtype for node in graph if node.op_type in PRODUCTS}
        assert (scaled_products(graph) > 0) == (kind == "scale")
        assert types == {ir.DataType.FLOAT16} or (kind, tower) == ("offset", "text")


@pytest.mark.parametrize("hidden", [-np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("mask", ["Add(scores, hidden)", "Where(shown, scores, lowest)"])
def test_wide_scores_are_kept_where_they_are_computed_masked_or_not(
    mask: str, hidden: float, tmp_path: Path
) -> None:
    """A level that all scores share is nothing to a softmax, and all there is to rounding."""
    x, weights = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    x[:, 3] = 1
    constants = {
        "hidden": np.array([0, 0, hidden, 0], np.float32),
        "shown": np.array([True, True, False, True]),
        "lowest": np.array(hidden, np.float32),
    }
    file = tmp_path / "attention.onnx"

    for level, kept in ((0, False), (500, True)):
        weights[3] = level
        made = onnx.parser.parse_model(f"""
            <ir_version: 10, opset_import: ["" : 20]>
            attention (float[n, 4] X) => (float[n, 4] EMBEDDING) {{
                scores = MatMul(X, weights)
                masked = {mask}
                shares = Softmax(masked)
                EMBEDDING = MatMul(shares, weights)
            }}
        """)
        for name, array in {"weights": weights, **constants}.items():
            if name in {n for node in made.graph.node for n in node.input}:
                made.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        for node in made.graph.node:
            node.name = f"computes {node.output[0]}"
        onnx.save(onnx.shape_inference.infer_shapes(made), file)

        found = activations.measure(file, [x], FP16)

        stay = policy.stay_fp32(layers.load(file).graph, found, FP16)
        reasons = {node.name: why for node, why in stay.items()}
        assert ("rounding costs" in reasons.get("computes scores", "")) is kept
        assert found.largest["scores"] == pytest.approx(np.abs(x @ weights).max(), rel=1e-6)
        (embeddings,) = onnxruntime.InferenceSession(file).run(None, {"X": x})
        np.testing.assert_allclose(found.embeddings, embeddings, rtol=1e-5)


@pytest.mark.parametrize("product", ["MatMul(X, weights)", "Gemm(X, weights, bias)"])
@pytest.mark.parametrize("others", [2.0**12, 2.0**-10])
def test_a_product_that_overflows_runs_in_half_precision_with_smaller_weights(
    others: float, product: str, tmp_path: Path
) -> None:
    """Unless most of its weights would then be too small for half precision."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8, 8), np.uint8)
    last, weights = rng.normal(size=(2, 8, 8)).astype(np.float32)
    weights = (weights * np.float32(others)).astype(np.float16).astype(np.float32)
    weights[:, 0] = 2.0**14
    made = onnx.parser.parse_model(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        tower (uint8[n, 8] X) => (float[n, 8] EMBEDDING) {{
            near = Cast<to = 1>(X)
            inner = MatMul(near, last)
            wide = {product.replace("X", "inner")}
            normal = LayerNormalization(wide, gain)
            EMBEDDING = MatMul(normal, last)
        }}
    """)
    constants = {"weights": weights, "last": last, "gain": last[0], "bias": weights[1]}
    for name in {name for node in made.graph.node for name in node.input} & constants.keys():
        made.graph.initializer.append(onnx.numpy_helper.from_array(constants[name], name))
    for node in made.graph.node:
        node.name = node.output[0]
    file = tmp_path / "tower.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(made), file)
    found = activations.measure(file, [x], FP16)
    assert found.largest["wide"] > np.finfo(np.float16).max
    model = layers.load(file)

    scale_products(model.graph, found.largest, FP16)

    with layers.session(model) as session:
        (embeddings,) = session.run(None, {"X": x})
    np.testing.assert_array_equal(embeddings, found.embeddings)
    lower_precision(model.graph, FP16, set(policy.stay_fp32(model.graph, found, FP16)))
    types = {node.name: node.outputs[0].dtype for node in model.graph}
    scaled = others > 1
    assert types["wide"] == (ir.DataType.FLOAT16 if scaled else ir.DataType.FLOAT)
    round_in_fp32(model.graph, FP16)
    with layers.session(model) as session:
        (rounded,) = session.run(None, {"X": x})
    np.testing.assert_allclose(rounded, found.embeddings, rtol=0, atol=1e-2)


def test_layers_are_kept_by_pattern(demo: Bundle, few: Inputs) -> None:
    written = precision.write(
        demo, "fp16", inputs=few, keep_fp32=("*.blocks.0.mlp*", "transformer.resblocks.0*")
    )

    artifact = written.artifact("image", precision="fp16")
    assert artifact.kept_fp32 == ("*.blocks.0.mlp*", "transformer.resblocks.0*")
    products = [
        (layers.layer_of(node), node.outputs[0].dtype)
        for node in ir.load(written.file(artifact.file)).graph
        if node.op_type in ("MatMul", "Conv")
    ]
    kept = {layer for layer, dtype in products if dtype == ir.DataType.FLOAT}
    assert kept
    assert all(".blocks.0.mlp" in layer for layer in kept)
    assert any(dtype == ir.DataType.FLOAT16 for _, dtype in products)


def test_a_pattern_that_matches_nothing_is_refused(demo: Bundle, inputs: Inputs) -> None:
    with pytest.raises(PrecisionError, match=r"no layer is called 'trunk\.bloks\*'.*mean"):
        precision.write(demo, "fp16", inputs=inputs, keep_fp32=("trunk.bloks*",))
    assert Bundle.load(demo.path) == demo


@pytest.mark.parametrize(
    ("errors", "layer", "is_enough"),
    [
        ({"c": 1.0}, "c", True),
        ({"c": 1.0, "f": 1.0}, "c", False),
        ({"c": 1.0, "d": -1.0, "f": 1.0}, "f", True),  # not the first: what c breaks, d hides
        ({"b": 0.04, "d": 0.04, "g": 0.04}, "g", True),
        ({"c": float("nan"), "f": float("nan")}, "c", False),
        ({"c": 0.05}, None, True),
    ],
)
def test_whether_keeping_the_layer_that_was_found_is_enough_is_measured(
    errors: dict[str, float], layer: str | None, is_enough: bool
) -> None:
    def error_of(kept: list[str]) -> float:
        return abs(sum(error for name, error in errors.items() if name not in kept))

    found = bisection.worst_layer(list("abcdefgh"), error_of, tolerance=0.1)

    assert (found.layer if found else None) == layer
    if found:
        assert not found.error_with <= 0.1
        assert found.error_before <= 0.1
        assert found.is_enough == is_enough
        np.testing.assert_equal(found.error_kept, error_of([found.layer]))


def test_the_layer_that_breaks_a_tower_is_named(
    stressed: Callable[[str], Bundle], few: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what measurement says, the first layer that leaves FP16's range breaks it.

    It is not the only one, so keeping it is not what the user is told to do.
    """
    blind = dataclasses.replace(FP16, largest=float("inf"), damage=float("inf"))
    monkeypatch.setitem(FLOATING, "fp16", blind)
    bundle = stressed("scale")

    with pytest.raises(PrecisionError, match=r"The layer that breaks it is (\S+): .*bf16") as error:
        precision.write(bundle, "fp16", inputs=few, keep_fp32=("trunk.patch_embed*",))

    # The embedding is kept; the first block adds to it what FP16 cannot hold.
    assert error.value.layer.startswith("trunk.stages.0.blocks.0")
    assert "It is not the only one: kept in FP32 alone, it leaves nan. " in str(error.value)
    assert "--keep-fp32 PATTERN, or build it with --precision bf16" in str(error.value)


def test_what_misses_its_tolerance_leaves_the_bundle_as_it_was(
    demo: Bundle, few: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = precision.write(demo, "fp16", inputs=few)
    strict = Tolerance(relative_to_spread=7e-4, min_cosine=0.9999)
    monkeypatch.setitem(TOLERANCES, "fp16", strict)

    with pytest.raises(PrecisionError, match=r"'fp16 image'.*grows over many layers.*keep-fp32"):
        precision.write(before, "fp16", inputs=few, keep_fp32=("*.blocks.0.norm1", "ln_final"))

    assert Bundle.load(demo.path) == before
    before.check_files()


def test_the_second_time_has_nothing_to_do(demo: Bundle, inputs: Inputs) -> None:
    first = precision.write(demo, "fp16", inputs=inputs)
    file = first.file(first.artifact("image", precision="fp16").file)
    written = file.stat().st_mtime_ns

    steps: list[str] = []
    again = precision.write(first, "fp16", inputs=inputs, progress=steps.append)
    assert (again, steps, file.stat().st_mtime_ns) == (first, [], written)

    file.write_bytes(file.read_bytes()[:-1])  # damaged since
    precision.write(again, "fp16", inputs=inputs)
    assert Bundle.load(demo.path) == first
    first.check_files()


def test_another_precision_stands_beside_the_first(demo: Bundle, inputs: Inputs) -> None:
    both = precision.write(precision.write(demo, "fp16", inputs=inputs), "int8", inputs=inputs)

    assert both.precisions == ("fp16", "int8")
    assert {"onnx text", "fp16 text", "int8 text"} <= {p.stage for p in both.info.parity}


@pytest.mark.slow
def test_products_that_quantisation_hurts_stay_fp32(
    checkpoint_folder: Callable[[str], Path], tmp_path: Path, inputs: Inputs
) -> None:
    """One channel far above the others, as real towers have: its scale starves the rest.

    The next layer's bias takes it back, so in FP32 the checkpoint is what it was.
    """
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "checkpoint"
    shutil.copytree(checkpoint_folder("demo"), folder)
    weights = {k: v.float() for k, v in load_file(folder / "open_clip_model.safetensors").items()}
    block = "visual.trunk.stages.1.blocks.0"
    weights[f"{block}.norm2.bias"][3] += 500
    weights[f"{block}.mlp.fc1.bias"] -= 500 * weights[f"{block}.mlp.fc1.weight"][:, 3]
    save_file(weights, folder / "open_clip_model.safetensors")
    bundle = export(load(parse(str(folder))), tmp_path / "b", name="outlier", max_batch=8)

    written = precision.write(bundle, "int8", inputs=inputs)

    model = ir.load(written.file(written.artifact("image", precision="int8").file))
    products = {layers.layer_of(node) for node in model.graph if node.op_type == "MatMul"}
    assert "trunk.stages.1.blocks.0.mlp.fc1" in products
    assert "trunk.stages.1.blocks.1.mlp.fc1" not in products


@pytest.mark.parametrize("name", LOWER)
def test_weights_beside_the_graph_stay_beside_it(
    name: Precision, big: Bundle, tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for towers of more than two gigabytes."""
    monkeypatch.setattr(layers, "EXTERNAL_DATA_FROM_BYTES", 1_000_000)
    assert big.artifact("text").external_data == "text_encoder.onnx.data"

    written = precision.write(big, name, inputs=inputs)

    text = written.artifact("text", precision=name)
    assert text.external_data == f"text_encoder.{name}.onnx.data"
    assert written.file(text.external_data).stat().st_size > 1_000_000
    assert written.file(text.file).stat().st_size < 1_000_000
    written.check_files()
    plain = tmp_path / "plain"
    plain.touch()
    modes = {file.name: file.stat().st_mode for file in written.path.iterdir() if file.is_file()}
    assert modes == dict.fromkeys(modes, plain.stat().st_mode)  # for servers of other users, too


@pytest.mark.parametrize("name", LOWER)
def test_weights_that_a_repository_shares_are_lowered_as_well(
    name: Precision, big: Bundle, tmp_path: Path, inputs: Inputs
) -> None:
    """Half as large they need no file beside the graph, nor do those that stay as they are."""
    assemble([big], tmp_path / "repository", runtime="python")
    weights = big.file("text_encoder.onnx.data")
    assert weights.stat().st_nlink == 2
    before = {file.name for file in big.path.iterdir()}

    written = precision.write(big, name, inputs=inputs, keep_fp32=["transformer.resblocks.0.*"])

    written.check_files()
    expected = {f"{tower}_encoder.{name}.onnx" for tower in ("image", "text")}
    if name == "int8":  # which leaves the layout to ONNX Runtime
        expected |= {f"{file}.data" for file in expected}
    assert {file.name for file in written.path.iterdir()} - before == expected
    assert weights.stat().st_nlink == 2


def test_a_changed_graph_must_fit_into_the_temporary_folder(
    bundle: Callable[[str], Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resnet = bundle("resnet")
    model = layers.load(resnet.file(resnet.artifact("image").file))
    weights = next(iter(model.graph.initializers.values()))
    # 64 TiB, none of which is ever made.
    weights.const_value = ir.LazyTensor(
        lambda: pytest.fail("made"), dtype=ir.DataType.FLOAT, shape=ir.Shape([2**44])
    )
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    refused = f"about 67,108,.* MiB, and the disk of {tmp_path} has"
    with pytest.raises(DiskSpaceError, match=refused), layers.session(model):
        pass

    assert not list(tmp_path.iterdir())


def test_emulation_rounds_as_half_precision_kernels_do() -> None:
    """A product, a sum, an overflow: the graph in FP16, emulated, against PyTorch in FP16."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(33, 64)).astype(np.float16) for _ in range(2))
    left = ir.val("A", ir.DataType.FLOAT, (33, 64))
    half = ir.node("Cast", [left], {"to": ir.DataType.FLOAT16})
    half.outputs[0].dtype = ir.DataType.FLOAT16
    weight = ir.Value(
        name="B", type=ir.TensorType(ir.DataType.FLOAT16), const_value=ir.tensor(b.T.copy())
    )
    product = ir.node("MatMul", [half.outputs[0], weight])
    square = ir.node("Mul", [product.outputs[0], product.outputs[0]])
    big = ir.node("Mul", [square.outputs[0], square.outputs[0]])
    nodes = [half, product, square, big]
    for node in nodes[1:]:
        node.outputs[0].dtype = ir.DataType.FLOAT16
    last = ir.node("Cast", [big.outputs[0]], {"to": ir.DataType.FLOAT})
    last.outputs[0].dtype = ir.DataType.FLOAT
    rounded = ir.Graph(
        [left],
        [last.outputs[0]],
        nodes=[*nodes, last],
        initializers=[weight],
        opset_imports={"": 20},
    )
    round_in_fp32(rounded, FP16)

    with layers.session(ir.Model(rounded, ir_version=10)) as session:
        (emulated,) = session.run(None, {"A": a.astype(np.float32) * 4})

    expected = (torch.from_numpy(a * np.float16(4)) @ torch.from_numpy(b.T)).square().square()
    assert expected.isinf().any()
    assert expected.isfinite().any()
    np.testing.assert_array_equal(np.isinf(emulated), expected.isinf().numpy())
    finite = ~np.isinf(emulated)
    np.testing.assert_allclose(emulated[finite], expected.float().numpy()[finite], rtol=6e-3)


@pytest.mark.slow
def test_zero_shot_accuracy_at_every_precision(
    bundle: Callable[[str], Bundle],
    twemoji: dict[str, bytes],
    tmp_path: Path,
    inputs: Inputs,
) -> None:
    """The demo checkpoint, on all drawings of a style it was not trained on, one prompt."""
    written = Bundle.load(Path(shutil.copytree(bundle("demo").path, tmp_path / "demo")))
    emoji = Inputs(tuple(twemoji.values()), tuple(f"the {label} emoji" for label in twemoji))
    batches = Batches.of(written, emoji)
    batches = dataclasses.replace(batches, token_ids=batches.padded_ids)
    found: dict[str, tuple[float, np.ndarray]] = {}
    for name in ("fp32", *LOWER):
        written = precision.write(written, name, inputs=inputs)
        pair = onnx_embeddings(written, batches, name)
        chosen = (pair.images @ pair.texts.T).argmax(axis=1)
        found[name] = float((chosen == np.arange(len(chosen))).mean()), chosen

    exact, decided = found["fp32"]
    assert exact > 0.6
    allowed = {"fp16": (0.002, 0.005), "bf16": (0.005, 0.02), "int8": (0.01, 0.04)}
    for name, (loss, changed) in allowed.items():
        accuracy, chosen = found[name]
        assert accuracy >= exact - loss
        assert (chosen != decided).mean() <= changed

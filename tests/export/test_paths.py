"""No file that is read leads out of the folder it lies in, whatever it names and links to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from hollow_bundle import hollow_bundle
from tritonclip_export.bundle import Bundle, sha256_of
from tritonclip_export.checkpoint.loading import load, parse
from tritonclip_export.errors import BundleError, CheckpointError, RepositoryError
from tritonclip_export.repository.assemble import assemble

OUTSIDE = ["/etc/passwd", "../../etc/passwd", "engines/../../passwd", "..\\passwd", "", "."]
FIELDS = [
    ("artifacts", 0, "file"),
    ("artifacts", 1, "external_data"),
    ("text", "tokenizer"),
    ("baseline", "file"),
    ("tokens", 0, "file"),
]


def with_field(bundle: Bundle, place: Sequence[str | int], value: str) -> None:
    """Write `value` into `bundle.json`, with all else that the record there needs."""
    content = json.loads((bundle.path / "bundle.json").read_text())
    content["baseline"] = {"file": "text_encoder.onnx", "sha256": "0", "made_from": "0"}
    tokens = {"tower": "image", "layer": -1, "count": 1, "width": 1, "sha256": "0", "max_batch": 1}
    content["tokens"] = [{**tokens, "file": "image_encoder.onnx"}]
    *parents, last = place
    record = content
    for part in parents:
        record = record[part]
    record[last] = value
    (bundle.path / "bundle.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("place", FIELDS, ids=lambda place: ".".join(map(str, place)))
def test_a_bundle_names_only_what_is_in_it(
    place: Sequence[str | int], name: str, tmp_path: Path
) -> None:
    bundle = hollow_bundle(tmp_path / "bundle")
    with_field(bundle, place, "image_encoder.onnx")
    Bundle.load(bundle.path)

    with_field(bundle, place, name)

    with pytest.raises(BundleError, match=r"bundle.json is not valid: .*inside the folder"):
        Bundle.load(bundle.path)


def test_a_link_out_of_a_bundle_is_refused_though_its_content_is_right(tmp_path: Path) -> None:
    bundle = hollow_bundle(tmp_path / "bundle")
    file = bundle.path / "text_encoder.onnx"
    file.rename(tmp_path / "elsewhere.onnx")
    file.symlink_to("../elsewhere.onnx")
    assert sha256_of(file) == bundle.artifact("text").sha256

    with pytest.raises(BundleError, match=r"link that leads out of the bundle"):
        bundle.check_files()


def test_a_bundle_may_itself_be_behind_a_link_and_link_within(tmp_path: Path) -> None:
    bundle = hollow_bundle(tmp_path / "bundle")
    (bundle.path / "text_encoder.onnx").rename(bundle.path / "real.onnx")
    (bundle.path / "text_encoder.onnx").symlink_to("real.onnx")
    (tmp_path / "link").symlink_to("bundle")

    Bundle.load(tmp_path / "link").check_files()


@pytest.mark.parametrize("name", OUTSIDE)
def test_shards_of_weights_lie_beside_their_index(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    index = {"metadata": {}, "weight_map": {"logit_scale": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(CheckpointError, match=r"index.json is not an index of sharded weights"):
        load(parse(str(tmp_path)))


@pytest.mark.parametrize(
    "overlay",
    [
        'default_model_filename: "../../../tmp/model.py"',
        'cc_model_filenames { key: "8.9" value: "/tmp/evil.plan" }',
        'model_warmup { name: "x" inputs { key: "PIXELS" value { data_type: TYPE_UINT8 '
        'dims: [1] input_data_file: "../../../etc/passwd" } } }',
    ],
)
def test_an_overlay_names_no_file_outside_of_its_model(overlay: str, tmp_path: Path) -> None:
    bundle = hollow_bundle(tmp_path / "bundle")
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays/hollow_image_encoder.pbtxt").write_text(overlay)

    with pytest.raises(RepositoryError, match=r"names '.*', outside of its folder"):
        assemble(
            [bundle], tmp_path / "repository", runtime="python", overlays=tmp_path / "overlays"
        )

    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname"])
def test_a_graph_reads_no_weights_from_elsewhere(location: str, tmp_path: Path) -> None:
    """ONNX Runtime's own check, which everything that opens a graph relies on."""
    (tmp_path / "secret").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        weights.external_data.add(key=key, value=value)
    vector = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "g", [], [vector], [weights]
    )
    file = tmp_path / "bundle" / "graph.onnx"
    file.parent.mkdir()
    onnx.save(helper.make_model(graph), file)

    with pytest.raises(Exception, match="External data path"):
        onnxruntime.InferenceSession(str(file))

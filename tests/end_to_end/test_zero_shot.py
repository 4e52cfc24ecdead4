"""Zero-shot classification equals open_clip's own, through every path, to the last image."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import open_clip
import pytest
import torch
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from tritonclip import Client
from tritonclip_export.bundle import Bundle
from tritonclip_export.parity.inputs import Batches, Inputs
from tritonclip_export.parity.pairs import Pair, reference_embeddings
from tritonclip_export.precision.running import onnx_embeddings
from tritonclip_export.samples import sample_images
from tritonclip_export.server.server import Server

IMAGES = [path.read_bytes() for path in sample_images()]
LABELS = ["a cat", "an astronaut", "coffee", "a {curly} label", "grass"]


def open_clips_own(checkpoint: object, images: list[bytes], labels: list[str]) -> np.ndarray:
    """Probabilities by open_clip's `build_zero_shot_classifier` with OpenAI's 80 templates."""
    classifier = open_clip.build_zero_shot_classifier(
        checkpoint.model,
        checkpoint.tokenizer,
        labels,
        open_clip.OPENAI_IMAGENET_TEMPLATES,
        num_classes_per_batch=10,
    )
    inputs = Inputs(tuple(images), ("x",))
    vectors = torch.from_numpy(reference_embeddings(checkpoint, inputs).images)
    similarity = checkpoint.similarity
    logits = similarity.logit_scale * vectors @ classifier + similarity.logit_bias
    return (logits.sigmoid() if similarity.kind == "sigmoid" else logits.softmax(1)).numpy()


@pytest.mark.parametrize("name", ["demo", "siglip", "resnet"])
def test_probabilities_equal_open_clips_own(
    name: str, server: Server, dual_encoder: Callable[[str], object]
) -> None:
    expected = open_clips_own(dual_encoder(name), IMAGES, LABELS)

    with Client(server.grpc_url, model=name) as client:
        results = client.classify(IMAGES, LABELS, templates="openai")

    probabilities = np.array([result.probabilities for result in results])
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert [result.label for result in results] == [LABELS[i] for i in expected.argmax(1)]
    if name == "siglip":  # each label is judged alone
        assert not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("module", [triton_grpc, triton_http])
@pytest.mark.parametrize("name", ["demo", "siglip"])
def test_the_zero_shot_model_gives_the_clients_probabilities(
    module: object, name: str, server: Server
) -> None:
    templates = ["a photo of a {}.", "art of {}"]
    with Client(server.grpc_url, model=name) as client:
        expected = client.classify(IMAGES, LABELS, templates=templates)
    url = server.grpc_url if module is triton_grpc else server.http_url

    with module.InferenceServerClient(url) as client:

        def ask(**values: list[bytes]) -> np.ndarray:
            tensors = []
            for key, value in values.items():
                tensor = module.InferInput(key, [len(value)], "BYTES")
                tensor.set_data_from_numpy(np.array(value, np.object_))
                tensors.append(tensor)
            return client.infer(f"{name}_zero_shot", tensors).as_numpy("PROBABILITIES")

        labels = [label.encode() for label in LABELS]
        encoded = [template.encode() for template in templates]
        answer = ask(IMAGE=IMAGES, LABELS=labels, TEMPLATES=encoded)
        np.testing.assert_allclose(answer, [r.probabilities for r in expected], atol=1e-6)

        defaults = ask(IMAGE=IMAGES[:1], LABELS=labels)
        assert defaults.shape == (1, len(LABELS))
        for values, message in (
            ({"IMAGE": [b"garbage"], "LABELS": labels}, "image 0: not a supported image"),
            ({"IMAGE": IMAGES, "LABELS": labels, "TEMPLATES": [b"no place"]}, "has no {}"),
            ({"IMAGE": IMAGES[:1] * 33, "LABELS": labels}, "33 images; send 1 to 32"),
            ({"IMAGE": IMAGES[:1], "LABELS": [b"\xff"]}, "not UTF-8"),
        ):
            with pytest.raises(InferenceServerException, match=message) as failed:
                ask(**values)
            assert failed.value.status() in ("StatusCode.INVALID_ARGUMENT", "400")


def test_first_requests_that_come_together_embed_their_labels_once(server: Server) -> None:
    labels = [f"label {i} of a set that is new".encode() for i in range(100)]
    tensors = []
    for key, value in (("IMAGE", IMAGES[:1]), ("LABELS", labels)):
        tensor = triton_grpc.InferInput(key, [len(value)], "BYTES")
        tensor.set_data_from_numpy(np.array(value, np.object_))
        tensors.append(tensor)
    with triton_grpc.InferenceServerClient(server.grpc_url) as client:

        def texts() -> int:
            statistics = client.get_inference_statistics("demo_text_encoder", as_json=True)
            return int(statistics["model_stats"][0].get("inference_count", 0))

        def ask(_: int) -> np.ndarray:
            return client.infer("demo_zero_shot", tensors).as_numpy("PROBABILITIES")

        before = texts()
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(ask, range(8)))
        assert texts() - before == len(labels)
    np.testing.assert_allclose(answers, np.broadcast_to(answers[0], (8, 1, 100)), atol=1e-6)


@pytest.mark.slow
def test_accuracy_on_the_held_out_drawings_agrees_to_the_last_image(
    server: Server,
    bundle: Callable[[str], Bundle],
    dual_encoder: Callable[[str], object],
    twemoji: dict[str, bytes],
) -> None:
    """PyTorch, ONNX Runtime and the server choose the same of 1,940 names for every drawing."""
    names = list(twemoji)
    inputs = Inputs(tuple(twemoji.values()), tuple(f"an emoji of {n}" for n in names))

    pytorch = reference_embeddings(dual_encoder("demo"), inputs)
    onnx = onnx_embeddings(bundle("demo"), Batches.of(bundle("demo"), inputs))
    with Client(server.grpc_url, model="demo") as client:
        served = Pair(client.embed_images(inputs.images), client.embed_texts(inputs.texts))

    chosen = [(pair.images @ pair.texts.T).argmax(axis=1) for pair in (pytorch, onnx, served)]
    accuracy = float((chosen[0] == np.arange(len(names))).mean())
    assert accuracy > 0.6  # what its model card reports, with some room
    np.testing.assert_array_equal(chosen[1], chosen[0])
    np.testing.assert_array_equal(chosen[2], chosen[0])

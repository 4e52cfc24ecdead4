"""What a user gets from a real server: the checkpoint's own embeddings, whatever happens around."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from tritonclip import AsyncClient, Client, ImageError, ModelNotFound, TextError, WrongProtocol
from tritonclip_export.bundle import Bundle
from tritonclip_export.parity.inputs import Inputs
from tritonclip_export.parity.pairs import Pair, compare_pairs, reference_embeddings
from tritonclip_export.repository.assemble import assemble
from tritonclip_export.repository.execution import Execution
from tritonclip_export.samples import sample_images, sample_texts
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server

NAMES = ("demo", "siglip", "resnet", "chinese_clip")
IMAGES = [path.read_bytes() for path in sample_images()]
TEXTS = sample_texts()


@pytest.fixture(scope="module", params=["grpc", "http"])
def url(request: pytest.FixtureRequest, server: Server) -> str:
    """The server's address, once for each protocol."""
    return server.grpc_url if request.param == "grpc" else f"http://{server.http_url}"


@pytest.mark.parametrize("name", NAMES)
def test_served_embeddings_are_the_checkpoints_own(
    name: str, url: str, dual_encoder: Callable[[str], object]
) -> None:
    inputs = Inputs(tuple(IMAGES), tuple(TEXTS))
    reference = reference_embeddings(dual_encoder(name), inputs)

    with Client(url, model=name, batch_size=5) as client:
        served = Pair(client.embed_images(IMAGES), client.embed_texts(TEXTS))

    for figure in compare_pairs("served", reference, served):
        assert figure.passed, figure
    assert np.abs(served.images - reference.images).max() < 2e-6


def test_texts_of_the_family_are_in_its_language(
    server: Server, dual_encoder: Callable[[str], object]
) -> None:
    texts = ["一只猫坐在垫子上", "北京的秋天", "猫", "", "字" * 200]

    with Client(server.grpc_url, model="chinese_clip") as client:
        served = client.embed_texts(texts)
        alone = [client.embed_texts(text) for text in texts]

    reference = dual_encoder("chinese_clip").embed_texts(texts)
    np.testing.assert_allclose(served, reference, atol=2e-6)
    np.testing.assert_allclose(alone, reference, atol=2e-6)


def test_every_way_to_hand_over_an_image_gives_the_same_embedding(url: str, tmp_path: Path) -> None:
    picture = Image.open(io.BytesIO(IMAGES[2])).convert("RGB")
    file = tmp_path / "chelsea.png"
    picture.save(file)

    with Client(url, model="demo") as client:
        vectors = client.embed_images(
            [file, str(file), file.read_bytes(), picture, np.asarray(picture)]
        )
        single = client.embed_images(file)

    assert single.shape == (192,)
    for vector in vectors:
        np.testing.assert_array_equal(vector, single)


def test_a_batch_equals_its_items_one_by_one(server: Server) -> None:
    with Client(server.grpc_url, model="demo", batch_size=32) as packed:
        together = packed.embed_images(IMAGES), packed.embed_texts(TEXTS)
    with Client(server.grpc_url, model="demo", batch_size=1) as single:
        apart = single.embed_images(IMAGES), single.embed_texts(TEXTS)

    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def bad_images() -> dict[str, bytes]:
    huge = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(huge, "PNG")
    return {
        "empty": b"",
        "not a supported": b"garbage",
        "truncated": IMAGES[0][:5000],
        "12000 x 12000": huge.getvalue(),
    }


def test_a_bad_image_fails_alone_under_concurrent_load(server: Server) -> None:
    """Good and bad requests share dynamic batches; only the bad ones fail, each with its reason."""
    bad = list(bad_images().items())
    with Client(server.grpc_url, model="demo") as client:
        expected = client.embed_images(IMAGES)

    def good(turn: int) -> bool:
        i = turn % len(IMAGES)
        return np.allclose(client.embed_images(IMAGES[i]), expected[i], atol=1e-6)

    def wrong(turn: int) -> bool:
        reason, encoded = bad[turn % len(bad)]
        with pytest.raises(ImageError, match=reason):
            client.embed_images(encoded)
        return True

    with (
        Client(server.grpc_url, model="demo", concurrency=16) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        answers = threads.map(
            lambda turn: (wrong if turn % 3 == 0 else good)(turn // 2), range(240)
        )
        assert all(answers)
        assert client.health().ok


def test_token_ids_outside_the_vocabulary_cost_only_their_request(server: Server) -> None:
    """The encoder is asked directly, as a client with a tokenizer of its own would."""

    def ask(client: triton_grpc.InferenceServerClient, ids: np.ndarray) -> np.ndarray:
        tensor = triton_grpc.InferInput("TOKEN_IDS", list(ids.shape), "INT32")
        tensor.set_data_from_numpy(ids)
        answer = client.infer("demo_text_encoder", [tensor])
        return answer.as_numpy("EMBEDDING")

    good = np.array([[1, 2, 3, 0, 0, 0, 0, 0]], np.int32)
    bad = np.array([[1, 999_999, 3, 0, 0, 0, 0, 0]], np.int32)
    with (
        triton_grpc.InferenceServerClient(server.grpc_url) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        expected = ask(client, good)
        # While it is busy with a long batch, all that come after it meet in the next one.
        busy = threads.submit(ask, client, np.repeat(np.arange(1, 33, dtype=np.int32)[None], 32, 0))
        asked = [threads.submit(ask, client, ids) for ids in [good, bad, good] * 5]
        assert busy.result().shape == (32, 192)
        for turn, answer in enumerate(asked):
            if turn % 3 == 1:
                with pytest.raises(InferenceServerException, match="999999"):
                    answer.result()
            else:
                np.testing.assert_allclose(answer.result(), expected, atol=1e-6)


def test_bad_images_within_one_request_cost_only_themselves(url: str) -> None:
    reasons = list(bad_images())
    mixed = [*IMAGES[:3], *bad_images().values(), *IMAGES[3:6]]
    failures: list[ImageError] = []

    with Client(url, model="demo", batch_size=16) as client:
        vectors = client.embed_images(mixed, on_error=failures.append)
        expected = client.embed_images(IMAGES[:6])

    assert [failure.index for failure in failures] == [3, 4, 5, 6]
    for failure, reason in zip(failures, reasons, strict=True):
        assert reason in failure.reason
    assert np.isnan(vectors[3:7]).all()
    np.testing.assert_allclose(np.delete(vectors, range(3, 7), 0), expected, atol=1e-6)


def test_a_text_that_is_not_utf8_fails_alone(server: Server) -> None:
    def embed(*texts: bytes) -> np.ndarray:
        data = np.array([[text] for text in texts], np.object_)
        tensor = triton_grpc.InferInput("TEXT", list(data.shape), "BYTES")
        tensor.set_data_from_numpy(data)
        return client.infer("demo_text", [tensor]).as_numpy("EMBEDDING")

    with (
        triton_grpc.InferenceServerClient(server.grpc_url) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        pending = [
            threads.submit(embed, b"a cat", b"\xff\xfe" if i % 4 == 0 else b"a dog")
            for i in range(32)
        ]
        for i, answer in enumerate(pending):
            if i % 4 == 0:
                with pytest.raises(InferenceServerException, match="text 1: not UTF-8"):
                    answer.result()
            else:
                assert answer.result().shape == (2, 192)


async def test_the_async_client_gives_the_same(server: Server) -> None:
    with Client(server.grpc_url, model="siglip") as client:
        expected = client.embed_images(IMAGES), client.embed_texts(TEXTS)

    async with AsyncClient(server.grpc_url, model="siglip", batch_size=3) as client:
        images, texts = await asyncio.gather(client.embed_images(IMAGES), client.embed_texts(TEXTS))

    np.testing.assert_allclose(images, expected[0], atol=1e-6)
    np.testing.assert_allclose(texts, expected[1], atol=1e-6)


def test_a_long_stream_keeps_order_and_reads_only_as_far_as_it_needs(server: Server) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            yield IMAGES[read % len(IMAGES)]
            read += 1

    with Client(server.grpc_url, model="demo", batch_size=4, concurrency=4) as client:
        expected = client.embed_images(IMAGES)
        stream = client.stream_images(endless())
        for i in range(300):
            np.testing.assert_allclose(next(stream), expected[i % len(IMAGES)], atol=1e-6)
        assert read < 300 + 2 * 4 * 4 + 4


def test_the_port_of_the_metrics_is_told_from_that_of_the_models(server: Server) -> None:
    with (
        Client(f"http://{server.metrics_url}") as client,
        pytest.raises(WrongProtocol, match="8002 is that of its metrics"),
    ):
        client.embed_texts("a cat")


def test_several_models_on_one_server_must_be_named(server: Server) -> None:
    with Client(server.grpc_url) as client, pytest.raises(ModelNotFound, match=r"demo.*siglip"):
        client.embed_texts("a cat")
    with Client(server.grpc_url, model="dmeo") as client, pytest.raises(ModelNotFound):
        client.embed_texts("a cat")


def test_a_client_learns_everything_from_the_server(
    url: str, bundle: Callable[[str], Bundle]
) -> None:
    for name in NAMES:
        expected = bundle(name).info
        with Client(url, model=name) as client:
            info = client.info()
        assert (info.name, info.dim) == (name, expected.dim)
        assert info.similarity == expected.similarity.kind
        assert info.logit_scale == expected.similarity.logit_scale
        assert info.logit_bias == expected.similarity.logit_bias
        assert (info.image_height, info.image_width) == (
            expected.image.height,
            expected.image.width,
        )
        assert info.context_length == expected.text.context_length
        assert info.weights_sha256 == expected.source.weights_sha256
        assert info.max_batch_size == 32


def test_too_large_an_image_is_refused_before_it_travels(server: Server) -> None:
    with Client(server.grpc_url, model="demo") as client:
        limit = client.info().max_image_bytes
        with pytest.raises(ImageError, match=f"{limit:,}"):
            client.embed_images(bytes(limit + 1))


def test_too_long_a_text_is_refused_before_it_travels_and_by_the_server(server: Server) -> None:
    with Client(server.grpc_url, model="demo") as client:
        limit = client.info().max_text_bytes
        longest, longer = "ä" * (limit // 2), "ä" * (limit // 2) + "a"
        failed: list[TextError] = []
        vectors = client.embed_texts([longest, longer, "a cat"], on_error=failed.append)
        assert np.isnan(vectors).any(axis=1).tolist() == [False, True, False]
        assert str(limit) in str(failed[0])
        assert failed[0].index == 1

    with triton_grpc.InferenceServerClient(server.grpc_url) as raw:
        for model in ("demo_text", "demo_text_windows"):
            data = np.array([[b"a cat"], [longer.encode()]], np.object_)
            tensor = triton_grpc.InferInput("TEXT", [2, 1], "BYTES")
            tensor.set_data_from_numpy(data)
            with pytest.raises(InferenceServerException, match=f"text 1: .*limit of {limit}"):
                raw.infer(model, [tensor])


def test_a_text_of_the_wrong_type_names_itself(server: Server) -> None:
    with Client(server.grpc_url, model="demo") as client, pytest.raises(TextError, match="1"):
        client.embed_texts(["a cat", 5])


def test_concurrent_texts_of_different_lengths_share_a_batch(server: Server) -> None:
    # Each of its own length, and never seen before, so that none comes from the response cache.
    texts = ["so many" + " words" * count for count in range(24)]

    def executions(triton: triton_grpc.InferenceServerClient) -> int:
        model = triton.get_inference_statistics("demo_text_encoder").model_stats[0]
        return int(model.execution_count)

    with (
        Client(server.grpc_url, model="demo", batch_size=1, concurrency=24) as client,
        triton_grpc.InferenceServerClient(server.grpc_url) as triton,
    ):
        before = executions(triton)
        vectors = client.embed_texts(texts)
        assert executions(triton) - before < len(texts)
        alone = np.stack([client.embed_texts(text) for text in texts])
    assert np.abs(vectors - alone).max() < 1e-6


def test_repeated_texts_come_from_the_response_cache(server: Server) -> None:
    def hits() -> int:
        with triton_grpc.InferenceServerClient(server.grpc_url) as client:
            statistics = client.get_inference_statistics("demo_text").model_stats[0]
        return int(statistics.inference_stats.cache_hit.count)

    before = hits()
    with Client(server.grpc_url, model="demo") as client:
        first = client.embed_texts("a text that no other test sends")
        np.testing.assert_array_equal(client.embed_texts("a text that no other test sends"), first)
    assert hits() == before + 1


@pytest.fixture
def small_repository(bundle: Callable[[str], Bundle], tmp_path: Path) -> Path:
    """Of one bundle, for servers that a test starts itself."""
    assemble([bundle("resnet")], tmp_path / "repository", runtime="python")
    return tmp_path / "repository"


def test_a_server_bound_to_a_core_stays_on_it(small_repository: Path, one_core: int) -> None:
    """As in a container with a cpuset, where ONNX Runtime would bind threads to other cores."""
    before = processes()
    with (
        Server(small_repository, ports=Ports(0, 0, 0)) as server,
        Client(server.grpc_url) as client,
    ):
        client.embed_texts(["a cat"])
        cores = set().union(*map(bound_to, processes() - before))

    assert cores == {str(one_core)}


@pytest.mark.slow
def test_instances_share_the_requests(bundle: Callable[[str], Bundle], tmp_path: Path) -> None:
    execution = Execution(instances=2, threads=1)
    assemble([bundle("resnet")], tmp_path / "repository", runtime="python", execution=execution)
    before = processes()
    with (
        Server(tmp_path / "repository", ports=Ports(0, 0, 0)) as server,
        Client(server.grpc_url) as client,
        ThreadPoolExecutor(8) as callers,
    ):
        stubs = [psutil.Process(pid) for pid in processes() - before]
        encoders = [s for s in stubs if any("resnet_text_encoder" in a for a in s.cmdline())]
        started = [stub.cpu_times().user for stub in encoders]
        list(callers.map(client.embed_texts, [f"text {n}" for n in range(800)]))
        spent = [s.cpu_times().user - t for s, t in zip(encoders, started, strict=True)]

    assert len(spent) == 2
    assert min(spent) > 0.35 * sum(spent)


def processes() -> set[int]:
    """What runs below this process."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


def bound_to(pid: int) -> set[str]:
    """The cores that the threads of a process may run on, as the kernel writes them."""
    found = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = (thread / "status").read_text()
        found.add(status.partition("Cpus_allowed_list:")[2].split()[0])
    return found


def test_a_client_lives_through_a_restart_of_its_server(small_repository: Path) -> None:
    with Server(small_repository, ports=Ports(0, 0, 0)) as first:
        ports = Ports(*(int(u.rsplit(":")[-1]) for u in (first.http_url, first.grpc_url)), 0)
        client = Client(first.grpc_url, retries=30)
        before = client.embed_texts(TEXTS)
    answer: list[np.ndarray] = []
    waiting = threading.Thread(target=lambda: answer.append(client.embed_texts(TEXTS)))
    waiting.start()
    with Server(small_repository, ports=ports):
        waiting.join(60)
        client.close()

    assert len(answer) == 1, "the request that was sent while the server was down got no answer"
    np.testing.assert_allclose(answer[0], before, atol=1e-6)

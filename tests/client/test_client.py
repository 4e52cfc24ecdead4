import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import numpy as np
import pytest
from PIL import Image

from tritonclip import (
    Client,
    ClientClosed,
    ImageError,
    InvalidArgument,
    InvalidInput,
    ModelMismatch,
    ModelNotFound,
    ServerError,
    TextError,
)

RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture
def clip(url):
    with Client(url) as client:
        yield client


def hues(vectors):
    """The first channel of each vector, brought back to 0..255: the stub embeds mean colours."""
    return [round(float(32 * v[0] / v[3])) for v in vectors]


def test_info_tells_what_the_server_knows(clip, model_info):
    assert clip.info() == model_info


def test_health_of_a_server_that_is_well(clip):
    health = clip.health()
    assert health.ok
    assert health.live
    assert health.ready
    assert health.server_version.startswith("2.")
    assert health.detail == ""


def test_many_images_give_a_matrix_of_unit_vectors(clip, png):
    vectors = clip.embed_images(png((i, 0, 0)) for i in range(50))
    assert vectors.shape == (50, 4)
    assert vectors.dtype == np.float32
    assert vectors.flags.writeable
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert hues(vectors) == list(range(50))


def test_one_item_gives_one_vector_and_none_an_empty_matrix(clip, png):
    vector = clip.embed_images(png(RED))
    assert vector.shape == clip.embed_texts("red").shape == (4,)
    assert vector.flags.writeable
    assert vector.dtype == np.float32
    assert clip.embed_images([]).shape == clip.embed_texts(iter(())).shape == (0, 4)


def test_every_kind_of_image_gives_the_same_vector(clip, png, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(png(RED))
    pixels = np.full((4, 4, 3), RED, dtype=np.uint8)
    images = [path, str(path), png(RED), bytearray(png(RED)), memoryview(png(RED)), pixels]
    vectors = clip.embed_images([*images, Image.fromarray(pixels)])
    assert (vectors == vectors[0]).all()


def test_texts_are_sent_as_utf_8(clip):
    first, second, third = clip.embed_texts(["naïve 猫", "naïve 犬", "naïve 猫"])
    assert (first == third).all()
    assert (first != second).any()


def test_slow_items_do_not_change_the_order(url, png):
    images = [(b"sleep 0.3;" if i in (0, 7) else b"") + png((i, 0, 0)) for i in range(24)]
    with Client(url, batch_size=2, concurrency=4) as clip:
        assert hues(clip.embed_images(images)) == list(range(24))


def test_requests_are_in_flight_together_but_no_more_than_allowed(url, png):
    # The stub has two instances, so four requests of 0.3 s take 0.6 s, or 1.2 s one by one.
    slow = [b"sleep 0.3;" + png(RED)] * 4
    with Client(url, batch_size=1, concurrency=4) as clip:
        start = time.monotonic()
        clip.embed_images(slow)
        assert time.monotonic() - start < 1.1
    with Client(url, batch_size=1, concurrency=1) as clip:
        start = time.monotonic()
        clip.embed_images(slow)
        assert time.monotonic() - start > 1.15


def test_threads_with_one_image_each_share_what_is_allowed_in_flight(url, png):
    slow = b"sleep 0.3;" + png(RED)
    for concurrency, at_least, at_most in ((4, 0.5, 1.1), (1, 1.15, 5)):
        with Client(url, concurrency=concurrency) as clip, ThreadPoolExecutor(4) as pool:
            clip.info()
            start = time.monotonic()
            list(pool.map(clip.embed_images, [slow] * 4))
            assert at_least < time.monotonic() - start < at_most


def test_a_stream_is_lazy_and_may_be_endless(url, png):
    numbers = count()
    with Client(url, batch_size=2, concurrency=3) as clip:
        stream = clip.stream_images(png((i % 256, 0, 0)) for i in numbers)
        assert next(numbers) == 0  # nothing is read before the first vector is asked for
        assert hues(islice(stream, 200)) == [i % 256 for i in range(1, 201)]
        stream.close()
        # Two in a request, three requests in flight and one more packed.
        assert next(numbers) <= 201 + 2 * (3 + 1)


def test_an_error_in_the_callers_iterable_comes_through(clip):
    def texts():
        yield from ["red"] * 100
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        clip.embed_texts(texts())
    assert clip.embed_texts("red").shape == (4,)


def test_the_first_bad_image_is_raised_with_its_place(clip, png, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"image 20 \(.*broken.jpg\): .*cannot identify") as caught:
        clip.embed_images([png(RED)] * 20 + [path] + [png(RED)] * 20)
    assert caught.value.index == 20
    assert caught.value.source == str(path)
    assert isinstance(caught.value.__cause__, InvalidInput)


def test_bad_images_cost_only_themselves(clip, png):
    images = [png((i, 0, 0)) for i in range(40)]
    bad = {3: b"broken", 4: b"", 17: "missing.jpg", 18: b"broken", 39: np.zeros(3)}
    for i, image in bad.items():
        images[i] = image
    reported = []
    vectors = clip.embed_images(images, on_error=reported.append)
    assert [error.index for error in reported] == sorted(bad)
    assert set(np.flatnonzero(np.isnan(vectors).any(axis=1))) == set(bad)
    good = [i for i in range(40) if i not in bad]
    assert hues(vectors[good]) == good


def test_a_single_bad_image_can_be_reported_too(clip):
    reported = []
    assert np.isnan(clip.embed_images("missing.jpg", on_error=reported.append)).all()
    assert reported[0].reason == "no such file"


def test_bad_texts_cost_only_themselves(clip):
    reported = []
    stream = clip.stream_texts(["red", "forbidden", 3, "red"], on_error=reported.append)
    vectors = list(stream)
    assert [bool(np.isnan(v).any()) for v in vectors] == [False, True, True, False]
    assert [str(error) for error in reported] == [
        "text 1 ('forbidden'): ValueError forbidden in forbidden",
        "text 2: is a int, not a str",
    ]
    with pytest.raises(TextError, match="is a bytes, not a str; decode it first"):
        clip.embed_texts(b"red")


def test_long_complaints_about_many_items_arrive_whole(clip):
    # gRPC carries them in a trailer, whose size it limits to 8 KiB unless told otherwise.
    texts = ["forbidden " + "ü" * 500] * 16
    reported = []
    clip.embed_texts(texts, on_error=reported.append)
    assert [error.index for error in reported] == list(range(16))
    assert reported[-1].reason.endswith(texts[0])


def test_an_exception_in_on_error_ends_the_call(clip):
    def stop(error):
        raise KeyError(error.index)

    with pytest.raises(KeyError, match="2"):
        clip.embed_texts(["red", "red", "forbidden"], on_error=stop)


def test_images_too_large_for_the_server_are_not_sent(clip):
    with pytest.raises(ImageError, match="1,000,000 bytes"):
        clip.embed_images([b"x" * 1_000_001])


def test_a_failing_server_is_no_fault_of_the_input(clip):
    with pytest.raises(ServerError, match="kaboom"):
        clip.embed_texts("crash;red")
    with pytest.raises(ServerError, match=r"\[1, 3\], not \[1, 4\]"):
        clip.embed_texts("narrow;red")
    with pytest.raises(InvalidInput, match=r"refused a request: .*no idea"):
        clip.embed_texts("odd;red", on_error=print)


def test_classify_finds_the_label(clip, png):
    one = clip.classify(png(RED), ["green", "red"])
    assert one.label == "red"
    assert one.probability > 0.99
    several = clip.classify((png(c) for c in (RED, GREEN, RED)), ["green", "red"])
    assert [c.label for c in several] == ["red", "green", "red"]
    assert clip.classify([], ["red"]) == []


def test_classify_follows_the_similarity_the_model_was_trained_with(crowded_server, png):
    cosine = 1 / (1 + (32 / 255) ** 2)
    with Client(crowded_server.grpc, model="siglip") as clip:
        assert clip.info().similarity == "sigmoid"
        result = clip.classify(png(RED), ["red", "a red thing", "green"], templates="plain")
    expected = 1 / (1 + np.exp(-(10 * np.array([1, 1, 1 - cosine]) - 5)))
    assert result.probabilities == pytest.approx(expected, abs=1e-4)


def test_label_embeddings_are_kept_and_shared(clip):
    first = clip.label_embeddings(["red", "{}"], templates="openai")
    assert first.shape == (2, 4)
    assert np.linalg.norm(first, axis=1) == pytest.approx(1)
    assert clip.label_embeddings(("red", "{}"), templates="openai") is first
    assert clip.label_embeddings(["red", "{}"], templates="photo") is not first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 0


def test_threads_that_come_together_embed_a_label_set_once(clip):
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(clip.label_embeddings, ["red", "a new one"]) for _ in range(8)]
    assert len({id(answer.result()) for answer in asked}) == 1


def test_label_embeddings_average_the_prompts(clip):
    mean = clip.embed_texts(["one cat", "two cat"]).mean(axis=0)
    (label,) = clip.label_embeddings(["cat"], templates=["one {}", "two {}"])
    assert label == pytest.approx(mean / np.linalg.norm(mean))


def test_similarity_is_the_cosine(clip, png):
    matrix = clip.similarity([png(RED), png(GREEN)], ["red", "green", "blue"])
    assert matrix.shape == (2, 3)
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(1)
    assert clip.similarity(png(RED), ["red", "green"]).shape == (2,)
    assert clip.similarity(png(RED), "red") == pytest.approx(1)


def test_threads_may_share_a_client(clip, png):
    def embed(i):
        return hues(clip.embed_images([png((i, 0, 0))] * 20))

    with ThreadPoolExecutor(8) as pool:
        for i, result in enumerate(pool.map(embed, range(40))):
            assert result == [i] * 20


def test_a_stream_may_use_its_client_for_its_own_input(clip):
    def texts():
        for i in range(40):
            yield f"{i} {clip.embed_texts('red').shape}"

    assert len(list(clip.stream_texts(texts()))) == 40


def test_one_of_several_models_is_chosen_by_name(crowded_server):
    with (
        Client(crowded_server.grpc) as clip,
        pytest.raises(ModelNotFound, match=r"several CLIP models: .*clip, .*siglip"),
    ):
        clip.info()
    with Client(crowded_server.http, model="clip") as clip:
        assert clip.info().name == "clip"


def test_models_that_are_absent_foreign_or_broken_are_told_apart(crowded_server):
    for url in (crowded_server.grpc, crowded_server.http):
        with Client(url, model="nosuch") as clip:
            with pytest.raises(ModelNotFound, match=r"no model 'nosuch'.*siglip"):
                clip.info()
            health = clip.health()
            assert (health.live, health.model_ready) == (True, False)
            assert "nosuch" in health.detail
        with (
            Client(url, model="foreign") as clip,
            pytest.raises(ModelMismatch, match=r"foreign_image.*not assembled by tritonclip"),
        ):
            clip.embed_texts("red")
        with (
            Client(url, model="broken") as clip,
            pytest.raises(ModelNotFound, match=r"'broken'.* did not load.*not_installed_here"),
        ):
            clip.info()


def test_closing_is_idempotent_and_final(url):
    clip = Client(url)
    clip.embed_texts("red")
    clip.close()
    clip.close()
    for call in (clip.info, clip.health, lambda: clip.embed_texts("red")):
        with pytest.raises(ClientClosed):
            call()


@pytest.mark.parametrize("items", [1, 3])
def test_closing_ends_what_other_threads_wait_for(url, png, items):
    clip = Client(url, batch_size=1)
    clip.info()
    failures = []

    def wait():
        try:
            clip.embed_images([b"sleep 1;" + png(RED)] * items)
        except ClientClosed as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    start = time.monotonic()
    clip.close()
    thread.join()
    assert failures
    assert time.monotonic() - start < 0.8


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"batch_size": 0}, {"retries": -1}, {"timeout": 0}, {"model": ""}],
)
def test_options_that_make_no_sense_are_named(options):
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        Client(**options)


def test_what_is_not_an_input_is_refused_before_the_network():
    with Client("127.0.0.1:1") as clip:
        with pytest.raises(InvalidArgument, match="got None"):
            clip.stream_images(None)
        with pytest.raises(InvalidArgument, match="labels is empty"):
            clip.classify("a.jpg", [])

"""What an archive answers, with the demo checkpoint and drawings it has never seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tritonclip import Client
from tritonclip.errors import ImageError, InvalidArgument
from tritonclip_search import (
    Collection,
    CollectionNotFound,
    Hit,
    InvalidFilter,
    SourceError,
    open_collection,
)


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, twemoji: dict[str, bytes], client: Client
) -> Iterator[Collection]:
    """Every fifth drawing, 388 of them."""
    home = tmp_path_factory.mktemp("searching")
    (home / "pictures").mkdir()
    for label in [*sorted(twemoji)[::5], "cat", "dog", "tangerine", "lemon"]:
        (home / "pictures" / f"{label.replace('/', '-')}.png").write_bytes(twemoji[label])
    with open_collection(str(home / "archive"), client, "drawings") as collection:
        collection.add([home / "pictures"])
        yield collection


def names(hits: list[Hit]) -> list[str]:
    return [Path(hit.path).stem for hit in hits]


def exactly(archive: Collection, vector: np.ndarray) -> tuple[list[str], list[float]]:
    """All paths with their scores by a plain product in FP32."""
    records = list(archive._store.scan(archive.name, vectors=True))
    scores = np.stack([record.vector for record in records]) @ vector
    order = np.argsort(-scores)
    return [records[i].path for i in order], scores[order].tolist()


def test_a_text_finds_what_an_exact_search_in_process_finds(
    archive: Collection, client: Client
) -> None:
    for text in ("a citrus fruit", "a cat", "a city at night"):
        hits = archive.search(text, top=10)
        paths, scores = exactly(archive, client.embed_texts(text))
        assert [hit.path for hit in hits] == paths[:10]
        assert [hit.score for hit in hits] == pytest.approx(scores[:10], abs=1e-6)
    assert set(names(archive.search("a citrus fruit", top=2))) == {"tangerine", "lemon"}


def test_an_image_finds_itself_first(archive: Collection, twemoji: dict[str, bytes]) -> None:
    (hit,) = archive.search(images=[twemoji["cat"]], top=1)
    assert Path(hit.path).stem == "cat"
    assert hit.score == pytest.approx(1, abs=1e-5)


def test_texts_and_images_are_added_up_by_their_weights(
    archive: Collection, client: Client, twemoji: dict[str, bytes]
) -> None:
    hits = archive.search(["a dog", "a ball"], images=[twemoji["cat"]], weights=[1, 0.5, 2])
    texts = client.embed_texts(["a dog", "a ball"])
    wanted = texts[0] + 0.5 * texts[1] + 2 * client.embed_images(twemoji["cat"])
    paths, scores = exactly(archive, wanted / np.linalg.norm(wanted))
    assert [hit.path for hit in hits] == paths[:20]
    assert hits[0].score == pytest.approx(scores[0], abs=1e-5)


def test_pictures_that_were_found_are_added_up_too(archive: Collection, client: Client) -> None:
    cat, tangerine = (archive.search(name, top=1)[0].record for name in ("a cat", "tangerine"))

    hits = archive.search("a dog", like=[cat.id, tangerine.id], weights=[1, 2, 0.5], top=5)

    assert cat.vector is not None
    assert tangerine.vector is not None
    wanted = client.embed_texts("a dog") + 2 * cat.vector + 0.5 * tangerine.vector
    paths, scores = exactly(archive, wanted / np.linalg.norm(wanted))
    assert [hit.path for hit in hits] == paths[:5]
    assert hits[0].score == pytest.approx(scores[0], abs=1e-5)
    assert archive.get([cat.id, "nothing"]).keys() == {cat.id}
    with pytest.raises(InvalidArgument, match="no picture with the id 'nothing'"):
        archive.search(like=["nothing"])


def test_what_is_excluded_comes_later_and_the_word_no_does_not_help(archive: Collection) -> None:
    asked = [("a cat", "face"), ("a person", "woman"), ("a square", "black")]

    def shown(text: str, unwanted: str, **options: list[str]) -> int:
        hits = archive.search(text, top=20, **options)  # type: ignore[arg-type]
        return sum(unwanted in name for name in names(hits))

    plain = sum(shown(wanted, no) for wanted, no in asked)
    in_words = sum(shown(f"{wanted}, no {no}", no) for wanted, no in asked)
    subtracted = sum(shown(wanted, no, without=[no]) for wanted, no in asked)
    assert plain >= 8
    assert in_words > 0.75 * plain
    assert subtracted < 0.6 * plain


def test_prompts_are_averaged(archive: Collection, client: Client) -> None:
    templates = ["a drawing of a {}.", "an icon of a {}."]
    hits = archive.search("cat", templates=templates, top=5)
    paths, _ = exactly(archive, client.label_embeddings(["cat"], templates)[0])
    assert [hit.path for hit in hits] == paths[:5]


def test_filters_and_a_least_score_narrow_the_answer(archive: Collection) -> None:
    everything = archive.search("a cat", top=400)
    best = everything[4].score
    above = archive.search("a cat", top=400, above=best)
    assert [hit.path for hit in above] == [hit.path for hit in everything[:5]]
    big = archive.search("a cat", top=400, where="size > 1KB")
    assert [hit.path for hit in big] == [hit.path for hit in everything if hit.record.size > 1000]
    assert 0 < len(big) < len(everything)


def test_near_duplicates_are_folded_into_the_best(
    tmp_path: Path, pictures: Path, client: Client
) -> None:
    original = Image.open(pictures / "cat.png").convert("RGB")
    original.save(pictures / "cat again.png")
    original.resize((60, 60)).save(pictures / "cat small.png")
    with open_collection(str(tmp_path / "archive"), client) as collection:
        collection.add([pictures])
        shown = collection.search("a cat", top=5)
        folded = collection.search("a cat", top=5, near_duplicates="group")
        assert len({"cat", "cat again", "cat small"} & set(names(shown))) == 3
        (cat,) = [hit for hit in folded if "cat" in names([hit])[0]]
        assert {"cat", "cat again", "cat small"} <= {*names([cat]), *names(cat.near_duplicates)}
        assert len(folded) == 5
        threshold, groups = collection.duplicates()
        assert 0.8 < threshold.cosine < 1
        together = [{Path(record.path).stem for record in group} for group in groups]
        assert any({"cat", "cat again", "cat small"} <= group for group in together)
        (exact,) = collection.duplicates(0.9999)[1]
        assert [Path(record.path).stem for record in exact] == ["cat again", "cat"]


def test_sigmoid_models_say_how_probable_a_hit_is(
    tmp_path: Path, pictures: Path, search_server: str, collection: Collection
) -> None:
    with (
        Client(search_server, model="siglip") as siglip,
        open_collection(str(tmp_path / "sigmoid"), siglip) as archive,
    ):
        archive.add([pictures])
        info = siglip.info()
        for hit in archive.search("a cat", top=3):
            logit = info.logit_scale * hit.score + info.logit_bias
            assert hit.probability == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-3)
        assert archive.search("a cat", without=["a dog"], top=1)[0].probability is None
    collection.add([pictures])
    assert collection.search("a cat", top=1)[0].probability is None


def test_tags_are_written_with_their_probabilities_and_found(
    collection: Collection, pictures: Path, client: Client
) -> None:
    collection.add([pictures])
    labels = ["cat", "rocket", "guitar"]
    counts = collection.tag(labels, above=0.9)
    tagged = {Path(record.path).name: record for record in collection.records("tags = rocket")}
    assert len(tagged) == counts["rocket"]
    rocket = tagged["rocket.png"]
    result = client.classify(pictures / "rocket.png", labels)
    assert rocket.tags == ("rocket",)
    assert rocket.tag_probabilities[0] == pytest.approx(result.probability, abs=1e-5)
    assert Path(collection.search("a vehicle", where="tags = rocket", top=1)[0].path).name in tagged
    again = collection.tag(["dog"], above=0.0)  # leaves the other labels alone
    assert again == {"dog": 20}
    assert set(rocket.tags) < {
        *next(r for r in collection.records("tags = rocket") if r.id == rocket.id).tags
    }


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"text": "a cat", "top": 0}, "top is 0; ask for at least 1"),
        ({}, "nothing is asked for"),
        ({"text": " "}, "a text of the query is empty"),
        ({"text": "very " * 2000}, "10,000 characters"),
        ({"text": ["a", "b"], "weights": [1]}, "1 weights for 2 texts and pictures"),
        ({"text": ["a cat", "a cat"], "weights": [1, -1]}, "cancel each other"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    archive: Collection, asked: dict[str, object], why: str
) -> None:
    with pytest.raises(InvalidArgument, match=why):
        archive.search(**asked)  # type: ignore[arg-type]


def test_a_wrong_filter_and_a_missing_picture_are_named(archive: Collection) -> None:
    with pytest.raises(InvalidFilter, match="no field 'colour'"):
        archive.search("a cat", where="colour = red")
    with pytest.raises(ImageError, match=r"absent\.jpg\): no such file"):
        archive.search(images=["absent.jpg"])


def test_searching_what_was_never_indexed_says_how_to(collection: Collection) -> None:
    with pytest.raises(CollectionNotFound, match="`tritonclip index` makes one"):
        collection.search("a cat")


def test_duplicates_need_a_file_or_a_threshold(collection: Collection, pictures: Path) -> None:
    collection.add([pictures])
    for file in pictures.iterdir():
        file.unlink()
    with pytest.raises(SourceError, match="none of the pictures can be read"):
        collection.duplicates()
    assert collection.duplicates(0.99999)[1] == []


def test_a_collection_may_be_named_in_the_address_or_beside_it(
    tmp_path: Path, client: Client
) -> None:
    with pytest.raises(InvalidArgument, match="the name is 'two'"):
        open_collection("qdrant://127.0.0.1/one", client, "two")
    with pytest.raises(InvalidArgument, match="'Press!' is no name for a collection"):
        open_collection(str(tmp_path), client, "Press!")


def test_it_says_that_it_searches_exactly(archive: Collection) -> None:
    assert archive.method.exact
    assert archive.method.name == "exact scan"

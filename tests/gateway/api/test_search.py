"""`/v1/search` and the pictures behind its hits."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tritonclip import Client
from tritonclip_gateway.serving import HttpServer
from tritonclip_search import open_collection


def search(http: httpx.Client, **body: object) -> list[dict[str, Any]]:
    response = http.post("/v1/search", json=body)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def names(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["name"].removesuffix(".png") for hit in hits]


def test_hits_are_those_of_the_collection(
    http: httpx.Client, archive: Path, triton: Client, data_uri: Callable[[str], str]
) -> None:
    hits = search(http, text="a citrus fruit", without=["a vegetable"], top=5)
    both = search(http, text=["a dog"], images=[data_uri("cat")], weights=[0.5, 1], top=3)

    with open_collection(str(archive), triton) as collection:
        expected = collection.search("a citrus fruit", without=["a vegetable"], top=5)
        with_cat = collection.search(
            "a dog", images=[Path(hit_path(search, http, "cat"))], weights=[0.5, 1], top=3
        )
    assert [hit["path"] for hit in hits] == [hit.path for hit in expected]
    assert [hit["score"] for hit in hits] == pytest.approx(
        [hit.score for hit in expected], abs=1e-6
    )
    assert set(names(hits)[:2]) == {"tangerine", "lemon"}
    assert names(both) == [Path(hit.path).stem for hit in with_cat]
    assert (hits[0]["kind"], hits[0]["width"], hits[0]["format"]) == ("image", 72, "PNG")


def hit_path(search: Callable[..., Any], http: httpx.Client, name: str) -> str:
    (hit,) = [hit for hit in search(http, text=name, top=9) if hit["name"] == f"{name}.png"]
    return str(hit["path"])


def test_more_like_this_needs_only_an_id(http: httpx.Client) -> None:
    (cat,) = search(http, text="a cat", top=1)
    like = search(http, like=[cat["id"]], top=3)
    assert like[0]["id"] == cat["id"]
    assert like[0]["score"] == pytest.approx(1, abs=1e-5)

    response = http.post("/v1/search", json={"like": [str(uuid.uuid4())]})
    assert response.status_code == 400
    assert "there is no picture with the id" in response.json()["error"]["message"]


def test_further_pages_go_on_where_the_first_ended(http: httpx.Client) -> None:
    whole = search(http, text="a thing", top=9)
    pages = [search(http, text="a thing", top=4, offset=offset) for offset in (0, 4, 8)]
    assert [hit["id"] for page in pages for hit in page] == [hit["id"] for hit in whole]


def test_filters_narrow_and_mistakes_in_them_are_said(http: httpx.Client) -> None:
    assert search(http, text="a cat", where="width > 100") == []
    response = http.post("/v1/search", json={"text": "a cat", "where": "colour = red"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_filter", "where")
    assert "there is no field 'colour'" in error["message"]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({}, "invalid_request", "nothing is asked for"),
        ({"images": ["data:image/png;base64,AAAA"]}, "invalid_image", "not a supported image"),
        ({"images": ["http://127.0.0.1/a.png"]}, "url_refused", "not allowed here"),
        ({"text": "a cat", "top": 1001}, "invalid_request", "top"),
        ({"like": ["../../etc/passwd"]}, "invalid_request", "UUID"),
    ],
)
def test_a_query_that_cannot_be_is_refused_with_a_reason(
    http: httpx.Client, body: dict[str, object], code: str, message: str
) -> None:
    response = http.post("/v1/search", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
    assert message in response.json()["error"]["message"]


def test_pictures_are_served_by_id_small_and_whole_and_in_parts(
    http: httpx.Client, twemoji: dict[str, bytes]
) -> None:
    (cat,) = search(http, text="a cat", top=1)

    small = http.get(cat["thumbnail"], params={"side": "160"})
    whole = http.get(cat["original"])
    part = http.get(cat["original"], headers={"Range": "bytes=1-3"})
    again = http.get(
        cat["thumbnail"], headers={"If-None-Match": http.get(cat["thumbnail"]).headers["ETag"]}
    )

    with Image.open(io.BytesIO(small.content)) as picture:
        assert (picture.format, max(picture.size)) == ("JPEG", 72)
    assert (whole.content, whole.headers["Content-Type"]) == (twemoji["cat"], "image/png")
    assert (part.status_code, part.content) == (206, b"PNG")
    assert (again.status_code, again.content) == (304, b"")
    assert http.get(f"/v1/items/{cat['id']}").json()["name"] == "cat.png"


@pytest.mark.parametrize("id", ["..%2F..%2Fetc%2Fpasswd", "../../etc/passwd", "%2e%2e", "x", "0"])
@pytest.mark.parametrize("what", ["thumbnail", "original"])
def test_no_path_leads_to_a_file(http: httpx.Client, id: str, what: str) -> None:
    response = http.get(f"/v1/items/{id}/{what}")
    assert response.status_code in (400, 404)
    assert "error" in response.json()


def test_what_is_not_in_the_collection_is_not_there(http: httpx.Client) -> None:
    response = http.get(f"/v1/items/{uuid.uuid4()}/original")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "item_not_found"


def test_a_file_that_has_vanished_is_said_to_have(
    start: Callable[..., Any],
    gateway: HttpServer,
    triton: Client,
    tmp_path: Path,
    twemoji: dict[str, bytes],
) -> None:
    (tmp_path / "cat.png").write_bytes(twemoji["cat"])
    with open_collection(str(tmp_path / "archive"), triton) as collection:
        collection.add([tmp_path / "cat.png"])
    (tmp_path / "cat.png").unlink()
    with (
        start(triton=gateway.gateway.settings.triton, archive=str(tmp_path / "archive")) as other,
        httpx.Client(base_url=other.url) as http,
    ):
        (cat,) = search(http, text="a cat")
        for what in ("thumbnail", "original"):
            response = http.get(cat[what])
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "file_unavailable"


def test_the_collection_tells_its_size(http: httpx.Client) -> None:
    assert http.get("/v1/collection").json() == {
        "object": "collection",
        "id": "pictures",
        "pictures": 9,
        "method": "exact scan",
        "exact": True,
    }


def test_without_an_archive_and_with_one_that_is_not_made_yet_that_is_said(
    start: Callable[..., Any], gateway: HttpServer, tmp_path: Path
) -> None:
    triton = gateway.gateway.settings.triton
    for archive, status, code in (
        (None, 404, "no_archive"),
        (str(tmp_path), 503, "collection_unavailable"),
    ):
        with start(triton=triton, archive=archive) as other:
            response = httpx.post(f"{other.url}/v1/search", json={"text": "a cat"})
        assert response.status_code == status
        assert response.json()["error"]["code"] == code

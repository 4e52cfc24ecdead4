from __future__ import annotations

import pytest

from tritonclip.errors import InvalidArgument
from tritonclip_search.stores.url import StoreUrl


def test_the_parts_of_an_address_are_read() -> None:
    url = StoreUrl.parse("postgresql://me:p%40ss@[::1]:5432/db/press?sslmode=require")
    assert (url.scheme, url.host, url.port, url.path) == (
        "postgresql",
        "::1",
        5432,
        "db/press",
    )
    assert (url.user, url.password) == ("me", "p@ss")
    assert url.option("sslmode") == "require"
    assert url.option("absent") is None


def test_a_path_is_a_folder_of_this_machine() -> None:
    for text in ("archive", "/data/my archive", "C:\\archive"):
        assert StoreUrl.parse(text) == StoreUrl("local", "", None, text)
    assert StoreUrl.parse("lancedb:///data/archive").path == "/data/archive"


def test_three_slashes_lead_to_this_machine() -> None:
    url = StoreUrl.parse("milvus:///data/archive.db")
    assert (url.host, url.path) == ("", "/data/archive.db")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@db/archive", "postgresql://me:***@db/archive"),
        (
            "qdrant://db:6334/press?api_key=hunter2&tls=1",
            "qdrant://db:6334/press?api_key=***&tls=1",
        ),
        ("milvus://db?token=root:hunter2", "milvus://db?token=***"),
        ("postgresql:///archive?host=/tmp/socket", "postgresql:///archive?host=/tmp/socket"),
    ],
)
def test_secrets_are_never_shown(text: str, shown: str) -> None:
    url = StoreUrl.parse(text)
    assert str(url) == shown
    assert f"{url}" == shown
    assert "hunter2" not in repr(url)
    assert "hunter2" not in repr([url])
    assert "hunter2" not in url.redact(f"cannot connect with {text}")


@pytest.mark.parametrize(
    ("text", "why"),
    {
        "": "is empty",
        "mysql://me:hunter2@db": "no store is reached by mysql://",
        "qdrant://me:hunter2/x@db:6333": "write special characters of a password as %XX",
        "qdrant://db:99999": "cannot be read",
    }.items(),
)
def test_a_wrong_address_is_refused_without_repeating_it(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        StoreUrl.parse(text)
    assert why in str(raised.value)
    assert "hunter2" not in str(raised.value)

"""The page's files, as any client gets them."""

from __future__ import annotations

import re

import httpx
import pytest

from tritonclip_gateway.page.assets import STATIC

FILES = sorted(file.name for file in STATIC.iterdir())
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def test_all_of_it_is_below_150_kilobytes() -> None:
    assert sum(len((STATIC / name).read_bytes()) for name in FILES) < 150_000


@pytest.mark.parametrize("name", FILES)
def test_no_other_host_is_named(name: str) -> None:
    named = re.findall(r"(?:https?:)?//[\w-]+\.[\w./-]+", (STATIC / name).read_text())
    assert set(named) <= {"http://www.w3.org/2000/svg"}  # the name of a format, never fetched


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
def test_each_file_has_its_type_and_is_kept_from_harm(http: httpx.Client, path: str) -> None:
    response = http.get(path)

    assert response.status_code == 200
    kind = "html" if path == "/" else path.rpartition(".")[2]
    assert response.headers["Content-Type"] == TYPES[kind]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    again = http.get(path, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_all_modules_are_asked_for_at_once() -> None:
    html = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:href|src)="page/([\w.]+)"', html)
    assert sorted(named) == [name for name in FILES if name != "index.html"]


@pytest.mark.parametrize(
    "path", ["/page/nothing.js", "/page/..%2Fassets.py", "/page/%2e%2e/assets.py", "/page/"]
)
def test_nothing_else_is_served(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"

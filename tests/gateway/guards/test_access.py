"""Keys, rates, sizes and headers, asked of a real gateway."""

from __future__ import annotations

import hashlib
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tritonclip.errors import InvalidArgument
from tritonclip_gateway.guards.keys import Keys, add_key, read_keys
from tritonclip_gateway.serving import HttpServer
from tritonclip_gateway.settings import Settings


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keys by name, and the file of their hashes."""
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    made = {name: add_key(file, name) for name in ("ann", "bob", "carl")}
    text = file.read_text()
    file.write_text(f"# ours\n\n{text.replace(chr(10), ' 2/minute' + chr(10), 1)}")
    return {**made, "file": str(file)}


@pytest.fixture(scope="module")
def guarded(
    start: Callable[..., Any], gateway: HttpServer, keys: dict[str, str], archive: Path
) -> Any:
    """A gateway that wants one of those keys."""
    settings = {"triton": gateway.gateway.settings.triton, "keys_file": Path(keys["file"])}
    with start(**settings, keys=("from-outside",), archive=str(archive)) as started:
        yield started


def test_only_hashes_are_kept(keys: dict[str, str]) -> None:
    text = Path(keys["file"]).read_text()
    assert keys["ann"] not in text
    assert f"bob sha256:{hashlib.sha256(keys['bob'].encode()).hexdigest()}" in text
    assert Path(keys["file"]).stat().st_mode & 0o077 == 0
    assert "from-outside" not in repr(Settings(keys=("from-outside",)))
    with pytest.raises(InvalidArgument, match="has a key 'ann' already"):
        add_key(Path(keys["file"]), "ann")


def test_a_key_lets_in_and_nothing_else_does(guarded: HttpServer, keys: dict[str, str]) -> None:
    with OpenAI(base_url=f"{guarded.url}/v1", api_key=keys["bob"], max_retries=0) as client:
        assert {model.id for model in client.models.list()} >= {"demo"}
    with OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"
    with httpx.Client(base_url=guarded.url) as http:
        for headers in ({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"X-API-Key": ""}):
            assert http.get("/v1/models", headers=headers).status_code == 401
        assert http.get("/v1/models", headers={"X-API-Key": "from-outside"}).status_code == 200
        assert http.get("/health/ready").status_code == 200
        assert http.get("/v1/health/live").status_code == 200
        assert http.get("/v1/").status_code == 401
        assert http.get("/v1/health/live/../../models").status_code == 401


def test_a_cookie_is_for_what_changes_nothing(guarded: HttpServer, keys: dict[str, str]) -> None:
    cookies = {"tritonclip-key": keys["bob"]}
    with httpx.Client(base_url=guarded.url, cookies=cookies) as http:
        assert http.get("/v1/models").status_code == 200
        assert http.post("/v1/search", json={"text": "a cat"}).status_code == 401


def test_each_key_has_its_rate(guarded: HttpServer, keys: dict[str, str]) -> None:
    def ask(key: str) -> httpx.Response:
        return httpx.get(f"{guarded.url}/v1/models", headers={"X-API-Key": key})

    answers = [ask(keys["ann"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    assert [ask(keys["carl"]).status_code for _ in range(4)] == [200] * 4


@pytest.mark.slow
def test_a_key_that_is_nearly_right_takes_no_longer(tmp_path: Path) -> None:
    right = add_key(tmp_path / "keys", "ann")
    found: Keys = read_keys(tmp_path / "keys", ())
    tries = {"near": right[:-1] + "!", "far": "!" * len(right)}
    times: dict[str, list[float]] = {name: [] for name in tries}
    for _ in range(300):
        for name, key in tries.items():
            began = time.perf_counter()
            for _ in range(50):
                assert found.find(key) is None
            times[name].append(time.perf_counter() - began)
    near, far = (statistics.median(each) for each in times.values())
    assert near / far == pytest.approx(1, abs=0.1)


def test_other_machines_need_keys_or_a_word(keys: dict[str, str]) -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(InvalidArgument, match=r"without an API key.*--insecure"):
            HttpServer(Settings(host=host, port=0))
    HttpServer(Settings(host="0.0.0.0", port=0, keys_file=Path(keys["file"])))._socket.close()
    HttpServer(Settings(host="0.0.0.0", port=0, insecure=True))._socket.close()


def test_answers_tell_browsers_to_keep_their_hands_off(http: httpx.Client) -> None:
    for path in ("/v1/models", "/docs", "/v1/nothing", "/health/live"):
        headers = http.get(path, headers={"Origin": "https://evil.example"}).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert "Server" not in headers
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert http.options("/v1/search", headers=preflight).status_code == 405


def test_origins_that_are_named_may_ask(start: Callable[..., Any], gateway: HttpServer) -> None:
    with start(
        triton=gateway.gateway.settings.triton,
        cors=("https://our.example",),
        keys=("key",),
    ) as ours:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        for origin, status in (("https://our.example", 200), ("https://evil.example", 400)):
            answer = httpx.options(f"{ours.url}/v1/search", headers={**asked, "Origin": origin})
            assert answer.status_code == status
            assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is (status == 200)


def test_tls_takes_its_files(
    start: Callable[..., Any], gateway: HttpServer, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    triton = gateway.gateway.settings.triton
    with start(triton=triton, tls_certificate=certificate, tls_key=key) as secure:
        assert secure.url.startswith("https://")
        context = ssl.create_default_context(cafile=certificate)
        answer = httpx.get(f"{secure.url}/health/live", verify=context)
    assert answer.status_code == 200
    assert "Strict-Transport-Security" in answer.headers


def test_the_command_makes_keys_and_says_what_is_wrong(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("tritonclip")), "gateway", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    made = run("--keys", str(tmp_path / "keys"), "--new-key", "ann")
    assert read_keys(tmp_path / "keys", ()).find(made.stdout.strip())
    assert "goes with --keys FILE" in run("--new-key", "ann").stderr
    assert "is no rate" in run("--rate", "much").stderr
    assert "expected NAME=VALUE" in run("--alias", "clip").stderr
    (tmp_path / "odd").write_text("secret in the clear\n")
    odd = run("--keys", str(tmp_path / "odd"))
    assert "line 1: expected NAME sha256:HEX" in odd.stderr
    assert "secret" not in odd.stderr

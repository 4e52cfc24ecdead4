"""Pictures at URLs: what is fetched, and what never is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest

from tritonclip_gateway.inputs.addresses import IpAddress, is_public
from tritonclip_gateway.inputs.fetching import Fetcher, FetchRefused


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path == "/hangs":
            self.server.hanging.wait(30)
        self.send_response(200 if self.path != "/missing" else 404)
        self.end_headers()
        self.wfile.write(b"x" * (100 if self.path == "/large" else 10))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    """A web server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.hanging = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.hanging.set()
    server.shutdown()
    thread.join()
    server.server_close()


async def fetched(fetcher: Fetcher, url: str, limit: int = 50) -> bytes:
    try:
        return await fetcher.fetch(url, limit)
    finally:
        await fetcher.close()


def anywhere(_: IpAddress) -> bool:
    """As if loopback were the public internet."""
    return True


async def test_a_host_that_is_named_is_fetched_from_and_redirects_are_followed(
    site: ThreadingHTTPServer,
) -> None:
    host = f"localhost:{site.server_port}"
    assert await fetched(Fetcher([host], is_allowed=anywhere), f"http://{host}/a.png") == b"x" * 10
    assert (
        await fetched(Fetcher([host.upper()], is_allowed=anywhere), f"http://{host}/to//b.png")
        == b"x" * 10
    )
    assert site.seen == ["/a.png", "/to//b.png", "/b.png"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("large", "more than the 50 bytes"),
        ("missing", "HTTP 404"),
        ("to/http://127.0.0.1:1/x", "host that is not allowed"),
        ("to/file:///etc/passwd", "no plain http"),
        ("to//to//to//to//to//x", "more than 3 times"),
    ],
)
async def test_what_is_too_large_or_leads_elsewhere_is_refused(
    site: ThreadingHTTPServer, path: str, reason: str
) -> None:
    host = f"localhost:{site.server_port}"
    with pytest.raises(FetchRefused, match=reason):
        await fetched(Fetcher([host], is_allowed=anywhere), f"http://{host}/{path}")


async def test_a_server_that_hangs_costs_only_its_time(
    site: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tritonclip_gateway.inputs.fetching._SECONDS", 0.3)
    host = f"localhost:{site.server_port}"
    with pytest.raises(FetchRefused, match=r"within 0.3 s"):
        await fetched(Fetcher([host], is_allowed=anywhere), f"http://{host}/hangs")


async def test_an_allowed_name_that_leads_home_is_refused_without_a_connection(
    site: ThreadingHTTPServer,
) -> None:
    host = f"localhost:{site.server_port}"
    with pytest.raises(FetchRefused, match="not on the public internet"):
        await fetched(Fetcher([host]), f"http://{host}/a.png")
    assert site.seen == []


async def test_a_name_that_changes_after_the_check_gains_nothing(
    site: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it is asked for first, loopback from then on."""
    answers = iter(["93.184.216.34"])
    connected: list[str] = []

    def lookup(_: str, port: int, *__: object, **___: object) -> list[object]:
        address = next(answers, "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr("tritonclip_gateway.inputs.fetching._SECONDS", 0.5)

    def is_allowed(address: IpAddress) -> bool:
        connected.append(str(address))
        return is_public(address)

    url = f"http://rebinding.example:{site.server_port}/a.png"
    fetcher = Fetcher([f"rebinding.example:{site.server_port}"], is_allowed=is_allowed)
    with pytest.raises(FetchRefused):
        await fetched(fetcher, url)
    with pytest.raises(FetchRefused, match="not on the public internet"):
        await fetched(Fetcher([f"rebinding.example:{site.server_port}"]), url)
    assert connected == ["93.184.216.34"]
    assert site.seen == []


HOME = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://224.0.0.1/",
    "http://localhost/",
    "http://localhost./",
    "http://①②⑦.0.0.1/",
    "http://metadata.google.internal/",
    "http://user@127.0.0.1/",
    "http://example.org@127.0.0.1/",
    "http://127.0.0.1\\@example.org/",
    "http://example.org:80@127.0.0.1/",
    "http://example.org#@127.0.0.1/",
    "ftp://example.org/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "http:///etc/passwd",
    "http://",
]


@pytest.mark.parametrize("url", HOME)
async def test_no_way_of_writing_it_leads_home(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is allowed: here, that is every host by its own name."""

    class All(set[str]):
        def __and__(self, other: object) -> set[str]:
            return {"*"}

        __rand__ = __and__

    monkeypatch.setattr("tritonclip_gateway.inputs.fetching._SECONDS", 2)
    fetcher = Fetcher([])
    fetcher._hosts = All()
    opened: list[object] = []
    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda s, a: (opened.append(a), connect(s, a)))

    with pytest.raises(FetchRefused):
        await fetched(fetcher, url)

    assert [a for a in opened if ip_address_of(a) and not is_public(ip_address_of(a))] == []


def ip_address_of(address: object) -> IpAddress | None:
    return ip_address(address[0]) if isinstance(address, tuple) else None


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org.evil.com/",
        "http://evilexample.org/",
        "http://example.org:8080/x",
        "http://cdn.example.org/",
    ],
)
async def test_only_the_named_host_is_allowed(url: str) -> None:
    with pytest.raises(FetchRefused, match="not allowed here"):
        await fetched(Fetcher(["example.org", "*.images.net"]), url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("192.0.2.1", False),
        ("255.255.255.255", False),
        ("::ffff:8.8.8.8", False),
        ("2001:0:1::", False),
    ],
)
def test_public_is_what_the_internet_routes(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public

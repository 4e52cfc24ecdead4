import pytest

from tritonclip.endpoint import parse_endpoint
from tritonclip.errors import InvalidArgument


@pytest.mark.parametrize(
    ("url", "meaning"),
    [
        ("127.0.0.1:8001", "grpc://127.0.0.1:8001"),
        ("triton", "grpc://triton:8001"),
        ("grpc://triton:9", "grpc://triton:9"),
        ("GRPCS://triton", "grpcs://triton:443"),
        ("http://triton", "http://triton:8000"),
        ("https://example.org/clip/", "https://example.org:443/clip"),
        ("[::1]:8001", "grpc://[::1]:8001"),
    ],
)
def test_a_url_says_protocol_host_and_port(url, meaning):
    assert str(parse_endpoint(url)) == meaning


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://triton",
        "triton:port",
        "triton:0",
        "triton:99999",
        "http://",
        "grpc://triton/path",
        "http://a?b",
        "http://u@a",
    ],
)
def test_a_url_without_meaning_is_refused_by_value(url):
    with pytest.raises(InvalidArgument, match="cannot connect to") as caught:
        parse_endpoint(url)
    assert repr(url) in str(caught.value)

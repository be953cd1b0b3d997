"""Requests of scripts in web pages of other origins."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from pydantic import ValidationError

from millrace.config.sections.serve import Serve
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve.client import ask, listening
from tests.serve.models import ROW

pytestmark = [pytest.mark.tf, pytest.mark.case("S")]
PAGE = "https://shop.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, inference-header-content-length",
}
PREDICT = "/v1/models/tiny:predict"


@pytest.fixture(scope="module")
def cross(manager: ServableManager) -> Application:
    return Application(manager, Serve(cors_origins=[PAGE]))


@pytest.fixture(scope="module")
def address(cross: Application) -> Iterator[str]:
    with listening(cross) as address:
        yield f"http://{address}"


@pytest.mark.parametrize("path", [PREDICT, "/v2/models/tiny/infer", "/v2/health/ready", "/metrics"])
def test_a_preflight_is_answered(address: str, path: str) -> None:
    answer = httpx.options(f"{address}{path}", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "inference-header-content-length" in answer.headers["access-control-allow-headers"].lower()
    assert answer.headers["access-control-max-age"] == "600"
    assert "x-request-id" in answer.headers
    assert answer.headers["vary"].lower().split(", ").count("origin") == 1
    assert "access-control-expose-headers" not in answer.headers


def test_a_preflight_of_another_origin_is_refused(address: str) -> None:
    answer = httpx.options(f"{address}{PREDICT}", headers={**PREFLIGHT, "Origin": "https://other.example"})
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"].lower().split(", ").count("origin") == 1


@pytest.mark.parametrize(("body", "status"), [({"instances": [ROW]}, 200), ({}, 400)])
def test_responses_and_errors_can_be_read(address: str, body: object, status: int) -> None:
    answer = httpx.post(f"{address}{PREDICT}", json=body, headers={"Origin": PAGE})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert json.loads(answer.content)
    other = httpx.post(f"{address}{PREDICT}", json=body, headers={"Origin": "https://other.example"})
    assert (other.status_code, "access-control-allow-origin" in other.headers) == (status, False)
    plain = httpx.post(f"{address}{PREDICT}", json=body)
    assert (plain.status_code, plain.content) == (status, answer.content)
    assert "access-control-allow-origin" not in plain.headers


def test_preflights_are_counted(cross: Application) -> None:
    def counted() -> str:
        page = ask(cross, "GET", "/metrics").text
        return next((line for line in page.splitlines() if 'route="unmatched",status="200"' in line), "")

    before = counted()
    ask(cross, "OPTIONS", PREDICT, headers=PREFLIGHT)
    assert counted() != before


def test_it_is_off_by_default(app: Application) -> None:
    answer = ask(app, "OPTIONS", PREDICT, headers=PREFLIGHT)
    assert answer.status_code == 400
    assert not any(name.startswith("access-control") for name in answer.headers)
    answer = ask(app, "POST", PREDICT, json={"instances": [ROW]}, headers={"Origin": PAGE})
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_every_origin(manager: ServableManager) -> None:
    app = Application(manager, Serve(cors_origins=["*"]))
    answer = ask(app, "POST", PREDICT, json={"instances": [ROW]}, headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    answer = ask(app, "OPTIONS", PREDICT, headers=PREFLIGHT)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-expose-headers" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        "shop.example",
        "https://shop.example/",
        "https://shop.example/page",
        "ftp://x",
        "",
        "null",
        "https://:8443",
        "https://::1",
    ],
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(ValidationError, match="an origin is a scheme, a host"):
        Serve(cors_origins=[origin])


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("https://shop.example:443", r"the default one: write https://shop\.example$"),
        ("http://[::1]:80", r"the default one: write http://\[::1\]$"),
        ("https://shop.example:", r"an empty port .*: write https://shop\.example$"),
        *((f"http://shop.example:{port}", "number from 1 to 65535") for port in ("65536", "x", "0", "081", "9" * 5000)),
        ("http://shop.example:8080:1", "number from 1 to 65535"),
        ("https://shop.example:\u0668", "number from 1 to 65535"),
        ("https://user:pw@shop.example:8443", r"no password: write https://shop\.example:8443$"),
        ("https://user@shop.example", r"no password: write https://shop\.example$"),
        *((f"https://{host}", "as in https://shop.example") for host in ("a b", "a..b", ".a", "a%20b", "a\tb")),
        *((f"https://{host}", "names one host") for host in ("*.shop.example", "*")),
        ("https://b\u00fccher.example", "write it as xn--"),
        *(
            (f"https://{host}", "no IP address")
            for host in ("shop.1", "127.1", "1.2.3.0x4", "[::g]", "[1.2.3.4]", "[]", "[::1")
        ),
        ("https://[2001:DB8:0::1]", r"write \[2001:db8::1\]$"),
        ("https://[::ffff:1.2.3.4]", r"write \[::ffff:102:304\]$"),
        ("https://[fe80::1%eth0]", r"write \[fe80::1\]$"),
    ],
)
def test_an_origin_that_no_browser_sends(origin: str, message: str) -> None:
    """It would never match. The message has what to write instead."""
    with pytest.raises(ValidationError) as caught:
        Serve(cors_origins=[origin])
    (error,) = caught.value.errors()
    assert re.search(message, error["msg"])


@pytest.mark.parametrize(
    "origin",
    [
        *("https://shop.example:80", "http://shop.example:443", "http://localhost:3000", "https://my_shop.example."),
        *(
            "http://192.0.2.1:65535",
            "https://[2001:db8::1]:8443",
            "http://[::ffff:102:304]",
            "https://xn--bcher-kva.example",
        ),
        *("https://1.example", "https://0x.example"),
    ],
)
def test_origins_that_browsers_send(origin: str) -> None:
    assert Serve(cors_origins=[origin, origin.upper()]).cors_origins == [origin, origin]

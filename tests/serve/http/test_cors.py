"""Requests of scripts in web pages of other origins."""

import json
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


def test_a_preflight_of_another_origin_is_refused(address: str) -> None:
    answer = httpx.options(f"{address}{PREDICT}", headers={**PREFLIGHT, "Origin": "https://other.example"})
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


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


@pytest.mark.parametrize(
    "origin", ["shop.example", "https://shop.example/", "https://shop.example/page", "ftp://x", ""]
)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(ValidationError, match="an origin is a scheme, a host"):
        Serve(cors_origins=[origin])

"""The OpenAPI document of the raw routes."""

import pytest

from serve.servables.manager import ServableManager
from serve.server.app import Application
from serve.server.openapi import describe_route
from tests.serve.client import ask
from tests.serve.models import ROW

pytestmark = pytest.mark.tf


def test_describes_the_body_with_a_row_of_each_model(manager: ServableManager) -> None:
    described = describe_route("/v1/models/{name:plain}/versions/{version:plain}:predict", manager)
    assert [p["name"] for p in described["parameters"]] == ["name", "version"]
    examples = described["requestBody"]["content"]["application/json"]["examples"]
    assert examples["tiny"]["value"]["instances"][0].keys() == ROW.keys()
    assert "requestBody" not in describe_route("/v1/models/{name:plain}", manager)


def test_the_examples_are_answered(app: Application, manager: ServableManager) -> None:
    for end in (":predict", ":classify", "/infer"):
        path = f"/v{1 + (end == '/infer')}/models/{{name}}{end}"
        examples = describe_route(path, manager)["requestBody"]["content"]["application/json"]["examples"]
        assert ask(app, "POST", path.format(name="tiny"), json=examples["tiny"]["value"]).status_code == 200


def test_every_status_has_the_one_error_form(manager: ServableManager) -> None:
    for status, response in describe_route("/v1/models", manager)["responses"].items():
        if status != "200":
            assert response["content"]["application/json"]["schema"]["required"] == ["error"]

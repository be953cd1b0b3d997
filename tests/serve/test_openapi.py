"""The OpenAPI document of the raw routes."""

from serve.manager import ServableManager
from serve.openapi import describe_responses, describe_route
from tests.serve.models import ROW


def test_describes_the_body_with_a_row_of_each_model(manager: ServableManager) -> None:
    described = describe_route("/v1/models/{name}/versions/{version}:predict", manager)
    assert [p["name"] for p in described["parameters"]] == ["name", "version"]
    examples = described["requestBody"]["content"]["application/json"]["examples"]
    assert examples["tiny"]["value"]["instances"][0].keys() == ROW.keys()
    assert "requestBody" not in describe_route("/v1/models/{name}", manager)


def test_every_status_has_the_one_error_form() -> None:
    for response in describe_responses().values():
        assert response["content"]["application/json"]["schema"]["required"] == ["error"]

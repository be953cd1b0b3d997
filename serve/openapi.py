"""What OpenAPI says of the protocol routes, whose bodies are read raw."""

from typing import Any

from serve.manager import ServableManager
from serve.protocols.tfs import example_row

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_PARAMETERS = (
    ("name", "string", "The model, which has its product's name."),
    ("version", "integer", "A version in the store; 0 means the newest."),
)
_REASONS = {
    400: "The request does not fit the model; the error names the field, what was expected and what came.",
    404: "No such model or version.",
    413: "The body is over the limit.",
    415: "The body is compressed.",
    500: "A bug of the server or the model.",
    503: "The model is not loaded.",
}


def describe_responses() -> dict[int | str, dict[str, Any]]:
    """The error answers that every route shares."""
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": reason, "content": content} for status, reason in _REASONS.items()}


def describe_route(path: str, manager: ServableManager) -> dict[str, Any]:
    """The parameters in a route's path, and its body if it takes one."""
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": kind},
        }
        for name, kind, text in _PARAMETERS
        if f"{{{name}}}" in path
    ]
    return {
        "parameters": parameters,
        **(_describe_body(manager) if path.endswith(":predict") else {}),
    }


def _describe_body(manager: ServableManager) -> dict[str, Any]:
    schema = {
        "type": "object",
        "description": "Exactly one of instances and inputs.",
        "properties": {
            "signature_name": {"type": "string", "enum": ["serving_default"]},
            "instances": {
                "type": "array",
                "minItems": 1,
                "description": "One object per row, its keys the model's inputs.",
            },
            "inputs": {"type": "object", "description": "One list of values per input."},
        },
    }
    examples = {}
    for name in manager.names:
        servable = manager.loaded(name)
        if servable:
            examples[name] = {"value": {"instances": [example_row(servable.spec)]}}
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}

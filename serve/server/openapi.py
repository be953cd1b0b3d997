"""The OpenAPI document. FastAPI cannot derive the protocol routes, which read raw bodies."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from millrace.features.spec import FeatureSpec
from serve.protocols.describe import example_row
from serve.routes.table import Entry
from serve.servables.manager import ServableManager
from serve.servables.signatures import DATATYPES, SERVING_DEFAULT

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_PARAMETERS = (
    ("name", "string", "The model: the name of its product."),
    ("version", "integer", "A version in the store; 0 means the newest."),
    ("label", "string", "A label of a version, from the configuration."),
)
_REASONS = {
    400: "The request does not fit the model. The error names the field, what was expected and what was found.",
    404: "No such model or version.",
    413: "The body is over the limit.",
    415: "The body is compressed by another method than gzip or deflate.",
    408: "The head or the body arrived too slowly.",
    429: "The server is overloaded. Retry-After gives the seconds until a retry.",
    500: "The model failed, or the server has a bug.",
    501: "The protocol has no form for this dtype, or the model does not offer this.",
    503: "The model is not loaded.",
    504: "The answer took too long.",
}


def build_document(app: FastAPI, entries: Sequence[Entry], manager: ServableManager) -> dict[str, Any]:
    """The OpenAPI document: that of FastAPI, with the protocol routes added."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for entry in entries:
        if entry.is_shown:
            shown = entry.path.replace(":plain", "")
            text = inspect.getdoc(entry.endpoint) or ""
            operation = {"summary": text, **describe_route(entry.path, manager)}
            document["paths"].setdefault(shown, {})[entry.method.lower()] = operation
    return document


def describe_route(path: str, manager: ServableManager) -> dict[str, Any]:
    """The parameters, body and responses of a protocol route.

    Args:
        path: The route's pattern.
        manager: The models, for the examples.
    """
    shown = path.replace(":plain", "")
    content = {"application/json": {"schema": _ERROR}}
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": kind},
        }
        for name, kind, text in _PARAMETERS
        if f"{{{name}}}" in shown
    ]
    body = next((make(manager) for end, make in _BODIES.items() if shown.endswith(end)), None)
    responses = {str(s): {"description": reason, "content": content} for s, reason in _REASONS.items()}
    responses = {"200": {"description": "Success."}, **responses}
    return {"responses": responses, "parameters": parameters, **({"requestBody": body} if body else {})}


def _body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}


def _describe_predict(manager: ServableManager) -> dict[str, Any]:
    schema = {
        "type": "object",
        "description": "Exactly one of instances and inputs.",
        "properties": {
            "signature_name": {"type": "string", "default": SERVING_DEFAULT},
            "instances": {
                "type": "array",
                "minItems": 1,
                "description": "One object per row. Its keys are the inputs of the model.",
            },
            "inputs": {"type": "object", "description": "One list of values per input."},
        },
    }
    return _body(schema, {name: {"value": {"instances": [example_row(spec)]}} for name, spec in _specs(manager)})


def _describe_examples(manager: ServableManager) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["examples"],
        "properties": {
            "signature_name": {"type": "string", "default": SERVING_DEFAULT},
            "context": {"type": "object", "description": "Features that all examples share."},
            "examples": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        },
    }
    return _body(schema, {name: {"value": {"examples": [example_row(spec)]}} for name, spec in _specs(manager)})


def _describe_infer(manager: ServableManager) -> dict[str, Any]:
    tensors = {"type": "array", "items": {"type": "object"}}
    schema = {"type": "object", "required": ["inputs"], "properties": {"inputs": tensors, "outputs": tensors}}
    examples = {}
    for name, spec in _specs(manager):
        row = example_row(spec)
        # A boolean that may be missing is an INT64: 0 or 1.
        data = {f.name: int(row[f.name]) if f.tensor_dtype != f.dtype == "bool" else row[f.name] for f in spec.inputs}
        inputs = [
            {"name": f.name, "shape": [1], "datatype": DATATYPES[f.tensor_dtype], "data": [data[f.name]]}
            for f in spec.inputs
        ]
        examples[name] = {"value": {"inputs": inputs}}
    return _body(schema, examples)


def _specs(manager: ServableManager) -> list[tuple[str, FeatureSpec]]:
    loaded = [manager.loaded(name) for name in manager.names]
    return [(servable.name, servable.spec) for servable in loaded if servable and servable.spec]


_BODIES: Final[dict[str, Callable[[ServableManager], dict[str, Any]]]] = {
    ":predict": _describe_predict,
    ":classify": _describe_examples,
    ":regress": _describe_examples,
    "/infer": _describe_infer,
}

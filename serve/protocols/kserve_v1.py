"""The parts of KServe's protocol, version 1, that TensorFlow Serving does not have."""

from collections.abc import Sequence

from serve.errors import ModelNotFound, Unimplemented
from serve.values.document import dump_json


def encode_models(names: Sequence[str]) -> bytes:
    """Write the list of models."""
    return dump_json({"models": list(names)})


def encode_alive() -> bytes:
    """Write the response to ``GET /``, by which KServe's client checks that the server is alive."""
    return dump_json({"status": "alive"})


def not_implemented(verb: str) -> Unimplemented:
    """The error for a verb that the model does not offer."""
    return Unimplemented(f"the model does not offer '{verb}'")


def no_such_model(name: str, version: int | None) -> ModelNotFound:
    """The error of a status request: KServe's message for a model, TensorFlow Serving's for a version."""
    error = ModelNotFound(name, version)
    shown = error.name
    message = (
        f"Model with name {shown} does not exist."
        if version is None
        else f"Could not find version {version} of model {shown}"
    )
    error.args = (message,)
    return error

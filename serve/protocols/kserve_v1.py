"""KServe's protocol, version 1, where it is more than TensorFlow Serving's predict."""

from collections.abc import Sequence

from serve.errors import ModelNotFound, Unimplemented
from serve.values.document import dump_json


def encode_models(names: Sequence[str]) -> bytes:
    """Write the list of models."""
    return dump_json({"models": list(names)})


def encode_alive() -> bytes:
    """Write the answer of ``GET /``, which KServe's client asks whether the server lives."""
    return dump_json({"status": "alive"})


def not_implemented(verb: str) -> Unimplemented:
    """What answers a verb that a model does not offer."""
    return Unimplemented(f"the model does not offer '{verb}'")


def no_such_model(name: str, version: int | None) -> ModelNotFound:
    """The words of a status that finds nothing: KServe's for a model, TensorFlow Serving's for a version."""
    error = ModelNotFound(name, version)
    shown = error.name
    said = (
        f"Model with name {shown} does not exist."
        if version is None
        else f"Could not find version {version} of model {shown}"
    )
    error.args = (said,)
    return error

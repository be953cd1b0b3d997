"""Calls the function that builds the trunk, and checks what it returns."""

from typing import Any

from pydantic import ValidationError

from millrace.config.sections.train import Train
from millrace.dotted import load_function
from millrace.errors import ConfigError
from train.preprocessing.layers import CATEGORY, NUMERIC, Encoding


def build_trunk(train: Train, encoding: Encoding, units: int) -> Any:
    """Call the builder that ``train.model`` names; returns a Keras model that takes both tensors by name.

    Args:
        train: The section ``train`` of the product file.
        encoding: Widths of the encoded inputs.
        units: Width of the output.

    Raises:
        ConfigError: The options are wrong, or it did not return a Keras model with the inputs ``numeric`` and
            ``category`` and one output for each score.
    """
    import keras

    builder = load_function(train.model)
    try:
        trunk = builder(encoding, units, train.options)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"train.options: {problems}", hint=f"see the options of {train.model}") from error
    if not isinstance(trunk, keras.Model):
        raise ConfigError(f"train.model: {train.model} returned {type(trunk).__name__}, expected a keras.Model")
    if type(trunk).train_step is not keras.Model.train_step:
        raise ConfigError(
            f"train.model: {train.model} returned a model with a train_step of its own, which is not used",
            hint="use add_loss for another loss; all ranks take the same steps",
        )
    found = _inputs_of(trunk)
    expected = {NUMERIC: (None, encoding.numeric), CATEGORY: (None, len(encoding.categories))}
    if found != expected:
        raise ConfigError(
            f"train.model: {train.model} returned a model with inputs {found or 'without names'}, expected {expected}",
            hint="build it with keras.Model({'numeric': keras.Input(...), 'category': keras.Input(...)}, outputs)",
        )
    if trunk.output_shape != (None, units):
        raise ConfigError(
            f"train.model: {train.model} returned a model with output shape {trunk.output_shape}, "
            f"expected (None, {units})"
        )
    return trunk


def _inputs_of(trunk: Any) -> dict[str, Any]:
    """Shape by name of the inputs; empty for a model that is not built from `keras.Input`."""
    try:
        given = trunk.input
    except (AttributeError, ValueError):
        return {}
    if isinstance(given, dict):
        return {name: tensor.shape for name, tensor in given.items()}
    return {tensor.name: tensor.shape for tensor in trunk.inputs}

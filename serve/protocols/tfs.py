"""TensorFlow Serving's REST protocol: predict in row and column form, status, metadata.

Where its own server is laxer, the strict answer is given: fields that the model does not have are refused in column
form too, and only tensors of one value a row exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt

from pipelines.config.dotted import suggestion
from pipelines.errors import shorten
from pipelines.features import Feature, FeatureSpec
from pipelines.models import ModelManifest
from serve.errors import BadValue, InvalidRequest
from serve.protocols.values import (
    MAX_SHOWN,
    decode_column,
    describe,
    dump_json,
    encode_column,
    expected_of,
    parse_json,
)

SIGNATURE: Final = "serving_default"
MAX_NAMES: Final = 5
"""How many unknown fields a message lists."""


@dataclass(frozen=True)
class PredictRequest:
    """A decoded predict request.

    Attributes:
        inputs: One array per input of the model.
        is_row_form: Whether it came as ``instances`` and is answered with ``predictions``.
        rows: How many rows it asks for.
    """

    inputs: dict[str, npt.NDArray[Any]]
    is_row_form: bool
    rows: int


def decode_predict(body: bytes, spec: FeatureSpec) -> PredictRequest:
    """Read a predict request.

    Raises:
        InvalidRequest: Says which field of which instance does not fit, what was expected and what came.
    """
    document = parse_json(body)
    if not isinstance(document, dict):
        raise InvalidRequest(f"expected an object with 'instances' or 'inputs', found {describe(document)}")
    signature = document.get("signature_name", SIGNATURE)
    if signature != SIGNATURE:
        raise InvalidRequest(f'signature_name: expected "{SIGNATURE}", found {describe(signature)}')
    forms = [form for form in ("instances", "inputs") if form in document]
    if len(forms) != 1:
        raise InvalidRequest(f"expected either 'instances' or 'inputs', found {'both' if forms else 'neither'}")
    is_row_form = forms == ["instances"]
    value = document[forms[0]]
    columns = _columns_of_rows(value, spec) if is_row_form else _columns(value, spec)
    rows = _count_rows(columns)
    problems: list[str] = []
    inputs = {}
    for feature in spec.inputs:
        try:
            inputs[feature.name] = decode_column(columns[feature.name], feature)
        except BadValue as error:
            where = (
                f"instances[{error.position}]: field '{feature.name}'"
                if is_row_form
                else f"inputs: field '{feature.name}', value {error.position}"
            )
            problems.append(f"{where}: expected {error.expected}, found {error.found}")
    if problems:
        raise InvalidRequest(problems)
    return PredictRequest(inputs, is_row_form, rows)


def encode_predict(outputs: dict[str, npt.NDArray[Any]], *, is_row_form: bool) -> bytes:
    """Write a predict response: bare values for a model with one output, else objects by name."""
    columns = {name: encode_column(name, values) for name, values in outputs.items()}
    if len(columns) == 1:
        only = next(iter(columns.values()))
        return dump_json({"predictions" if is_row_form else "outputs": only})
    if not is_row_form:
        return dump_json({"outputs": columns})
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return dump_json({"predictions": [dict(zip(names, row, strict=True)) for row in rows]})


def encode_metadata(manifest: ModelManifest, signature_def: dict[str, Any]) -> bytes:
    """Write a model's metadata; the double nesting is TF Serving's."""
    model = {"name": manifest.name, "signature_name": "", "version": str(manifest.version)}
    signatures = {"signature_def": {SIGNATURE: signature_def}}
    return dump_json({"model_spec": model, "metadata": {"signature_def": signatures}})


def encode_status(name: str, *, ready: bool, versions: Sequence[tuple[int, str, str]]) -> bytes:
    """Write a model's status: TF Serving's list, and KServe's ``name`` and ``ready`` beside it.

    Args:
        name: The model.
        ready: Whether a version of it is loaded.
        versions: Number, state and error message of each.
    """
    listed = [
        {
            "version": str(number),
            "state": state,
            "status": {"error_code": "UNAVAILABLE" if message else "OK", "error_message": message},
        }
        for number, state, message in sorted(versions, reverse=True)
    ]
    return dump_json({"name": name, "ready": ready, "model_version_status": listed})


def example_row(spec: FeatureSpec) -> dict[str, Any]:
    """A row that a model takes, for its documentation."""
    examples = {
        "float32": 1.5,
        "float64": 1.5,
        "int64": 1,
        "bool": True,
        "string": "text",
        "timestamp": "2013-01-31T12:00:00Z",
    }
    return {feature.name: examples[feature.dtype] for feature in spec.inputs}


def _columns_of_rows(rows: Any, spec: FeatureSpec) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        found = "an empty list" if rows == [] else describe(rows)
        raise InvalidRequest(f"instances: expected a list of at least one row, found {found}")
    names = {feature.name for feature in spec.inputs}
    if len(names) == 1 and not _is_named(rows[0]):
        for number, row in enumerate(rows):
            if _is_named(row):
                raise InvalidRequest(
                    f"instances[{number}]: expected a plain value as in instances[0], found {describe(row)}"
                )
        return {next(iter(names)): rows}
    for number, row in enumerate(rows):
        if type(row) is not dict or row.keys() != names:
            raise InvalidRequest(_name_problems(f"instances[{number}]", row, spec))
    return {name: [row[name] for row in rows] for name in names}


def _columns(columns: Any, spec: FeatureSpec) -> dict[str, list[Any]]:
    names = {feature.name for feature in spec.inputs}
    if len(names) == 1 and not _is_named(columns):
        columns = {next(iter(names)): columns}
    if type(columns) is not dict or columns.keys() != names:
        raise InvalidRequest(_name_problems("inputs", columns, spec))
    for name, values in columns.items():
        if type(values) is not list:
            raise InvalidRequest(f"inputs: field '{name}': expected a list of values, found {describe(values)}")
    return columns


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() != {"b64"}


def _name_problems(where: str, row: Any, spec: FeatureSpec) -> list[str]:
    features: dict[str, Feature] = {feature.name: feature for feature in spec.inputs}
    if not isinstance(row, dict):
        return [f"{where}: expected an object with the fields {', '.join(features)}, found {describe(row)}"]
    missing = [name for name in features if name not in row]
    unknown = [name for name in row if name not in features]
    problems = []
    for name in unknown[:MAX_NAMES]:
        near = suggestion(name[:MAX_SHOWN], missing or list(features))
        quoted = describe(name).removeprefix("the string ")
        problems.append(f"{where}: the model has no field {quoted}; {shorten(near, 300)}")
    if len(unknown) > MAX_NAMES:
        problems.append(f"{where}: {len(unknown) - MAX_NAMES} more unknown fields")
    if len(missing) == 1:
        problems.append(f"{where}: field '{missing[0]}' is missing: expected {expected_of(features[missing[0]])}")
    elif missing:
        listed = ", ".join(f"'{name}' ({expected_of(features[name])})" for name in missing)
        problems.append(f"{where}: {len(missing)} fields are missing: {listed}")
    return problems


def _count_rows(columns: dict[str, list[Any]]) -> int:
    lengths = {name: len(values) for name, values in columns.items()}
    short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[short] != lengths[long]:
        raise InvalidRequest(
            f"inputs: expected as many values in each field, found {lengths[long]} in '{long}' "
            f"and {lengths[short]} in '{short}'"
        )
    if not lengths[short]:
        raise InvalidRequest("inputs: expected at least one value in each field, found none")
    return lengths[short]

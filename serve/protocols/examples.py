"""TensorFlow Serving's classify and regress: examples in, labels with scores or numbers out.

A classify or regress signature takes serialised ``tf.Example``. A model trained by Millrace has no such signature: its
examples are rows of its inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from millrace.features.encoding import INT64_MIN
from millrace.features.spec import FeatureSpec
from serve.errors import BadValue, InvalidRequest
from serve.inference.rowwise import Reported
from serve.protocols.describe import class_labels
from serve.protocols.tfs import decode_document
from serve.servables.signatures import CLASSIFY, REGRESS, Signature, TensorInfo
from serve.values.arrays import Array, BadBase64, decode_base64, decode_values
from serve.values.document import describe, dump_json, kind_of

INPUT: Final = "inputs"
"""The one input of such a signature (TF Serving's ``signature_constants``)."""
UINT64_MAX: Final = 2**64 - 1
DOUBLE_MAX: Final = int(np.finfo(np.float64).max)
METHODS: Final = {"classify": CLASSIFY, "regress": REGRESS}

Values = list[int] | list[float] | list[bytes]
Example = dict[str, tuple[str, Values]]
"""The kind and the values of each feature."""


@dataclass(frozen=True)
class ExamplesRequest:
    """A classify or regress request whose examples are still JSON.

    Attributes:
        signature: The signature.
        rows: The examples.
        context: Features that all examples share.
        parameters: The parameters of the request.
    """

    signature: Signature
    rows: list[Any]
    context: Example
    parameters: Any = None

    def examples(self) -> list[Example]:
        """The examples, each with the features of the context.

        Raises:
            InvalidRequest: A feature does not fit.
        """
        return [{**self.context, **decode_example(row)} for row in self.rows]

    @property
    def size(self) -> int:
        """Estimated bytes of the decoded examples; the context counts for each of them."""
        return 8 * len(self.rows) * max(len(self.context), len(self.signature.inputs))

    def inputs(self, method: str) -> dict[str, Array]:
        """The inputs of the model; see `inputs_of`."""
        return inputs_of(self.examples(), self.signature, method)


def decode_examples(body: bytes, signatures: Mapping[str, Signature]) -> ExamplesRequest:
    """Read a classify or regress request without decoding its examples.

    Raises:
        InvalidRequest: There are no examples, or the context does not fit.
        UnknownSignature: The model has no such signature.
    """
    document, signature = decode_document(body, signatures)
    context = decode_example(document["context"]) if "context" in document else {}
    if "examples" not in document:
        raise InvalidRequest("When method is classify or regress, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise InvalidRequest(f"JSON Value: {describe(examples)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise InvalidRequest("JSON Value: [] 'examples' value is an empty array")
    return ExamplesRequest(signature, examples, context, document.get("parameters"))


def decode_example(value: Any) -> Example:
    """Read an example.

    Raises:
        InvalidRequest: It is not an object, or a feature does not fit.
    """
    if not isinstance(value, dict):
        raise InvalidRequest(f"Example must be JSON object but got JSON {kind_of(value)}")
    return {name: decode_feature(name[:64], content) for name, content in value.items()}


def decode_feature(name: str, content: Any) -> tuple[str, Values]:
    """Read a feature of an example.

    Raises:
        InvalidRequest: Its values are not all of one kind that an example has.
    """
    kind, values = "", []
    for value in content if isinstance(content, list) else [content]:
        found, decoded = _decode_element(name, value)
        if kind not in ("", found):
            raise InvalidRequest(f"Unexpected element type in feature: {name} expecting type: {kind}")
        kind = found
        values.append(decoded)
    return kind, values


def _decode_element(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, str):
        return "bytes", value.encode(errors="replace")
    if isinstance(value, bool):
        return "int64", int(value)
    if isinstance(value, int):
        if INT64_MIN <= value < -INT64_MIN:
            return "int64", value
        if 0 < value <= UINT64_MAX:
            raise InvalidRequest(f"Feature: {name} has uint64 element. Only int64 is supported.")
        if abs(value) > DOUBLE_MAX:
            raise InvalidRequest(f"Feature: {name}: {describe(value)} is too big to be stored in double")
        return "float", value  # as TensorFlow Serving's parser: a number without a place in 64 bits
    if isinstance(value, float):
        return "float", value
    if isinstance(value, dict) and value.keys() == {"b64"}:
        try:
            return "bytes", decode_base64(value)
        except BadBase64 as error:
            raise InvalidRequest(f"Feature: {name}: {error}") from None
    raise InvalidRequest(f"Feature: {name} has element with unexpected JSON type: {kind_of(value)}")


def takes_examples(signature: Signature, method: str) -> bool:
    """Whether a signature takes serialised examples; otherwise they are rows of its inputs.

    Args:
        signature: The signature.
        method: ``classify`` or ``regress``.

    Raises:
        InvalidRequest: The signature is of another kind.
    """
    if signature.method == METHODS[method] and INPUT in signature.inputs:
        return True
    if not any(info.feature for info in signature.inputs.values()):
        raise InvalidRequest(
            f"Expected {method} signature method_name to be {METHODS[method]}. Was: {signature.method[:64]}"
        )
    return False


def inputs_of(examples: Sequence[Example], signature: Signature, method: str) -> dict[str, Array]:
    """The inputs of the model: serialised examples, or its own inputs; see `takes_examples`.

    Raises:
        InvalidRequest: The signature is of another kind, or an example does not fit the model's inputs.
    """
    if takes_examples(signature, method):
        return {INPUT: np.array([_serialise(example) for example in examples], dtype=object)}
    try:
        return {name: column_of(examples, info) for name, info in signature.inputs.items()}
    except BadValue as error:
        raise InvalidRequest(f"Example {error.position}: feature {error.name}: {error.reason}") from None


def _serialise(example: Example) -> bytes:
    from tensorflow.core.example import example_pb2, feature_pb2

    made = example_pb2.Example()
    for name, (kind, values) in example.items():
        feature = feature_pb2.Feature()
        if kind == "float":
            with np.errstate(over="ignore"):  # rounded, or infinite: as TensorFlow Serving converts it
                feature.float_list.value.extend(np.array(values, np.float64).astype(np.float32).tolist())
        elif kind:
            getattr(feature, f"{kind}_list").value.extend(values)
        made.features.feature[name.encode(errors="replace").decode()].CopyFrom(feature)
    return bytes(made.SerializeToString())


def column_of(examples: Sequence[Example], info: TensorInfo) -> Array:
    """The values of one input of a model.

    Raises:
        BadValue: The first example that does not fit.
    """
    column: list[Any] = []
    for number, example in enumerate(examples):
        kind, values = example.get(info.name, ("", []))
        if len(values) > 1:
            raise BadValue(info.name, number, f"{len(values)} values, and the model takes one")
        if not values:
            column.append(None)
        elif info.dtype == "bool" or (info.feature and info.feature.dtype == "bool"):
            column.append(bool(values[0]) if kind == "int64" and values[0] in (0, 1) else values[0])
        else:
            column.append(values[0].decode(errors="replace") if isinstance(values[0], bytes) else values[0])
    return decode_values(column, info)


def class_scores(outputs: Mapping[str, Array], spec: FeatureSpec) -> tuple[list[str], Array]:
    """The labels of a classifier that Millrace trained, and one row of scores per row.

    Raises:
        InvalidRequest: The model is not a classifier.
    """
    labels = class_labels(spec)
    if spec.label.task == "binary":
        positive = outputs["probability"]
        return labels, np.stack([1 - positive, positive], axis=1)
    if spec.label.task == "multiclass":
        return labels, outputs["probabilities"]
    raise InvalidRequest("the model predicts a number: use regress or predict")


def encode_classify(
    outputs: Mapping[str, Array], rows: int, spec: FeatureSpec | None, reported: Reported | None = None
) -> bytes:
    """Write a classify response: for each row, pairs of label and score.

    Args:
        outputs: Of a classify signature: ``classes``, ``scores`` or both; else those of a model trained by Millrace.
        rows: Number of examples in the request.
        spec: The feature spec of a model trained by Millrace.
        reported: Which rows are bad, if the request wants that.

    Raises:
        InvalidRequest: The outputs are not a classification.
    """
    if reported and not reported.row_ok.any():
        return _encode_results([None] * rows, reported)
    classes, scores = outputs.get("classes"), outputs.get("scores")
    if spec is not None and classes is None and scores is None:
        labels, scores = class_scores(outputs, spec)
        order = np.argsort(-scores, axis=1, kind="stable")
        scores = np.take_along_axis(scores, order, axis=1)
        names = [[labels[index] for index in row] for row in order.tolist()]
    else:
        found = classes if classes is not None else scores
        if found is None or found.shape[:1] != (rows,):
            raise InvalidRequest("the signature returns neither classes nor scores with one row per example")
        shape = (rows, found.size // rows)
        texts = [[""] * shape[1]] * rows if classes is None else classes.reshape(shape).tolist()
        names = [[t.decode(errors="replace") if isinstance(t, bytes) else t for t in row] for row in texts]
        scores = np.zeros(shape, np.float32) if scores is None else scores
        if scores.size != found.size:
            raise InvalidRequest("the signature does not return one score per class")
        scores = scores.reshape(shape)
    results = [list(map(list, zip(row, score, strict=True))) for row, score in zip(names, scores, strict=True)]
    return _encode_results(results, reported, non_finite=not np.isfinite(scores).all())


def encode_regress(outputs: Mapping[str, Array], rows: int, reported: Reported | None = None) -> bytes:
    """Write a regress response: one number per row; see `encode_classify`.

    Raises:
        InvalidRequest: The outputs are not one number per example.
    """
    if reported and not reported.row_ok.any():
        return _encode_results([None] * rows, reported)
    values = outputs.get("outputs", outputs.get("prediction"))
    if values is None or values.size != rows or values.dtype.kind != "f":
        raise InvalidRequest("the signature does not return one number per example")
    return _encode_results(list(values.reshape(rows)), reported, non_finite=not np.isfinite(values).all())


def _encode_results(results: list[Any], reported: Reported | None, *, non_finite: bool = False) -> bytes:
    if reported is None:
        return dump_json({"results": results}, non_finite=non_finite)
    shown = [result if ok else None for result, ok in zip(results, reported.row_ok.tolist(), strict=True)]
    errors = [error.as_dict() for error in reported.errors]
    return dump_json({"results": shown, "row_errors": errors}, non_finite=non_finite)

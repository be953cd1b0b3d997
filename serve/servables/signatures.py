"""The signatures of a SavedModel, read from its graph definition before TensorFlow loads it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from millrace.features.encoding import Dictionary, Encoded
from millrace.features.spec import Feature, FeatureSpec
from millrace.models.store import SAVED_MODEL
from serve.errors import InvalidRequest, UnknownSignature

logger = logging.getLogger(__name__)

SERVING_DEFAULT: Final = "serving_default"
PREDICT: Final = "tensorflow/serving/predict"
CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"

SERVE_TAG: Final = "serve"
INTERNAL: Final = "__saved_model_"
"""Prefix of TensorFlow's internal signatures."""

DATATYPES: Final = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""The Open Inference Protocol's datatype for each dtype that it has; tensors of other dtypes cannot be sent."""
_NUMPY_NAMES: Final = {"HALF": "float16", "FLOAT": "float32", "DOUBLE": "float64"}
"""Numpy's names of the data types that TensorFlow names otherwise."""

JSON_DTYPES: Final = frozenset("float32 float64 int8 int16 int32 int64 uint8 uint32 uint64 bool string".split())
"""The dtypes that TensorFlow Serving reads and writes as JSON; not UINT16, half floats and complex numbers."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a signature.

    Attributes:
        name: Its key in the signature, which clients use.
        dtype: Its numpy name, or ``string``; the lower-case name of TensorFlow's type if numpy has none.
        shape: -1 where any size fits; None if the rank is unknown.
        feature: The feature; None if Millrace did not train the model.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None
    feature: Feature | None = None

    @property
    def is_batched(self) -> bool:
        """Whether the first dimension counts rows."""
        return self.shape is not None and self.shape[:1] == (-1,)

    @cached_property
    def datatype(self) -> str:
        """The datatype that clients see, everywhere; an upper-case dtype if the Open Inference Protocol has none."""
        return DATATYPES.get(self.dtype, self.dtype.upper())

    @property
    def shown_shape(self) -> list[int]:
        """The shape that clients see; [-1] also if the rank is unknown, for which the protocols have no form."""
        return [-1] if self.shape is None else list(self.shape)

    def as_dict(self) -> dict[str, Any]:
        """The Open Inference Protocol's description of the tensor."""
        return {"name": self.name, "datatype": self.datatype, "shape": self.shown_shape}

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want in (-1, found) for want, found in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class Signature:
    """One function of a model.

    Attributes:
        name: Its key in the model.
        method: TensorFlow Serving's method name, such as `PREDICT`.
        inputs: By name, in the graph's order.
        outputs: By name, in the graph's order.
        definition: The whole SignatureDef, in protobuf's JSON.
        is_rowwise: Whether the outputs had one row per row of the inputs, if that was tried.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    definition: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_rowwise: bool = True

    @cached_property
    def is_batched(self) -> bool:
        """Whether one call can answer the rows of several requests."""
        infos = (*self.inputs.values(), *self.outputs.values())
        return self.is_rowwise and all(info.is_batched for info in infos)

    @cached_property
    def is_tabular(self) -> bool:
        """Whether every input has one value per row, so that requests can be joined before their values are decoded."""
        return self.is_batched and all(
            info.shape == (-1,) and info.dtype in JSON_DTYPES for info in self.inputs.values()
        )

    @cached_property
    def row_of(self) -> "itemgetter[Any]":
        """Returns the values of all inputs of a row as a tuple; of a single input the value itself."""
        return itemgetter(*self.inputs)

    def wanted(self, outputs: Sequence[str] | None) -> list[str]:
        """The names of the outputs to return: the wanted ones, or all.

        Raises:
            InvalidRequest: There is no output of this name.
        """
        unknown = [name for name in outputs or () if name not in self.outputs]
        if unknown:
            known = ", ".join(self.outputs)
            raise InvalidRequest([f"the model has no output '{name[:64]}'; it has {known}" for name in unknown])
        return list(self.outputs) if outputs is None else list(outputs)


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature with a name.

    Raises:
        UnknownSignature: The model has none of this name.
    """
    if name not in signatures:
        raise UnknownSignature(name, tuple(signatures))
    return signatures[name]


def default_signature(signatures: Mapping[str, Signature]) -> Signature:
    """The signature of V2's requests and metadata that name none: ``serving_default``, else the first for prediction.

    Triton chooses another one, too, if there is no ``serving_default``; TensorFlow Serving does not.

    Raises:
        UnknownSignature: The model has none for prediction.
    """
    if SERVING_DEFAULT in signatures:
        return signatures[SERVING_DEFAULT]
    for_prediction = [name for name, signature in sorted(signatures.items()) if signature.method == PREDICT]
    return find_signature(signatures, for_prediction[0] if for_prediction else SERVING_DEFAULT)


def check_inputs(signature: Signature, inputs: Mapping[str, Encoded], *, counts_rows: bool = True) -> int | None:
    """Check inputs against a signature, and return their number of rows if the first dimension counts rows.

    Args:
        signature: The signature.
        inputs: The inputs by name.
        counts_rows: Whether a first dimension of any size counts rows; otherwise it may mean anything.

    Raises:
        InvalidRequest: They do not fit the signature.
    """
    problems = [f"input '{n}' is missing" for n in signature.inputs.keys() - inputs.keys()]
    problems += [f"the model has no input '{n}'" for n in inputs.keys() - signature.inputs.keys()]
    for name in signature.inputs.keys() & inputs.keys():
        problems += _mismatches(signature.inputs[name], inputs[name])
    lengths = (
        {name: len(column) for name, column in inputs.items()}
        if counts_rows and signature.is_batched and not problems
        else {}
    )
    if len(set(lengths.values())) > 1:
        problems.append(f"inputs differ in length: {lengths}")
    if problems:
        raise InvalidRequest(sorted(problems))
    return next(iter(lengths.values()), None)


def _mismatches(info: TensorInfo, column: Encoded) -> list[str]:
    shape: tuple[int, ...]
    if isinstance(column, Dictionary):
        found, shape = "string", (len(column),)
    else:
        found, shape = "string" if column.dtype.kind == "O" else column.dtype.name, column.shape
    if found != info.dtype:
        return [f"input '{info.name}': expected {info.dtype}, found {found}"]
    if info.takes(shape):
        return []
    return [f"input '{info.name}': expected shape {list(info.shape or ())}, found {list(shape)}"]


def read_signatures(folder: Path, spec: FeatureSpec | None = None) -> dict[str, Signature]:
    """Read the signatures of a SavedModel; see `parse_signatures`."""
    return parse_signatures((folder / SAVED_MODEL).read_bytes(), spec)


def parse_signatures(data: bytes, spec: FeatureSpec | None = None) -> dict[str, Signature]:
    """Read the signatures of a SavedModel from the bytes of its `SAVED_MODEL`.

    Args:
        data: The bytes.
        spec: The feature spec of ``serving_default``, if Millrace trained the model.

    Raises:
        ValueError: They hold no graph for serving.
    """
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"{SAVED_MODEL} is not a SavedModel") from error
    graphs = [graph for graph in model.meta_graphs if SERVE_TAG in graph.meta_info_def.tags]
    if not graphs:
        raise ValueError(f"{SAVED_MODEL} has no graph with the tag '{SERVE_TAG}'")
    graph = min(graphs, key=lambda graph: len(graph.meta_info_def.tags))  # as TensorFlow Serving: no other tags
    features = {feature.name: feature for feature in spec.inputs} if spec else {}
    found = {}
    for name, definition in sorted(graph.signature_def.items()):
        if name.startswith(INTERNAL):
            continue
        if not all(info.name for info in (*definition.inputs.values(), *definition.outputs.values())):
            logger.warning("signature %r has a sparse tensor and is not served", name)
            continue
        known = features if name == SERVING_DEFAULT else {}
        found[name] = Signature(
            name,
            definition.method_name,
            {key: _tensor_info(key, info, known.get(key)) for key, info in sorted(definition.inputs.items())},
            {key: _tensor_info(key, info) for key, info in sorted(definition.outputs.items())},
            MessageToDict(definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True),
        )
    return found


def _tensor_info(name: str, info: Any, feature: Feature | None = None) -> TensorInfo:
    from tensorflow.core.framework import types_pb2

    known = types_pb2.DataType.DESCRIPTOR.values_by_number.get(info.dtype)
    word = known.name.removeprefix("DT_") if known else f"type_{info.dtype}"
    proto = info.tensor_shape
    shape = None if proto.unknown_rank else tuple(int(dim.size) for dim in proto.dim)
    return TensorInfo(name, _NUMPY_NAMES.get(word, word.lower()), shape, feature)

"""Rows stored in a model with the predictions of training: a server warms up with them, and verifies its results.

The file has TensorFlow Serving's format, which warms up with it too: records of ``PredictionLog`` messages, each with a
request and its response, which TensorFlow Serving ignores. Source: its ``apis/prediction_log.proto``,
``predict.proto`` and ``model.proto``. Tensors are bytes of ``TensorProto``, because this module runs without
TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

FILE: Final = "assets.extra/tf_serving_warmup_requests"
"""Path in the model version's folder."""
MAX_RECORDS: Final = 1000
"""TensorFlow Serving refuses a model with more records."""


@dataclass(frozen=True)
class Golden:
    """A request and its response; tensors as the bytes of a ``TensorProto``, by name.

    Attributes:
        signature: Name of the signature; empty for the default.
        inputs: Inputs of the request.
        outputs: Expected outputs; empty if unknown.
    """

    signature: str
    inputs: Mapping[str, bytes]
    outputs: Mapping[str, bytes]


def encode_record(golden: Golden) -> bytes:
    """Encode a record of the file."""
    log = _prediction_log()()
    request, response = log.predict_log.request, log.predict_log.response
    request.model_spec.signature_name = golden.signature
    for into, tensors in ((request.inputs, golden.inputs), (response.outputs, golden.outputs)):
        for name in sorted(tensors):
            into[name] = tensors[name]
    return bytes(log.SerializeToString(deterministic=True))


def decode_record(record: bytes) -> Golden | None:
    """Decode a record; None if its request is not of the kind predict.

    Raises:
        ValueError: The record is not a ``PredictionLog``.
    """
    from google.protobuf.message import DecodeError

    try:
        log = _prediction_log().FromString(record)
    except DecodeError as error:
        raise ValueError("it is not a PredictionLog") from error
    if not log.HasField("predict_log"):
        return None
    request, response = log.predict_log.request, log.predict_log.response
    return Golden(request.model_spec.signature_name, dict(request.inputs), dict(response.outputs))


@cache
def _prediction_log() -> Any:
    """Build the message's class; fields have the numbers of the sources, and tensors stay bytes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="millrace/warmup.proto", package="millrace.warmup", syntax="proto3")
    fields = descriptor_pb2.FieldDescriptorProto

    def add(name: str, /, **members: tuple[int, str]) -> Any:
        message = file.message_type.add(name=name)
        for member, (number, kind) in members.items():
            field = message.field.add(name=member, number=number, label=fields.LABEL_OPTIONAL)
            if kind == "string":
                field.type = fields.TYPE_STRING
            elif kind == "tensors":
                entry = message.nested_type.add(name=f"{member.capitalize()}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, label=fields.LABEL_OPTIONAL, type=fields.TYPE_STRING)
                entry.field.add(name="value", number=2, label=fields.LABEL_OPTIONAL, type=fields.TYPE_BYTES)
                field.label, field.type = fields.LABEL_REPEATED, fields.TYPE_MESSAGE
                field.type_name = f".millrace.warmup.{name}.{entry.name}"
            else:
                field.type, field.type_name = fields.TYPE_MESSAGE, f".millrace.warmup.{kind}"
        return message

    add("ModelSpec", name=(1, "string"), signature_name=(3, "string"))
    add("PredictRequest", model_spec=(1, "ModelSpec"), inputs=(2, "tensors"))
    add("PredictResponse", outputs=(1, "tensors"), model_spec=(2, "ModelSpec"))
    add("PredictLog", request=(1, "PredictRequest"), response=(2, "PredictResponse"))
    add("PredictionLog", predict_log=(6, "PredictLog"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("millrace.warmup.PredictionLog"))

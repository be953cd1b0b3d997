"""Rows that ship in a model, with the answers that training gave: a server warms up by them, and checks itself.

The file is TensorFlow Serving's own, which warms up by it too: records of ``PredictionLog`` messages, each with a
request and, beside it, the response, which TensorFlow Serving leaves alone. Source: its ``apis/prediction_log.proto``,
``predict.proto`` and ``model.proto``. Tensors are bytes here, as ``TensorProto`` writes them: this module runs without
TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

FILE: Final = "assets.extra/tf_serving_warmup_requests"
"""Under the model version's folder."""
MAX_RECORDS: Final = 1000
"""TensorFlow Serving refuses a model that has more."""


@dataclass(frozen=True)
class Golden:
    """A request and its answer; tensors as the bytes of a ``TensorProto``, by name.

    Attributes:
        signature: Which function is asked; empty for the default.
        inputs: What is asked.
        outputs: The right answer; empty if none is known.
    """

    signature: str
    inputs: Mapping[str, bytes]
    outputs: Mapping[str, bytes]


def encode_record(golden: Golden) -> bytes:
    """A record of the file."""
    log = _prediction_log()()
    request, response = log.predict_log.request, log.predict_log.response
    request.model_spec.signature_name = golden.signature
    for into, tensors in ((request.inputs, golden.inputs), (response.outputs, golden.outputs)):
        for name in sorted(tensors):
            into[name] = tensors[name]
    return bytes(log.SerializeToString(deterministic=True))


def decode_record(record: bytes) -> Golden | None:
    """What a record says; None if it is a request of another kind than predict.

    Raises:
        ValueError: It is no ``PredictionLog``.
    """
    from google.protobuf.message import DecodeError

    try:
        log = _prediction_log().FromString(record)
    except DecodeError as error:
        raise ValueError("it is no PredictionLog") from error
    if not log.HasField("predict_log"):
        return None
    request, response = log.predict_log.request, log.predict_log.response
    return Golden(request.model_spec.signature_name, dict(request.inputs), dict(response.outputs))


@cache
def _prediction_log() -> Any:
    """The message's class; its fields have the numbers of the sources, and tensors stay bytes."""
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

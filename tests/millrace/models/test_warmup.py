"""The records of a model's warm-up file."""

import pytest

from millrace.models.warmup import Golden, decode_record, encode_record

GOLDEN = Golden("serving_default", {"a": b"\x08\x01", "b": b""}, {"y": b"\x08\x02"})


def test_a_record_comes_back() -> None:
    assert decode_record(encode_record(GOLDEN)) == GOLDEN


def test_bytes_are_those_of_tensorflow_serving() -> None:
    # Field 6 of PredictionLog holds PredictLog: 1 is the request (1 spec: 3 signature; 2 inputs), 2 the answer.
    spec = b"\x1a\x01s"
    request = b"\x0a\x03" + spec + b"\x12\x07" + b"\x0a\x01a" + b"\x12\x02\x08\x01"
    response = b"\x0a\x07" + b"\x0a\x01y" + b"\x12\x02\x08\x02"
    predict = b"\x0a" + bytes([len(request)]) + request + b"\x12" + bytes([len(response)]) + response
    record = b"\x32" + bytes([len(predict)]) + predict
    assert encode_record(Golden("s", {"a": b"\x08\x01"}, {"y": b"\x08\x02"})) == record


def test_what_other_systems_write() -> None:
    # A version (field 2 of the spec, an Int64Value), an output filter (field 3) and metadata (field 1) may be there.
    spec = b"\x0a\x01m\x12\x02\x08\x05"
    request = b"\x0a" + bytes([len(spec)]) + spec + b"\x1a\x01y"
    predict = b"\x0a" + bytes([len(request)]) + request
    record = b"\x0a\x00" + b"\x32" + bytes([len(predict)]) + predict
    assert decode_record(record) == Golden("", {}, {})
    assert decode_record(b"\x0a\x00\x12\x00") is None  # a classify log


def test_no_record() -> None:
    with pytest.raises(ValueError, match="not a PredictionLog"):
        decode_record(b"\xff\xff\xff")

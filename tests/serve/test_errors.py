"""Which error is which HTTP status, and what a client may read of it."""

import pytest

from millrace.errors import ArtifactNotFound, ConfigError, FeatureMismatch, MillraceError, StorageError
from millrace.models.manifest import ModelDamaged
from serve import errors
from serve.isolation.process import Ended

CASES = [
    (errors.InvalidRequest("x"), 400),
    (errors.BodyTooLarge(5), 413),
    (errors.EncodingRefused("gzip"), 415),
    (errors.BadValue("x", 0, "found b"), 400),
    (errors.Unimplemented("x"), 501),
    (errors.Overloaded("x"), 429),
    (errors.InferenceLate("m", 1), 504),
    (errors.UnknownLabel("x"), 400),
    (errors.UnknownSignature("x", ["y"]), 400),
    (FeatureMismatch("x", expected="a", found="b"), 400),
    (errors.NonFiniteOutput("p", [0]), 400),
    (errors.ModelNotFound("m"), 404),
    (ArtifactNotFound(kind="model", name="m"), 404),
    (errors.ModelNotReady("m", 1, "damaged"), 503),
    (ModelDamaged("models/m/1", "gone"), 503),
    (StorageError("disk /secret/path"), 503),
    (errors.InferenceFailed("m", 1, "node /secret/path"), 500),
    (ConfigError("/secret/path"), 500),
    (MillraceError("/secret/path"), 500),
    (ValueError("/secret/path"), 500),
]


@pytest.mark.parametrize(("error", "status"), CASES)
def test_statuses(error: Exception, status: int) -> None:
    assert errors.status_of(error) == status
    assert "/secret" not in errors.message_of(error)


def test_the_client_reads_what_is_unavailable() -> None:
    assert errors.message_of(StorageError("disk /secret/path")) == "the model store cannot be read now"
    other = "the server cannot answer this request now; its log says why"
    assert errors.message_of(errors.ScoringFailed("/secret/path")) == other
    assert errors.message_of(Ended()) == other
    assert "is not ready: damaged" in errors.message_of(errors.ModelNotReady("m", 1, "damaged"))


def test_every_error_of_this_room_is_a_millrace_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)]
    assert all(issubclass(kind, MillraceError) for kind in kinds)
    assert errors.InvalidRequest in kinds


def test_messages_are_bounded() -> None:
    many = errors.InvalidRequest([f"problem {n} " + "é" * 1_000 for n in range(100)])
    assert len(errors.message_of(many).encode()) < 4_000
    assert str(errors.InvalidRequest([str(n) for n in range(12)])).endswith("9; and 2 more")
    assert "and 90 more" in str(errors.NonFiniteOutput("p", range(100)))
    assert len(str(errors.ModelNotFound("x" * 10_000))) < 200

"""Each kind of error has its exit code, and is told to people in their words."""

import logging

import pytest

from millrace.errors import (
    ArtifactExists,
    ArtifactNotFound,
    Broken,
    ConfigError,
    DataRejected,
    FeatureMismatch,
    InputMissing,
    MillraceError,
    Refused,
    Unavailable,
)
from millrace.models.manifest import ModelDamaged
from pipelines.jobs.exits import BUG, EXIT_CODES, INTERRUPTED, exit_code, guard, report_error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataRejected("x"), 3),
        (FeatureMismatch("x", expected="a", found="b"), 3),
        (InputMissing("x"), 4),
        (ArtifactNotFound(kind="model", name="m"), 4),
        (Refused("x"), 5),
        (ArtifactExists(kind="model", name="m"), 5),
        (Unavailable("x"), 75),
        (ConfigError("x"), 78),
        (MillraceError("x"), BUG),
        (ValueError("x"), BUG),
        (KeyboardInterrupt(), INTERRUPTED),
    ],
)
def test_codes(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_a_damaged_model_is_rejected_data() -> None:
    assert issubclass(ModelDamaged, DataRejected)


def test_codes_are_distinct_and_none_means_success_or_usage() -> None:
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert not {0, 1, 2, INTERRUPTED} & set(EXIT_CODES.values())
    assert {kind for kind, code in EXIT_CODES.items() if code == BUG} == {Broken}


def test_a_users_error_has_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(ConfigError("no such profile", hint="make one"))
    report_error(DataRejected("bad rows"))
    assert capsys.readouterr() == ("", "error: no such profile\n  make one\nerror: bad rows\n")


def test_an_interruption_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    report_error(KeyboardInterrupt())
    assert "run the same command again" in capsys.readouterr().err


def test_a_bug_has_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    report_error(ZeroDivisionError("why"))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert "this is a bug in millrace" in record.getMessage()


def test_a_bug_ends_a_command_with_70_and_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(SystemExit) as caught:
        guard(broken)
    assert caught.value.code == 70
    # The record, not its text: pyspark, once imported, formats records in its own way.
    info = caplog.records[-1].exc_info
    assert info is not None
    assert info[0] is ZeroDivisionError

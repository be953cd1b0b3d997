"""Log records are one line, or one JSON object, with what the context knows."""

import io
import json
import logging
import sys
from contextvars import copy_context

import pytest

from millrace.logs import CONTEXT, JsonFormatter, LineFormatter, add_context, configure_logging

OURS = logging.getLogger("millrace.some_module")
OTHERS = logging.getLogger("some_library.module")


@pytest.mark.parametrize("message", ['say "hi"', "a\nb", "back\\slash", "{'a': 1}", "ünïcode", "\x00\x1b[0m", "100 %"])
def test_json_survives_any_message(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(as_json=True)
    add_context(stage='tr"ain')
    OURS.info("%s", message)
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["stage"], entry["level"]) == (message, 'tr"ain', "INFO")
    assert entry["logger"] == "millrace.some_module"


def test_json_holds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(as_json=True)
    try:
        raise ValueError('a "quoted" reason')
    except ValueError:
        OURS.exception("it failed")
    assert 'ValueError: a "quoted" reason' in json.loads(capsys.readouterr().err)["exception"]


def test_lines_name_the_stage_and_odd_levels(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    OURS.info("%d rows", 3)
    add_context(stage="ingest")
    OURS.warning("few rows")
    first, second = (line.split(None, 1)[1] for line in capsys.readouterr().err.splitlines())
    assert first == "millrace  3 rows"
    assert second.strip() == "ingest  warning: few rows"


def test_lines_hold_the_traceback() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = OURS.makeRecord(OURS.name, logging.ERROR, "", 0, "it failed", (), sys.exc_info())
    text = LineFormatter().format(record)
    assert text.splitlines()[0].endswith("error: it failed")
    assert text.splitlines()[-1] == "ValueError: why"


@pytest.mark.parametrize(("quiet", "expected"), [(True, ["ours", "careful"]), (False, ["ours", "chatter", "careful"])])
def test_other_libraries_are_quiet(quiet: bool, expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(quiet=quiet, as_json=True)
    OURS.debug("detail")
    OURS.info("ours")
    OTHERS.info("chatter")
    OTHERS.warning("careful")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == expected


def test_what_is_raised_too_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    logging.getLogger("SQLQueryContextLogger").error("a page of JSON")
    logging.getLogger().handle(
        logging.LogRecord("root", logging.ERROR, "/site/py4j/java_gateway.py", 1, "sending failed", None, None)
    )
    OTHERS.error("something else")
    assert [line.rpartition("error: ")[2] for line in capsys.readouterr().err.splitlines()] == ["something else"]


def test_configured_twice_says_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    configure_logging()
    OURS.info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_whatever_stderr_is_now(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A progress bar swaps stderr while it shows; lines must go where it says."""
    configure_logging()
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    OURS.info("lifted")
    assert "lifted" in later.getvalue()
    assert capsys.readouterr().err == ""


def test_context_adds_up_and_stays_in_its_context() -> None:
    add_context(run_id="r1", stage="ingest")
    copy_context().run(add_context, stage="train")
    add_context(rank="0")
    assert CONTEXT.get() == {"run_id": "r1", "stage": "ingest", "rank": "0"}


def test_nothing_of_the_context_without_one() -> None:
    record = OURS.makeRecord(OURS.name, logging.INFO, "", 0, "m", (), None)
    assert set(json.loads(JsonFormatter().format(record))) == {"time", "level", "logger", "message"}

"""Logging: one configuration, with run, stage and rank taken from the context."""

import json
import logging
import sys
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TextIO

CONTEXT: Final[ContextVar[dict[str, str] | None]] = ContextVar("millrace_log_context", default=None)
"""Fields added to every record of this context: run_id, stage, rank, model, request_id."""

PACKAGES: Final = ("millrace", "pipelines", "ingest", "train", "serve")
"""Packages whose records are shown from INFO on; those of other libraries are shown from WARNING on."""
DUPLICATES: Final = {"hdfs", "py4j", "SQLQueryContextLogger"}
"""Loggers whose records are hidden: these libraries also raise what they log, and the error is reported."""


def add_context(**fields: str) -> None:
    """Add fields to every later log record of this context."""
    CONTEXT.set({**(CONTEXT.get() or {}), **fields})


class LineFormatter(logging.Formatter):
    """Formats a record as one readable line: time, stage, level, message."""

    def format(self, record: logging.LogRecord) -> str:
        fields = CONTEXT.get() or {}
        stage = fields.get("stage", record.name.partition(".")[0])
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        request = f" [{fields['request_id']}]" if "request_id" in fields else ""
        line = f"{clock} {stage:>7}  {level}{record.getMessage()}{request}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(CONTEXT.get() or {}),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current stderr, which a progress bar replaces to print lines above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current stderr."""
        return sys.stderr


def configure_logging(*, level: int = logging.INFO, as_json: bool = False, quiet: bool = True) -> None:
    """Send log records to stderr; call it once at the start of a process, never on import.

    Args:
        level: Lowest level shown.
        as_json: Write JSON objects instead of readable lines.
        quiet: Of other libraries, show only warnings.
    """
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if as_json else LineFormatter())
    if quiet:
        handler.addFilter(_is_ours_or_warning)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _is_ours_or_warning(record: logging.LogRecord) -> bool:
    # A filter, since libraries set the levels of their own loggers when they are imported.
    # Py4J writes to the root logger, so its name is only in the path.
    if {record.name.partition(".")[0], Path(record.pathname).parent.name} & DUPLICATES:
        return False
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in PACKAGES

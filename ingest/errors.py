"""What can be wrong with sources, steps and rows.

ConfigError
├── OptionRefused       a reader option that does not exist, or that ingest sets itself
├── ExpressionInvalid   a step's SQL expression that Spark cannot analyse
├── CallBroken          a user's function that fails or breaks its declaration
└── ContractUnfit       an expectation that could never fail on this table
DataRejected
├── DigestMismatch      a source file is not the one that was declared
├── SourceChanged       a source file changed while it was read
├── FileUnreadable      a damaged archive, or bytes that are not text
├── HeaderMismatch      a file's header is not the declared columns
├── TooManyRejected     more malformed rows than the product allows
├── LinesLost           Spark saw another number of lines than the file holds
├── RowsMultiplied      a join or a user's function made rows
├── ExpressionFailed    an expression could not be computed for some row
├── KeyBroken           a key that is null or not unique
└── ContractFailed      a guard or an expectation failed
InputMissing
└── SourceEmpty         a source without rows
Refused
└── CommitLost          another writer replaced the table first
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import (
    MAX_EXAMPLES,
    ConfigError,
    DataRejected,
    InputMissing,
    Refused,
    shorten,
)

SHOWN_FAILURES = 12
"""Failures that a message names; with two lines each they fill one screen."""

TRY_CAST_HINT = "use try_cast, try_divide or nullif where a value may not fit, or filter such rows"


class OptionRefused(ConfigError):
    """A reader option that does not exist, or that ingest sets itself."""

    def __init__(self, source: str, option: str, *, reason: str) -> None:
        super().__init__(f"sources.{source}.options.{option}: {reason}")
        self.source = source
        self.option = option


class ExpressionInvalid(ConfigError):
    """A SQL expression of a step that Spark cannot analyse."""

    def __init__(self, where: str, expression: str, *, reason: str) -> None:
        super().__init__(f"{where}: {shorten(expression)}: {shorten(reason, 400)}")
        self.where = where
        self.expression = expression


class CallBroken(ConfigError):
    """A user's function that fails, or does not do what its step declares."""

    def __init__(self, function: str, *, reason: str) -> None:
        super().__init__(
            f"{function}: {shorten(reason, 400)}",
            hint="declare in the step's adds and drops what the function does",
        )
        self.function = function


class ContractUnfit(ConfigError):
    """An expectation that could never fail, whatever the data."""

    def __init__(self, rule: str, *, reason: str) -> None:
        super().__init__(f"contract.expectations: {rule}: {reason}")
        self.rule = rule


class DigestMismatch(DataRejected):
    """A source file that is not the one that was declared."""

    def __init__(self, source: str, path: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"sources.{source}: {path} has SHA-256 {found}, declared is {expected}",
            hint="fetch the file again; if the new one is meant, declare its digest",
        )
        self.source = source
        self.expected = expected
        self.found = found


class SourceChanged(DataRejected):
    """A source file that somebody wrote to while it was read."""

    def __init__(self, source: str, path: str) -> None:
        super().__init__(
            f"sources.{source}: {path} changed while it was read",
            hint="run again when the file is complete",
        )
        self.source = source


class FileUnreadable(DataRejected):
    """A damaged archive, or bytes that are not text in the declared encoding."""

    def __init__(self, file: str, *, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file


class HeaderMismatch(DataRejected):
    """A file whose header is not the declared columns, in their order."""

    def __init__(self, file: str, *, expected: Sequence[str], found: Sequence[str]) -> None:
        wanted, there = set(expected), set(found)
        missing = [name for name in expected if name not in there]
        unexpected = [name for name in found if name not in wanted]
        parts = [f"missing {_names(missing)}"] if missing else []
        parts += [f"unexpected {_names(unexpected)}"] if unexpected else []
        if not parts:
            first = next(
                (n for n, pair in enumerate(zip(expected, found, strict=False)) if len(set(pair)) > 1),
                min(len(expected), len(found)),
            )
            parts = [f"the order differs from column {first + 1} on"]
        super().__init__(
            f"{file}: the header is not the declared columns: {', '.join(parts)}; "
            f"expected {_names(expected)}; found {_names(found)}",
            hint="correct sources.<name>.columns; a file without a header takes options.header: false",
        )
        self.file = file
        self.expected = tuple(expected)
        self.found = tuple(found)


class TooManyRejected(DataRejected):
    """More malformed rows in a source than the product allows."""

    def __init__(self, source: str, *, rejected: int, rows: int, allowed: float, examples: Sequence[str]) -> None:
        shown = "".join(f"\n  {shorten(example)}" for example in examples[:MAX_EXAMPLES])
        super().__init__(
            f"sources.{source}: {rejected} of {rows} rows are malformed, allowed is a share of {allowed:g}{shown}",
            hint="mend the file, its declared columns or options, or raise ingest.max_rejected",
        )
        self.source = source
        self.rejected = rejected
        self.rows = rows


class LinesLost(DataRejected):
    """Spark saw another number of lines than the file holds."""

    def __init__(self, file: str, *, lines: int, parsed: int) -> None:
        super().__init__(f"{file} holds {lines} lines of data, but Spark parsed {parsed} of them")
        self.file = file
        self.lines = lines
        self.parsed = parsed


class RowsMultiplied(DataRejected):
    """A join or a user's function that would make rows."""

    def __init__(self, step: str, *, before: int, after: int, reason: str) -> None:
        super().__init__(f"{step}: {before} rows would become {after}: {reason}")
        self.step = step
        self.before = before
        self.after = after


class ExpressionFailed(DataRejected):
    """An expression that could not be computed for some row."""

    def __init__(self, what: str, *, reason: str) -> None:
        super().__init__(f"{what}: {shorten(reason, 400)}", hint=TRY_CAST_HINT)
        self.what = what


class KeyBroken(DataRejected):
    """A key that is null or not unique."""

    def __init__(self, key: Sequence[str], *, reason: str, count: int, examples: Sequence[str]) -> None:
        shown = "".join(f"\n  {shorten(example)}" for example in examples[:MAX_EXAMPLES])
        super().__init__(
            f"ingest.key ({', '.join(key)}): {count} {reason}{shown}",
            hint="add the columns that tell the rows apart, or filter the rows that are double",
        )
        self.count = count
        self.examples = tuple(examples[:MAX_EXAMPLES])


@dataclass(frozen=True)
class Failure:
    """One rule of the contract that did not hold.

    Attributes:
        rule: Name of the guard or expectation.
        column: What it looked at; empty for the whole table.
        count: Rows against it, where rows can be counted.
        reason: What was expected and what was found.
        examples: Some offending values.
    """

    rule: str
    column: str = ""
    count: int | None = None
    reason: str = ""
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        column = f" ({self.column})" if self.column else ""
        count = f": {self.count} rows" if self.count is not None else ""
        reason = f": {shorten(self.reason, 120)}" if self.reason else ""
        line = f"{self.rule}{column}{count}{reason}"
        return f"{line}\n    such as {shorten(', '.join(self.examples), 90)}" if self.examples else line


class ContractFailed(DataRejected):
    """The table broke its contract; the current version stays.

    Attributes:
        failures: Every rule that failed, with at most 20 examples each.
    """

    def __init__(self, product: str, failures: Sequence[Failure]) -> None:
        lines = [f"  {failure}" for failure in failures[:SHOWN_FAILURES]]
        if len(failures) > SHOWN_FAILURES:
            lines.append(f"  and {len(failures) - SHOWN_FAILURES} more")
        super().__init__(
            f"{product}: the contract failed in {len(failures)} rules\n" + "\n".join(lines),
            hint="mend the data or the contract; the current table version stays as it is",
        )
        self.failures = tuple(failures)


class SourceEmpty(InputMissing):
    """A source without rows."""

    def __init__(self, source: str, path: str) -> None:
        super().__init__(f"sources.{source}: {path} holds no rows")
        self.source = source


class CommitLost(Refused):
    """Another writer replaced the table between this run's start and its commit."""

    def __init__(self, table: str, *, parent: int | None, reason: str) -> None:
        since = "it did not exist" if parent is None else f"version {parent}"
        super().__init__(
            f"table '{table}' changed since this run began ({since}): {shorten(reason)}",
            hint="run again: it starts from what is there now",
        )
        self.table = table
        self.parent = parent


def _names(names: Sequence[str]) -> str:
    return shorten(", ".join(repr(shorten(name, 60)) for name in names[:200]) or "nothing", 1000)

"""The errors of ingest.

ConfigError
├── ExpressionInvalid   a step's SQL expression that Spark cannot analyse
├── CallBroken          a user's function that fails or does not do what its step declares
├── RecipeChanged       steps or contract changed since an incremental table was created
└── ContractUnfit       an expectation that cannot fail on this table
DataRejected
├── DigestMismatch      a source file has another digest than declared
├── SourceChanged       a source file changed while it was read
├── FileUnreadable      a damaged archive, or bytes that are not text
├── HeaderMismatch      a file's header differs from the declared columns
├── ColumnsMismatch     a file's columns or types differ from the declared ones
├── BadFiles            more than one file of a source is bad
├── TooManyRejected     more malformed rows than the product allows
├── LinesLost           Spark parsed another number of lines than the file has
├── RowsMultiplied      a join or a user's function adds rows
├── TooManyFiltered     filters, joins and functions dropped more rows than the product allows
├── OrderTied           a window function depends on an order of rows that has ties
├── ExpressionFailed    an expression fails for some row
├── KeyBroken           a key that is null or not unique
└── ContractFailed      a guard or an expectation failed (in ingest.checks.failures)
InputMissing
└── SourceEmpty         a source without rows
Refused
└── CommitLost          another writer changed the table first
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from millrace.errors import MAX_EXAMPLES, ConfigError, DataRejected, InputMissing, Refused, shorten

SHOWN_FILES = 500
"""Most bad files that a message lists: many, because all of them have to be delivered again."""

TRY_CAST_HINT = "use try_cast, try_divide or nullif for values that may not fit, or filter such rows"


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
            hint="declare the columns that the function adds and drops in the step's adds and drops",
        )
        self.function = function


class ContractUnfit(ConfigError):
    """An expectation that cannot fail for any data."""

    def __init__(self, rule: str, *, reason: str) -> None:
        super().__init__(f"contract.expectations: {rule}: {reason}")
        self.rule = rule


class RecipeChanged(ConfigError):
    """An incremental table whose rows were made with other steps, columns or contract than the new rows would be."""

    def __init__(self, table: str, *, version: int, reason: str) -> None:
        super().__init__(
            f"table '{table}': {reason} (version {version}); a table must not mix rows made in different ways",
            hint="run with --full to rebuild the table from all files that are there now, or undo the change",
        )
        self.table = table


class DigestMismatch(DataRejected):
    """A source file with another digest than declared."""

    def __init__(self, source: str, path: str, *, expected: str, found: str) -> None:
        super().__init__(
            f"sources.{source}: {path} has SHA-256 {found}, expected {expected}",
            hint="download the file again; if the new file is correct, declare its digest",
        )
        self.source = source
        self.expected = expected
        self.found = found


class SourceChanged(DataRejected):
    """A source file that was written to while it was read."""

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
    """A file whose header is not the list of declared columns, in their order."""

    def __init__(self, file: str, *, expected: Sequence[str], found: Sequence[str]) -> None:
        wanted, there = set(expected), set(found)
        missing = [name for name in expected if name not in there]
        unexpected = [name for name in found if name not in wanted]
        twice = [name for name, count in Counter(found).items() if count > 1]
        parts = [f"{_names(twice)} occurs more than once"] if twice else []
        parts += [f"missing {_names(missing)}"] if missing else []
        parts += [f"unexpected {_names(unexpected)}"] if unexpected and not twice else []
        if not parts:
            first = next(
                (n for n, pair in enumerate(zip(expected, found, strict=False)) if len(set(pair)) > 1),
                min(len(expected), len(found)),
            )
            parts = [f"the order differs from column {first + 1} on"]
        super().__init__(
            f"{file}: the header differs from the declared columns: {', '.join(parts)}; "
            f"expected {_names(expected)}; found {_names(found)}",
            hint="correct the source's columns (from: gives the name in the file); for a file without a header set "
            "options.header: false; for columns that you do not need set extra_columns: drop",
        )
        self.file = file
        self.expected = tuple(expected)
        self.found = tuple(found)


class ColumnsMismatch(DataRejected):
    """A file whose columns or types differ from the declared ones."""

    def __init__(self, file: str, problems: Sequence[str], *, found: Sequence[str]) -> None:
        super().__init__(
            f"{file}: {shorten('; '.join(problems), 1000)}; its columns are {_names(found)}",
            hint="correct the source's columns (from: gives the name in the file), name a column in optional, or set "
            "extra_columns: drop",
        )
        self.file = file
        self.problems = tuple(problems)


class BadFiles(DataRejected):
    """Several bad files of a source; the message lists each of them with its problem."""

    def __init__(self, source: str, problems: Sequence[str], *, of: int, allowed: int = 0) -> None:
        shown = "".join(f"\n  {shorten(problem, 300)}" for problem in problems[:SHOWN_FILES])
        more = f"\n  and {len(problems) - SHOWN_FILES} more" if len(problems) > SHOWN_FILES else ""
        limit = f", allowed: {allowed}" if allowed else ""
        super().__init__(
            f"sources.{source}: {len(problems)} of {of} files are bad{limit}{shown}{more}",
            hint="deliver these files again, or set on_bad_file: quarantine and max_bad_files to leave them out",
        )
        self.source = source
        self.problems = tuple(problems)


@dataclass(frozen=True)
class RejectedRows:
    """Rows of a source that were rejected for one reason.

    Attributes:
        reason: The reason; without the value, unless the contract allows to show values of the column.
        rows: Number of rows.
        file: Name of the file of the first of them.
        line: Its line, if it is known.
    """

    reason: str
    rows: int
    file: str
    line: int | None

    def __str__(self) -> str:
        first = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{shorten(self.reason)}: {self.rows:,} rows, the first in {first}"


class TooManyRejected(DataRejected):
    """More malformed rows in a source than the product allows."""

    def __init__(
        self, source: str, *, rejected: int, rows: int, allowed: float, reasons: Sequence[RejectedRows], show: str
    ) -> None:
        shown = "".join(f"\n  {reason}" for reason in reasons[:MAX_EXAMPLES])
        more = f"\n  and {len(reasons) - MAX_EXAMPLES} more reasons" if len(reasons) > MAX_EXAMPLES else ""
        super().__init__(
            f"sources.{source}: {rejected:,} of {rows:,} rows are malformed, allowed is a share of {allowed:g}"
            f"{shown}{more}",
            hint="fix the file, its declared columns or its options, or raise ingest.max_rejected; to see the rows: "
            + show,
        )
        self.source = source
        self.rejected = rejected
        self.rows = rows
        self.details = {
            "sources": {source: {"rows": rows, "rejected": rejected}},
            "rejected_for": [asdict(reason) for reason in reasons[:MAX_EXAMPLES]],
        }


class LinesLost(DataRejected):
    """Spark parsed another number of lines than the file has."""

    def __init__(self, file: str, *, lines: int, parsed: int) -> None:
        super().__init__(f"{file} holds {lines} lines of data, but Spark parsed {parsed} of them")
        self.file = file
        self.lines = lines
        self.parsed = parsed


class RowsMultiplied(DataRejected):
    """A join or a user's function that would add rows."""

    def __init__(self, step: str, *, before: int, after: int, reason: str) -> None:
        super().__init__(f"{step}: {before} rows would become {after}: {reason}")
        self.step = step
        self.before = before
        self.after = after


class TooManyFiltered(DataRejected):
    """Filters, inner joins and functions dropped more rows than the product allows."""

    def __init__(self, filters: Mapping[str, int], *, rows: int, allowed: float) -> None:
        dropped = sum(filters.values())
        by_count = sorted(filters.items(), key=lambda item: -item[1])[:MAX_EXAMPLES]
        shown = ", ".join(f"{name}: {count}" for name, count in by_count if count)
        super().__init__(
            f"ingest.steps drop {dropped} of {rows} rows, allowed is a share of {allowed:g} ({shorten(shown, 400)})",
            hint="fix the step that drops too many rows; if they are meant to be dropped, raise ingest.max_filtered",
        )
        self.dropped = dropped
        self.rows = rows


class OrderTied(DataRejected):
    """A window function depends on an order of rows that has ties, so another run could give another result."""

    def __init__(self, where: str, window: str, *, rows: int) -> None:
        super().__init__(
            f"{where}: {rows} rows are tied in the order of {shorten(window)}: its result is not deterministic",
            hint="add columns to its ORDER BY until no two rows are tied, for example the key",
        )
        self.rows = rows


class ExpressionFailed(DataRejected):
    """An expression that fails for some row."""

    def __init__(self, what: str, *, reason: str) -> None:
        super().__init__(f"{what}: {shorten(reason, 400)}", hint=TRY_CAST_HINT)
        self.what = what


class KeyBroken(DataRejected):
    """A key that is null or not unique."""

    def __init__(self, key: Sequence[str], *, reason: str, count: int, examples: Sequence[str], hint: str = "") -> None:
        shown = "".join(f"\n  {shorten(example)}" for example in examples[:MAX_EXAMPLES])
        super().__init__(f"ingest.key ({', '.join(key)}): {count} {reason}{shown}", hint=hint)
        self.count = count
        self.examples = tuple(examples[:MAX_EXAMPLES])


class SourceEmpty(InputMissing):
    """A source without rows."""

    def __init__(self, source: str, path: str) -> None:
        super().__init__(f"sources.{source}: {path} holds no rows")
        self.source = source


class CommitLost(Refused):
    """Another writer changed the table between this run's start and its commit."""

    def __init__(self, table: str, *, parent: int | None, reason: str) -> None:
        since = "it did not exist" if parent is None else f"version {parent}"
        super().__init__(
            f"table '{table}' changed since this run started ({since}): {shorten(reason)}",
            hint="run again; the new run starts from the current version",
        )
        self.table = table
        self.parent = parent


def _names(names: Sequence[str]) -> str:
    return shorten(", ".join(repr(shorten(name, 60)) for name in names[:200]) or "nothing", 1000)

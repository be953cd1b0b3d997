"""The failures of a contract: rule, column, number of rows, keys of some rows, and no other values."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from millrace.errors import DataRejected, shorten

SHOWN_FAILURES: Final = 12
"""Most failures that a message lists; with two lines each they fill one screen."""


@dataclass(frozen=True)
class Failure:
    """One rule of the contract that failed.

    Attributes:
        rule: Name of the guard or expectation.
        column: The checked column; empty for the whole table.
        count: Number of rows that break the rule, if rows can be counted.
        reason: What was expected and what was found.
        examples: Keys of some of these rows.
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
    """The rows broke the contract; the current version stays.

    Attributes:
        failures: Every rule that failed, with at most 20 examples each.
        details: The same for the run record.
    """

    def __init__(self, product: str, failures: Sequence[Failure]) -> None:
        lines = [f"  {failure}" for failure in failures[:SHOWN_FAILURES]]
        if len(failures) > SHOWN_FAILURES:
            lines.append(f"  and {len(failures) - SHOWN_FAILURES} more")
        super().__init__(
            f"{product}: the contract failed in {len(failures)} rules\n" + "\n".join(lines),
            hint="fix the data or the contract; the current table version stays",
        )
        self.failures = tuple(failures)
        self.details = {"failures": [asdict(failure) for failure in failures]}

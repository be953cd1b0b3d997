"""Results of fault tests, and the table that shows them."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """One result, which is one line of the table.

    Attributes:
        name: The fault, and what was measured.
        where: The file system of the store: ``local`` or ``hdfs``; empty for the service.
        got: The measured count, for example of correct outcomes.
        goal: The count that is required.
        reason: What went wrong; empty if nothing did.
        is_timed: Whether the result depends on the speed of the machine; the tests ignore such goals.
    """

    name: str
    where: str
    got: int
    goal: int
    reason: str = ""
    is_timed: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether the count is exactly the required one."""
        return self.got == self.goal

    @property
    def summary(self) -> str:
        """The goal as one line of text."""
        return f"{'reached' if self.is_reached else 'MISSED'}: {self.name}: {self.got} / {self.goal} {self.reason}"


class Tally:
    """Counts the attempts of one fault and how many of them succeeded.

    Args:
        name: The name of the goal.
        where: The file system of the store.
    """

    def __init__(self, name: str, where: str) -> None:
        self._name, self._where = name, where
        self._got = self._attempts = 0
        self._reasons: list[str] = []

    def note(self, *problems: str) -> None:
        """Count an attempt; it succeeded if every problem is the empty string."""
        self._attempts += 1
        found = [problem for problem in problems if problem]
        self._got += not found
        self._reasons += found

    def goals(self) -> Iterator[Goal]:
        """Yield the one goal of these attempts."""
        yield Goal(self._name, self._where, self._got, self._attempts, "; ".join(self._reasons))


def show(goals: list[Goal], seconds: float) -> None:
    """Print the table, then the reason of every missed goal."""
    table = Table(title=f"fault tests ({seconds / 60:.1f} min)", title_justify="left", show_edge=False)
    for column in ("fault", "store", "got / goal", "reached"):
        table.add_column(column)
    for goal in goals:
        table.add_row(goal.name, goal.where, f"{goal.got} / {goal.goal}", "yes" if goal.is_reached else "NO")
    console = Console(width=140)
    console.print(table)
    for goal in goals:
        if not goal.is_reached:
            console.print(f"{goal.name} ({goal.where}): {goal.reason}", markup=False)

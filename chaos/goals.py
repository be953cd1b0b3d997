"""The result of a fault test: how much of a goal was reached."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Goal:
    """One line of the table.

    Attributes:
        fault: What was done to the product.
        place: The file system below the store.
        got: How often it behaved correctly; or a count that must be zero.
        goal: How often it had to.
        why: What went wrong, if anything.
        is_timed: Whether the goal depends on the speed of the machine; the short form in the tests leaves it out.
    """

    fault: str
    place: str
    got: int
    goal: int
    why: str = ""
    is_timed: bool = False

    @property
    def held(self) -> bool:
        """Whether exactly the goal was reached."""
        return self.got == self.goal


class Tally:
    """Counts the tries of one fault."""

    def __init__(self, fault: str, place: str) -> None:
        self._fault, self._place = fault, place
        self._got = self._tries = 0
        self._why: list[str] = []

    def note(self, *complaints: str) -> None:
        """Count a try; it succeeded if there are no complaints."""
        self._tries += 1
        found = [complaint for complaint in complaints if complaint]
        self._got += not found
        self._why += found

    def goals(self) -> Iterator[Goal]:
        """The line for the table."""
        yield Goal(self._fault, self._place, self._got, self._tries, "; ".join(self._why))


def show(goals: list[Goal], seconds: float) -> None:
    """Print the table, and under it the reason of every goal that was missed."""
    table = Table(title=f"faults ({seconds / 60:.1f} min)", title_justify="left", show_edge=False)
    for column in ("fault", "store", "got / goal", "held"):
        table.add_column(column)
    for goal in goals:
        table.add_row(goal.fault, goal.place, f"{goal.got} / {goal.goal}", "yes" if goal.held else "NO")
    console = Console(width=140)
    console.print(table)
    for goal in goals:
        if not goal.held:
            console.print(f"{goal.fault} ({goal.place}): {goal.why}", markup=False)

"""The declared columns of a source, and the comparison with the columns of a file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ingest.errors import ColumnsMismatch


@dataclass(frozen=True)
class Shape:
    """The columns that every file of a source must have.

    Attributes:
        columns: Name to Spark SQL type, in order.
        optional: Columns that a file may lack.
        extra: Whether a file with an undeclared column is rejected, or the column dropped.
    """

    columns: dict[str, str]
    optional: frozenset[str] = frozenset()
    extra: Literal["reject", "drop"] = "reject"

    def check(self, file: str, found: Mapping[str, str]) -> None:
        """Compare a file's columns and types with the declared ones; their order does not matter.

        Args:
            file: Name of the file, for messages.
            found: Columns of the file with their Spark SQL types; an empty type is unknown and not compared.

        Raises:
            ColumnsMismatch: A column is missing, of another type, or not declared.
        """
        problems = [
            f"column '{name}' is missing, expected {type_name}"
            if name not in found
            else f"column '{name}': expected {type_name}, found {found[name]}"
            for name, type_name in self.columns.items()
            if (name not in found and name not in self.optional) or found.get(name, type_name) not in ("", type_name)
        ]
        if self.extra == "reject":
            problems += [f"column '{name}' is not declared, found {found[name]}" for name in self.extras(found)]
        if problems:
            raise ColumnsMismatch(file, problems, found=list(found))

    def extras(self, found: Iterable[str]) -> list[str]:
        """The columns that are not declared."""
        return [name for name in found if name not in self.columns]

    def layout(self, found: list[str]) -> tuple[str, ...] | None:
        """The columns of a header if it has the declared ones in their order; else None."""
        known = [name for name in found if name in self.columns]
        wanted = [name for name in self.columns if name not in self.optional or name in known]
        if known != wanted or len(set(found)) != len(found) or (self.extra == "reject" and len(known) != len(found)):
            return None
        return tuple(found)

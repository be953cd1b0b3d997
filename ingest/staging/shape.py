"""The declared columns of a source, and the comparison with the columns of a file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ingest.errors import ColumnsMismatch
from millrace.config.sections.columns import Column
from millrace.config.sections.sources import Source


@dataclass(frozen=True)
class Shape:
    """The columns that every file of a source must have.

    Attributes:
        declared: The columns by name, in order.
        optional: Columns that a file may lack.
        extra: Whether a file with an undeclared column is rejected, or the column dropped.
    """

    declared: Mapping[str, Column]
    optional: frozenset[str] = frozenset()
    extra: Literal["reject", "drop"] = "reject"

    @classmethod
    def of(cls, source: Source, names: Iterable[str] | None = None) -> "Shape":
        """The shape of a source's files.

        Args:
            source: The section of the source.
            names: The declared columns that are in the files; by default all.
        """
        wanted = source.columns if names is None else names
        declared = {name: _with_defaults(source, source.columns[name]) for name in wanted}
        return cls(declared, frozenset(source.optional), source.extra_columns)

    @property
    def columns(self) -> dict[str, str]:
        """The Spark SQL type of each column."""
        return {name: column.type for name, column in self.declared.items()}

    @property
    def in_file(self) -> dict[str, str]:
        """The name that each column has in a file."""
        return {name: column.in_file(name) for name, column in self.declared.items()}

    @property
    def types_in_file(self) -> dict[str, str]:
        """The Spark SQL type by the name in a file."""
        return {column.in_file(name): column.type for name, column in self.declared.items()}

    def check(self, file: str, found: Mapping[str, str]) -> None:
        """Compare a file's columns and types with the declared ones; their order does not matter.

        Args:
            file: Name of the file, for messages.
            found: Columns of the file with their Spark SQL types; an empty type is unknown and not compared.

        Raises:
            ColumnsMismatch: A column is missing, of another type, or not declared.
        """
        problems = []
        for name, column in self.declared.items():
            written = column.in_file(name)
            if written not in found:
                if name not in self.optional:
                    problems.append(f"column '{written}' is missing, expected {column.type}")
            elif found[written] not in ("", column.type):
                problems.append(f"column '{written}': expected {column.type}, found {found[written]}")
        if self.extra == "reject":
            problems += [f"column '{name}' is not declared, found {found[name]}" for name in self.extras(found)]
        if problems:
            raise ColumnsMismatch(file, problems, found=list(found))

    def check_names(self, file: str, found: Sequence[str]) -> None:
        """Refuse column names that occur twice, and names that Spark takes for a declared one because it ignores case.

        Raises:
            ColumnsMismatch: Such a name; the message has it.
        """
        problems = [f"column '{name}' occurs {count} times" for name, count in Counter(found).items() if count > 1]
        declared = set(self.in_file.values())
        by_case: dict[str, set[str]] = {}
        for name in found:
            by_case.setdefault(name.lower(), set()).add(name)
        for names in by_case.values():
            if len(names) > 1 and names & declared:
                listed = " and ".join(f"'{name}'" for name in sorted(names))
                problems.append(f"columns {listed} differ only in case, which Spark ignores in this format")
        if problems:
            raise ColumnsMismatch(file, problems, found=found)

    def extras(self, found: Iterable[str]) -> list[str]:
        """The columns that are not declared."""
        declared = set(self.in_file.values())
        return [name for name in found if name not in declared]

    def layout(self, found: list[str]) -> tuple[str, ...] | None:
        """The columns of a header if it has the declared ones in their order; else None."""
        declared = self.in_file
        known = [name for name in found if name in set(declared.values())]
        wanted = [name for own, name in declared.items() if own not in self.optional or name in known]
        if known != wanted or len(set(found)) != len(found) or (self.extra == "reject" and len(known) != len(found)):
            return None
        return tuple(found)


def _with_defaults(source: Source, column: Column) -> Column:
    """The column, with what its source says for all columns."""
    options = {name.lower(): str(value) for name, value in source.options.items()}
    pattern = options.get(f"{column.type}format")
    update: dict[str, object] = {"exact": source.exact if column.exact is None else column.exact}
    if pattern and not column.pattern and not column.unit:
        update["pattern"] = (pattern,)
    if source.format == "json" and column.type == "binary" and column.encoding is None:
        update["encoding"] = "base64"
    return column.model_copy(update=update)

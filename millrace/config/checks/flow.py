"""Follows the columns through the steps of a product file, to find wrong names before Spark starts."""

from collections.abc import Iterable
from typing import Final

from sqlglot import exp

from millrace.config.checks.sql import Mistake, check_aggregate, check_functions, check_row, parse
from millrace.config.checks.types import are_comparable
from millrace.config.sections.ingest import DUPLICATES, ROW_KEY, UPSERT, Aggregate, Call, Filter, Join, Step, TimeSplit
from millrace.config.sections.product import Config
from millrace.config.yaml.document import Document
from millrace.dotted import find_function, suggestion
from millrace.errors import Problem

SPLIT: Final = "split"
"""Name of the column that ingest adds: the split of a row."""
UNKNOWN: Final = "unknown"
"""Type of a derived column, which only Spark knows."""


class ColumnFlow:
    """The columns after all steps, and the problems that were found.

    Attributes:
        columns: Spark SQL type, or `UNKNOWN`, by name.
        origins: For each name, the columns that it was computed from over all steps, and itself.
        problems: One for each wrong name.
    """

    def __init__(self, config: Config, document: Document) -> None:
        self.config = config
        self.document = document
        self.columns: dict[str, str] = {}
        self.origins: dict[str, set[str]] = {}
        self.problems: list[Problem] = []
        self._follow()

    def report(self, path: tuple[str, ...], found: str, allowed: str) -> None:
        """Add a problem at a key."""
        self.problems.append(Problem(self.document.location(path), ".".join(path), found, allowed))

    def require(self, path: tuple[str, ...], column: str, known: dict[str, str] | None = None) -> bool:
        """Add a problem unless the column exists; returns whether it exists."""
        names = self.columns if known is None else known
        if column not in names:
            self.report(path, f"unknown column '{column}'", suggestion(column, set(names)))
        return column in names

    def _follow(self) -> None:
        ingest = self.config.ingest
        if ingest.base not in self.config.sources:
            self.report(
                ("ingest", "base"),
                f"unknown source '{ingest.base}'",
                suggestion(ingest.base, set(self.config.sources)),
            )
            return
        for name, type_name in self.config.sources[ingest.base].types.items():
            self._add(("sources", ingest.base, "columns", name), name, type_name)
        for number, step in enumerate(ingest.steps):
            self._step(step, ("ingest", "steps", str(number)))
        self._step_names()
        self._key()
        if isinstance(ingest.split, TimeSplit):
            self._time_split(ingest.split.column)

    def _step(self, step: Step, path: tuple[str, ...]) -> None:
        if step.join:
            self._join(step.join, (*path, "join"))
        for name, expression in (step.derive or {}).items():
            used = self._row_expression(expression, (*path, "derive", name))
            self._add((*path, "derive", name), name, UNKNOWN, used)
        if step.filter:
            self._filter(step.filter, (*path, "filter"))
        if step.call:
            self._call(step.call, (*path, "call"))
        for item, name in enumerate(step.drop or ()):
            if self.require((*path, "drop", str(item)), name):
                del self.columns[name]
        if step.rename:
            self._rename(step.rename, (*path, "rename"))
        if step.dedupe:
            for item, name in enumerate(step.dedupe.by):
                self.require((*path, "dedupe", "by", str(item)), name)
            if step.dedupe.order is not None:
                self.require((*path, "dedupe", "order"), step.dedupe.order)
        if step.aggregate:
            self._aggregate(step.aggregate, (*path, "aggregate"))

    def _step_names(self) -> None:
        """Steps count the rows that they drop by name, and `max_filtered` does not count those of every kind."""
        kinds: dict[str, str] = {}
        for number, step in enumerate(self.config.ingest.steps):
            for kind, named in (("filter", step.filter), ("dedupe", step.dedupe), ("aggregate", step.aggregate)):
                if named is None:
                    continue
                path = ("ingest", "steps", str(number), kind, "name")
                if named.name in (DUPLICATES, UPSERT):
                    self.report(path, f"'{named.name}' is a name of Millrace's own counts", "use another name")
                elif kinds.setdefault(named.name, kind) != kind:
                    found = f"'{named.name}' is the name of another step, a {kinds[named.name]}"
                    self.report(path, found, "use another name")

    def _key(self) -> None:
        ingest = self.config.ingest
        if ingest.upsert:
            self._upsert(ingest.upsert.order, self.config.sources[ingest.base].incremental)
        if ingest.key == "row":
            if ROW_KEY in self.columns:
                self.report(
                    ("ingest", "key"), f"there is a column '{ROW_KEY}' already", "rename it, or name it as the key"
                )
            self._add(("ingest", "key"), ROW_KEY, "string", list(self.columns))
            if self.config.sources[ingest.base].incremental:
                allowed = "name columns: equal rows of two deliveries cannot be told from a file that came twice"
                self.report(("ingest", "key"), "key 'row' of an incremental source", allowed)
            return
        if ingest.duplicates == "drop":
            self.report(("ingest", "duplicates"), "'drop' with a key of columns", "use a dedupe step")
        for item, name in enumerate(ingest.key):
            self.require(("ingest", "key", str(item)), name)
            if name in ingest.key[:item]:
                self.report(("ingest", "key", str(item)), f"duplicate column '{name}'", "expected each column once")

    def _upsert(self, order: str, is_incremental: bool) -> None:
        if not is_incremental:
            found = f"the source '{self.config.ingest.base}' is not incremental, so each run replaces all rows"
            self.report(("ingest", "upsert"), found, "use a dedupe step, or set incremental: true")
        self.require(("ingest", "upsert", "order"), order)

    def _time_split(self, column: str) -> None:
        path = ("ingest", "split", "column")
        if self.require(path, column) and self.columns[column] not in ("timestamp", "date", UNKNOWN):
            self.report(path, f"column '{column}' is a {self.columns[column]}", "expected a timestamp or date")

    def _add(self, path: tuple[str, ...], name: str, type_name: str, used: Iterable[str] = ()) -> None:
        if name.lower() == SPLIT:
            self.report(path, f"column name '{name}' is reserved: ingest adds this column", "use another name")
        same = next((known for known in self.columns if known != name and known.lower() == name.lower()), None)
        if same:
            self.report(
                path, f"'{name}' and '{same}' are the same name for Spark, which ignores case", "rename one of them"
            )
        self.columns[name] = type_name
        self.origins[name] = {name}.union(*(self.origins.get(column, {column}) for column in used))

    def _join(self, join: Join, path: tuple[str, ...]) -> None:
        if join.source not in self.config.sources:
            self.report(
                (*path, "source"),
                f"unknown source '{join.source}'",
                suggestion(join.source, set(self.config.sources)),
            )
            self.columns |= dict.fromkeys(join.columns, UNKNOWN)
            return
        other = self.config.sources[join.source].types
        for mine, theirs in join.on.items():
            key = (*path, "on", mine)
            if self.require(key, mine) and self.require(key, theirs, other):
                types = self.columns[mine], other[theirs]
                if UNKNOWN not in types and not are_comparable(*types):
                    found = f"'{mine}' is a {types[0]}, '{theirs}' of {join.source} a {types[1]}"
                    self.report(key, found, "derive a column of the same type with a cast first")
        for name, theirs in join.columns.items():
            if name in self.columns:
                self.report(
                    (*path, "columns", name),
                    f"column '{name}' exists already",
                    "use another name for the joined column",
                )
            known = self.require((*path, "columns", name), theirs, other)
            self._add((*path, "columns", name), name, other[theirs] if known else UNKNOWN)

    def _rename(self, names: dict[str, str], path: tuple[str, ...]) -> None:
        before = self.columns
        twice = {old for old in names.values() if list(names.values()).count(old) > 1}
        for new, old in names.items():
            if old in twice:
                self.report((*path, new), f"column '{old}' gets more than one name", "derive a copy of it")
        known = {new: old for new, old in names.items() if self.require((*path, new), old)}
        self.columns = {name: kind for name, kind in before.items() if name not in known.values()}
        for new, old in known.items():
            if new in self.columns:
                self.report((*path, new), f"column '{new}' exists already", "use another name, or drop that column")
            self._add((*path, new), new, before[old], [old])

    def _aggregate(self, step: Aggregate, path: tuple[str, ...]) -> None:
        used = {name: self._expression(sql, (*path, "columns", name)) for name, sql in step.columns.items()}
        for name, sql in step.columns.items():
            if mistake := check_aggregate(sql):
                self.report((*path, "columns", name), mistake.found, mistake.allowed)
        before, self.columns = self.columns, {}
        for item, name in enumerate(step.by):
            if name in step.by[:item]:
                self.report((*path, "by", str(item)), f"duplicate column '{name}'", "expected each column once")
            if self.require((*path, "by", str(item)), name, before):
                self.columns[name] = before[name]
        for name, columns in used.items():
            if name in self.columns:
                self.report((*path, "columns", name), f"column '{name}' is one of by", "use another name")
            self._add((*path, "columns", name), name, UNKNOWN, columns)

    def _filter(self, filter_: Filter, path: tuple[str, ...]) -> None:
        self._row_expression(filter_.keep, (*path, "keep"))

    def _call(self, call: Call, path: tuple[str, ...]) -> None:
        mistake = find_function(call.function)
        if mistake:
            self.report((*path, "function"), *mistake)
        for item, name in enumerate(call.drops):
            if self.require((*path, "drops", str(item)), name):
                del self.columns[name]
        for name, type_name in call.adds.items():
            self._add((*path, "adds", name), name, type_name)

    def _row_expression(self, expression: str, path: tuple[str, ...]) -> set[str]:
        if mistake := check_row(expression):
            self.report(path, mistake.found, mistake.allowed)
        return self._expression(expression, path)

    def _expression(self, expression: str, path: tuple[str, ...]) -> set[str]:
        """Add a problem for each unknown column, and return the columns that are used."""
        tree = parse(expression)
        if isinstance(tree, Mistake):
            self.report(path, tree.found, tree.allowed)
            return set()
        for mistake in check_functions(expression):
            self.report(path, mistake.found, mistake.allowed)
        if any(not isinstance(star.parent, exp.Count) for star in tree.find_all(exp.Star)):
            self.report(path, "* stands for columns of Millrace's own, too", "name the columns")
        bound = {name.name for lambda_ in tree.find_all(exp.Lambda) for name in lambda_.expressions}
        known = {name.lower(): name for name in self.columns}
        used = set()
        for column in tree.find_all(exp.Column):
            name = column.parts[0].name  # of point.x the column is point
            if name.lower() in known:
                used.add(known[name.lower()])
            elif name not in bound:
                self.report(path, f"unknown column '{name}'", suggestion(name, set(self.columns)))
        return used

"""Checks every column name in a product file against the columns of its sources and steps."""

from fnmatch import fnmatchcase
from typing import Any, Final

from millrace.config.checks.flow import UNKNOWN, ColumnFlow
from millrace.config.sections.product import Config
from millrace.config.sections.train import METRICS
from millrace.config.yaml.document import Document
from millrace.dotted import suggestion
from millrace.errors import Problem
from millrace.features.spec import TABLE_DTYPES, Category, Cyclic, Numeric

Path = tuple[str, ...]


def check_columns(config: Config, document: Document) -> list[Problem]:
    """Report every wrong column, source or function name in a product file."""
    flow = ColumnFlow(config, document)
    if not flow.columns:
        return flow.problems
    _check_label(flow)
    _check_features(flow)
    _check_contract(flow)
    _check_evaluation(flow)
    return flow.problems


def _check_contract(flow: ColumnFlow) -> None:
    for number, item in enumerate(flow.config.contract.expectations):
        for name, arguments in item.items():
            path: Path = ("contract", "expectations", str(number), name)
            for key in ("column", "column_A", "column_B"):
                if isinstance(arguments.get(key), str) and flow.require((*path, key), arguments[key]):
                    _check_bounds(flow, path, flow.columns[arguments[key]], arguments)
            listed = arguments.get("column_list")
            for index, column in enumerate(listed if isinstance(listed, list) else ()):
                flow.require((*path, "column_list", str(index)), str(column))


def _check_bounds(flow: ColumnFlow, path: Path, type_name: str, arguments: dict[str, Any]) -> None:
    number = TABLE_DTYPES.get(type_name) in ("int64", "float32", "float64")
    for key in ("min_value", "max_value"):
        if number and isinstance(arguments.get(key), str):
            flow.report((*path, key), f"found '{arguments[key]}' for a column of type {type_name}", "expected a number")


def _check_evaluation(flow: ColumnFlow) -> None:
    for index, column in enumerate(flow.config.evaluate.slices):
        flow.require(("evaluate", "slices", str(index)), column)
    known = METRICS[flow.config.train.task]
    for metric in flow.config.evaluate.gates:
        if metric not in known:
            flow.report(("evaluate", "gates", metric), f"unknown metric '{metric}'", suggestion(metric, known))


_AS_DOUBLE: Final = "expected a float, double, integer or boolean; derive a column with cast(... as double)"


def _check_label(flow: ColumnFlow) -> None:
    path, label, task = ("features", "label"), flow.config.features.label.column, flow.config.train.task
    if task != "regression" and flow.config.features.label.log:
        flow.report((*path, "log"), f"found true for a {task} task", "only the label of a regression has a logarithm")
    if task != "regression" and flow.config.train.loss != "squared":
        flow.report(("train", "loss"), f"found {flow.config.train.loss} for a {task} task", "only a regression has it")
    if task == "regression" and flow.config.train.class_weights:
        flow.report(("train", "class_weights"), "found balanced for a regression", "only classes have weights")
    if flow.config.features.label.log and flow.config.train.loss == "poisson":
        flow.report(("train", "loss"), "found poisson with a logarithm of the label", "use one of the two")
    if not flow.require(path, label) or flow.columns[label] == UNKNOWN:
        return
    dtype = TABLE_DTYPES.get(flow.columns[label], "")
    if task == "regression" and dtype not in ("int64", "float32", "float64", "bool"):
        flow.report(path, f"a {flow.columns[label]} cannot be the label of a regression", _AS_DOUBLE)
    if task != "regression" and dtype not in ("int64", "bool", "string"):
        flow.report(
            path,
            f"a {flow.columns[label]} cannot be the label of a {task} task",
            "expected an integer, boolean or string; derive a column with a cast",
        )


def _check_banned(flow: ColumnFlow) -> None:
    seen = set().union(*flow.origins.values())
    for number, pattern in enumerate(flow.config.features.banned):
        if not any(fnmatchcase(name, pattern) for name in seen):
            path = ("features", "banned", str(number))
            flow.report(path, f"'{pattern}' matches no column", suggestion(pattern, seen))


def _check_leaks(flow: ColumnFlow, path: Path, name: str) -> None:
    """Report an input that is, or is computed from, the label or a banned column."""
    features = flow.config.features
    for origin in sorted(flow.origins.get(name, {name}), key=lambda origin: origin != name):
        made = "" if origin == name else f" is computed from '{origin}', which"
        ban = next((pattern for pattern in features.banned if fnmatchcase(origin, pattern)), None)
        if origin == features.label.column:
            flow.report(path, f"column '{name}'{made} is the label", "the label cannot be an input")
        elif ban:
            banned = f"column '{name}'{made} is banned by '{ban}'"
            flow.report(path, banned, "it is known only after the prediction; remove it from the inputs")
        else:
            continue
        return


def _check_features(flow: ColumnFlow) -> None:
    features = flow.config.features
    _check_banned(flow)
    for name, transform in features.inputs.items():
        path: Path = ("features", "inputs", name)
        if not flow.require(path, name):
            continue
        _check_leaks(flow, path, name)
        _check_transform(flow, path, flow.columns[name], transform)
    _check_crosses(flow)


def _check_crosses(flow: ColumnFlow) -> None:
    features = flow.config.features
    categories = {name for name, t in features.inputs.items() if isinstance(t, Category)}
    for number, cross in enumerate(features.crosses):
        if cross.columns in [other.columns for other in features.crosses[:number]]:
            flow.report(
                ("features", "crosses", str(number)),
                f"a second cross of {', '.join(cross.columns)}",
                "expected each cross once",
            )
        for index, name in enumerate(cross.columns):
            path = ("features", "crosses", str(number), "columns", str(index))
            if name in cross.columns[:index]:
                flow.report(path, f"duplicate column '{name}'", "expected each column once")
            if name not in categories:
                flow.report(
                    path,
                    f"'{name}' is not a category among the inputs",
                    suggestion(name, categories),
                )


def _check_transform(
    flow: ColumnFlow, path: tuple[str, ...], type_name: str, transform: Numeric | Category | Cyclic
) -> None:
    if type_name == UNKNOWN:
        return
    if type_name not in TABLE_DTYPES:
        flow.report(
            path,
            f"type {type_name} cannot be an input",
            f"derive a column with a cast, such as cast({path[-1]} as double)",
        )
        return
    dtype = TABLE_DTYPES[type_name]
    if dtype == "timestamp" and isinstance(transform, Category):
        allowed = "expected 'as: cyclic', or a derived category, such as month(x)"
        flow.report(path, f"a {type_name} cannot be a category", allowed)
    if isinstance(transform, Category) and dtype in ("float32", "float64"):
        flow.report(
            path,
            f"a {type_name} cannot be a category",
            "expected a string, integer or boolean; or 'as: numeric'",
        )
    if not isinstance(transform, Category) and dtype == "string":
        flow.report(
            path,
            f"a string cannot be {transform.kind}",
            "expected a number, timestamp or date; or 'as: category'",
        )
    if isinstance(transform, Cyclic) and (dtype == "timestamp") != isinstance(transform.period, str):
        flow.report(
            (*path, "period"),
            f"period {transform.period} does not fit type {type_name}",
            "a timestamp or date takes hour, day, week or year; a number takes a number",
        )
    elif isinstance(transform, Cyclic) and type_name == "date" and transform.period in ("hour", "day"):
        flow.report((*path, "period"), f"a date is the same at every {transform.period}", "expected week or year")

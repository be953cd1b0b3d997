"""Builds the feature spec of a model from a product file, a table version and its statistics."""

from millrace.config import Config
from millrace.errors import ConfigError, FeatureMismatch, shorten
from millrace.features.spec import (
    Category,
    Cyclic,
    Dtype,
    Feature,
    FeatureSpec,
    Label,
    Range,
    Transform,
    table_dtype,
)
from millrace.tables.versions import TableVersion
from train.errors import NotTrainable
from train.preprocessing.guarantees import domain_of, never_null
from train.preprocessing.statistics import LabelStatistics, NumericStatistics, Statistics


def check_columns(config: Config, table: TableVersion) -> dict[str, Dtype]:
    """Check that the table has the label and all inputs, and that the transforms accept their types.

    Returns:
        The dtype of each input.

    Raises:
        FeatureMismatch: A column is not in the table, or the transform does not accept its type.
        ConfigError: The period of a cyclic input does not fit the type of the column.
    """
    features = config.features
    for name in (features.label.column, *features.inputs):
        if name not in table.columns:
            raise FeatureMismatch(
                name,
                expected=f"a column of table {table.name}",
                found=f"no such column in version {table.version}",
                hint="if ingest.steps or sources changed, run ingest again",
            )
    dtypes = {name: table_dtype(name, table.columns[name]) for name in features.inputs}
    for name, transform in features.inputs.items():
        _check_transform(name, dtypes[name], transform)
    return dtypes


def build_spec(config: Config, table: TableVersion, statistics: Statistics) -> FeatureSpec:
    """Describe inputs and label with the types of the table.

    Args:
        config: Names inputs and label, and contains the contract.
        table: Gives the types of the columns.
        statistics: Of the train split; inputs without a value, and crosses with such an input, are left out.

    Raises:
        FeatureMismatch: A column is not in the table, or the transform does not accept its type.
        ConfigError: The period of a cyclic input does not fit the type of the column.
        NotTrainable: The values of the label do not fit the task, or no input has a value.
    """
    rules = config.contract.expectations
    required, empty = never_null(rules), statistics.empty
    dtypes = check_columns(config, table)
    inputs = []
    for name, transform in config.features.inputs.items():
        dtype = dtypes[name]
        if name in empty:
            continue
        feature = Feature(
            name=name,
            dtype=dtype,
            nullable=name not in required,
            transform=transform,
            domain=domain_of(name, dtype, rules),
            observed=_observed_range(statistics.numeric.get(name)),
        )
        inputs.append(feature)
    if not inputs:
        raise NotTrainable("no input has a value in the train split")
    return FeatureSpec(
        inputs=tuple(inputs),
        crosses=tuple(cross for cross in config.features.crosses if not {*cross.columns} & {*empty}),
        label=build_label(config, statistics.label),
        key=config.ingest.key_columns,
    )


def _observed_range(measured: NumericStatistics | None) -> Range | None:
    return Range(min=measured.min, max=measured.max) if measured else None


def _check_transform(name: str, dtype: str, transform: Transform) -> None:
    if isinstance(transform, Category) and dtype in ("float32", "float64", "timestamp"):
        raise FeatureMismatch(name, expected="a string, integer or boolean for a category", found=dtype)
    if not isinstance(transform, Category) and dtype == "string":
        raise FeatureMismatch(name, expected=f"a number or timestamp for {transform.kind}", found="string")
    if isinstance(transform, Cyclic) and isinstance(transform.period, str) != (dtype == "timestamp"):
        raise ConfigError(
            f"features.inputs.{name}.period: {transform.period} does not fit a column of type {dtype}; "
            "a timestamp takes hour, day, week or year, a number takes a number"
        )


def build_label(config: Config, label: LabelStatistics) -> Label:
    """Describe the label and its classes.

    Raises:
        NotTrainable: No row has a label, a label is missing and not allowed to be, one class only, more than two for a
            binary task, or values that do not fit the loss.
    """
    section, task = config.features.label, config.train.task
    name = section.column
    if not sum(label.rows.values()):
        raise NotTrainable("the table has no rows", hint="check ingest.split and the filters")
    missing = [f"{count} of {label.rows[split]} rows of the {split} split" for split, count in label.missing.items()]
    if missing and section.missing == "refuse":
        raise NotTrainable(
            f"label '{name}' is missing in {', '.join(missing)}",
            hint="filter such rows in ingest.steps, or set features.label: {missing: leave_out}",
        )
    if label.rows.get("train", 0) == label.missing.get("train", 0):
        raise NotTrainable("no row of the train split has a label", hint="check ingest.split and the filters")
    if task == "regression":
        _check_values(config, label)
        return Label(name=name, task=task, log=section.log, loss=config.train.loss)
    classes = tuple(value for value, _ in label.counts)
    shown = shorten(", ".join(map(repr, classes)), 80)
    if task == "binary" and len(classes) != 2:  # noqa: PLR2004
        raise NotTrainable(
            f"label '{name}' has {len(classes)} classes in the train split ({shown}), and a binary task needs 2",
            hint="check the label and the filters" if len(classes) < 2 else "set train.task: multiclass",  # noqa: PLR2004
        )
    if len(classes) < 2:  # noqa: PLR2004
        raise NotTrainable(f"label '{name}' has one class only in the train split: {shown}")
    if not all(isinstance(value, int) for value in classes) and not all(isinstance(v, str) for v in classes):
        raise NotTrainable(f"label '{name}' must be an integer, boolean or string for a classification")
    return Label.model_validate({"name": name, "task": task, "classes": classes})


def _check_values(config: Config, label: LabelStatistics) -> None:
    name = config.features.label.column
    if config.features.label.log and label.min <= -1:
        raise NotTrainable(f"label '{name}' has values down to {label.min:g}, and log(1 + x) needs more than -1")
    if config.train.loss == "poisson" and label.min < 0:
        raise NotTrainable(f"label '{name}' has values down to {label.min:g}, and train.loss: poisson needs at least 0")
    if config.train.loss == "poisson" and label.mean == 0:
        raise NotTrainable(f"label '{name}' is 0 in all rows of the train split", hint="check the label")

"""The feature spec takes its types from the table and its nullability from the contract."""

import dataclasses

import pytest

from millrace.config import Product, load_product
from millrace.errors import ConfigError, FeatureMismatch
from millrace.features.spec import Domain, FeatureSpec, Range
from millrace.tables.versions import TableVersion
from train.errors import NotTrainable
from train.preprocessing.spec import build_label, build_spec
from train.preprocessing.statistics import LabelStatistics, Statistics


def test_types_come_from_the_table(spec: FeatureSpec) -> None:
    assert {f.name: f.dtype for f in spec.inputs} == {
        "colour": "string",
        "round": "bool",
        "corners": "int64",
        "weight": "float64",
        "size": "float32",
        "found": "timestamp",
    }
    assert spec.input("round").tensor_dtype == "int64"
    assert spec.label.classes == ("ball", "box", "cone")


def test_domains_come_from_contract_and_training(product: Product, table: TableVersion, statistics: Statistics) -> None:
    rule = {"expect_column_values_to_be_between": {"column": "weight", "min_value": 0}}
    contract = product.config.contract.model_copy(update={"expectations": (rule,)})
    spec = build_spec(product.config.model_copy(update={"contract": contract}), table, statistics)
    weight, colour = spec.input("weight"), spec.input("colour")
    assert (weight.domain, weight.observed) == (Domain(min=0), Range(min=0.1, max=9.5))
    assert (colour.domain, colour.observed) == (None, None)
    assert FeatureSpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


def test_an_input_that_the_table_lacks_is_named(product: Product, table: TableVersion, statistics: Statistics) -> None:
    smaller = dataclasses.replace(table, columns={k: v for k, v in table.columns.items() if k != "weight"})
    with pytest.raises(FeatureMismatch, match="weight: expected a column of table shapes/clean"):
        build_spec(product.config, smaller, statistics)


@pytest.mark.parametrize(
    ("column", "type_name", "error"),
    [
        ("weight", "string", "expected a number or timestamp for numeric"),
        ("colour", "double", "expected a string, integer or boolean for a category"),
        ("colour", "timestamp", "expected a string, integer or boolean for a category"),
        ("corners", "binary", "expected a column of type"),
    ],
)
def test_a_type_that_does_not_fit_is_named(
    product: Product, table: TableVersion, statistics: Statistics, column: str, type_name: str, error: str
) -> None:
    other = dataclasses.replace(table, columns={**table.columns, column: type_name})
    with pytest.raises(FeatureMismatch, match=error):
        build_spec(product.config, other, statistics)


def test_a_named_period_needs_a_timestamp(product: Product, table: TableVersion, statistics: Statistics) -> None:
    other = dataclasses.replace(table, columns={**table.columns, "found": "long"})
    with pytest.raises(ConfigError, match="period: day does not fit"):
        build_spec(product.config, other, statistics)


@pytest.mark.parametrize(
    ("label", "task", "reason"),
    [
        (LabelStatistics(rows=0, missing=0), "binary", "has no rows"),
        (LabelStatistics(rows=9, missing=2, counts=((0, 3), (1, 4))), "binary", "missing in 2 of 9 rows"),
        (LabelStatistics(rows=9, missing=0, counts=((0, 9),)), "binary", "has 1 classes"),
        (LabelStatistics(rows=9, missing=0, counts=((0, 3), (1, 3), (2, 3))), "binary", "has 3 classes"),
        (LabelStatistics(rows=9, missing=0, counts=(("a", 9),)), "multiclass", "one class only"),
    ],
)
def test_a_label_that_cannot_be_learnt_is_refused(label: LabelStatistics, task: str, reason: str) -> None:
    with pytest.raises(NotTrainable, match=reason):
        build_label("late", task, label)  # type: ignore[arg-type] # the words of the product file


def test_the_made_up_product_loads(product: Product) -> None:
    assert load_product(product.folder / "shapes.yaml").config == product.config


def test_inputs_that_are_left_out(product: Product, table: TableVersion, statistics: Statistics) -> None:
    def without(*names: str) -> Statistics:
        return statistics.model_copy(update={"empty": names})

    spec = build_spec(product.config, table, without("colour", "size"))
    assert [f.name for f in spec.inputs] == ["round", "corners", "weight", "found"]
    assert spec.crosses == ()
    with pytest.raises(NotTrainable, match="no input has a value"):
        build_spec(product.config, table, without(*product.config.features.inputs))

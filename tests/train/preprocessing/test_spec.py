"""The feature spec takes its types from the table and its nullability from the contract."""

import dataclasses

import pytest

from millrace.config import Config, Product, load_product
from millrace.config.sections.train import Features, Train
from millrace.errors import ConfigError, FeatureMismatch
from millrace.features.spec import Domain, FeatureSpec, Range
from millrace.tables.versions import TableVersion
from train.errors import NotTrainable
from train.preprocessing.spec import build_label, build_spec
from train.preprocessing.statistics import LabelStatistics, Statistics

NINE = {"train": 9}


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
        (LabelStatistics(), "binary", "has no rows"),
        (LabelStatistics(rows=NINE, missing={"train": 2}, counts=((0, 3), (1, 4))), "binary", "missing in 2 of 9 rows"),
        (LabelStatistics(rows=NINE, counts=((0, 9),)), "binary", "has 1 classes"),
        (LabelStatistics(rows=NINE, counts=((0, 3), (1, 3), (2, 3))), "binary", "has 3 classes"),
        (LabelStatistics(rows=NINE, counts=(("a", 9),)), "multiclass", "one class only"),
    ],
)
def test_a_label_that_cannot_be_learnt_is_refused(
    product: Product, label: LabelStatistics, task: str, reason: str
) -> None:
    with pytest.raises(NotTrainable, match=reason):
        build_label(labelled(product, task), label)


def labelled(product: Product, task: str, loss: str = "squared", **label: object) -> Config:
    sections = product.config.model_dump(by_alias=True)
    sections["features"]["label"] = {"column": "late", **label}
    sections["train"] |= {"task": task, "loss": loss}
    return product.config.model_copy(
        update={
            "features": Features.model_validate(sections["features"]),
            "train": Train.model_validate(sections["train"]),
        }
    )


@pytest.mark.case("B1")
def test_missing_labels_are_counted_in_each_split_and_refused_or_left_out(product: Product) -> None:
    label = LabelStatistics(rows={**NINE, "test": 5}, missing={"train": 2, "test": 4}, counts=((0, 3), (1, 4)))
    with pytest.raises(NotTrainable, match="2 of 9 rows of the train split, 4 of 5 rows of the test split") as caught:
        build_label(labelled(product, "binary"), label)
    assert "missing: leave_out" in caught.value.hint
    assert build_label(labelled(product, "binary", missing="leave_out"), label).classes == (0, 1)
    nothing = LabelStatistics(rows=NINE, missing=NINE)
    with pytest.raises(NotTrainable, match="no row of the train split has a label"):
        build_label(labelled(product, "regression", missing="leave_out"), nothing)


@pytest.mark.parametrize(
    ("loss", "log", "label", "reason"),
    [
        ("squared", True, LabelStatistics(rows=NINE, min=-1.0), r"values down to -1, and log\(1 \+ x\)"),
        ("poisson", False, LabelStatistics(rows=NINE, min=-0.5, mean=1.0), r"down to -0.5, and train.loss: poisson"),
        ("poisson", False, LabelStatistics(rows=NINE), "is 0 in all rows"),
    ],
)
def test_values_that_do_not_fit_the_loss(
    product: Product, loss: str, log: bool, label: LabelStatistics, reason: str
) -> None:
    with pytest.raises(NotTrainable, match=reason):
        build_label(labelled(product, "regression", loss, log=log), label)


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

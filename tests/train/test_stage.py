"""The whole stage with two real ranks: publishes once, compares with the previous version, checks the gates."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deltalake import DeltaTable

from millrace.config import Product, load_product
from millrace.errors import FeatureMismatch
from millrace.models.files import verify_files
from millrace.models.store import ModelStore
from millrace.storage import Store
from millrace.tables.validation import NotValidated
from millrace.tables.versions import TableVersion
from pipelines.jobs.exits import exit_code
from tests.made_up import write_clean
from train import stage
from train.errors import GateFailed, NotTrainable

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.tf]


BASE = "  base: things\n"
DERIVE = "  steps:\n    - derive: {age: cast(corners as int)}\n"


def changed(product: Product, *settings: str) -> Product:
    return load_product(product.folder / "shapes.yaml", settings=list(settings))


def lines_of(store: Store, run_id: str) -> list[dict[str, Any]]:
    text = store.read("runs", "shapes", run_id, "train", "metrics.jsonl").decode()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.case("B12")
def test_a_model_is_published_once_and_compared_with_the_one_before(
    spark: "SparkSession", store: Store, product: Product, table: TableVersion, caplog: pytest.LogCaptureFixture
) -> None:
    first = stage.run(product, spark, store, "run-1")
    assert (first.outcome, first.version, first.rows_in) == ("committed", 1, table.rows_of())
    published = ModelStore(store).open("shapes")
    verify_files(published)
    metrics = published.manifest.metrics
    assert metrics["model"]["accuracy"] > metrics["baseline"]["accuracy"] + 0.1
    assert metrics["model"]["rows"] == table.rows_of("test")
    lineage = published.manifest.lineage
    assert (lineage.table_version, lineage.table_sha256) == (table.version, table.digest)
    assert lineage.fitted_on == {"split": "train", "rows": table.rows_of("train"), "rule": {"by": "id"}}
    assert set(metrics["slices"]["colour"]) == {"red", "green", "blue, dark", "(missing)"}
    assert [line["epoch"] for line in lines_of(store, "run-1")] == [1, 2, 3]
    assert metrics["schedule"] == {"batch_size": 64, "steps": 15, "epochs": 3, "patience": 5, "epochs_run": 3}
    assert first.details["schedule"] == metrics["schedule"]
    assert "45 steps in all are few" in caplog.text
    assert not store.exists("runs", "shapes", "run-1", "train", "model")

    again = stage.run(product, spark, store, "run-2")
    assert (again.outcome, again.version) == ("already_committed", 1)

    # Another seed is another model; its gate needs a larger improvement than is possible.
    greedy = changed(product, "train.seed=8", "evaluate.gates={accuracy: {vs_previous: 0.9}}")
    with pytest.raises(
        GateFailed, match=r"accuracy .* of the previous version: .* at least \+0.9 is needed"
    ) as refused:
        stage.run(greedy, spark, store, "run-3")
    assert refused.value.details["metrics"]["model"]["accuracy"] > 0.5
    assert ModelStore(store).versions("shapes") == [1]
    report = json.loads(store.read("runs", "shapes", "run-3", "train", "report.json"))
    assert report["previous"]["accuracy"] == pytest.approx(metrics["model"]["accuracy"])

    # A damaged newest version is replaced by the next one.
    next((Path(published.uri) / "variables").glob("*.data-*")).write_bytes(b"damaged")
    after = stage.run(product, spark, store, "run-4")
    assert (after.outcome, after.version) == ("committed", 2)
    assert ModelStore(store).open("shapes").manifest.metrics["previous"] is None


def test_too_few_rows_for_the_ranks_are_refused_before_they_start(
    spark: "SparkSession", store: Store, product: Product
) -> None:
    write_clean(store, rows=5, files=1)
    with pytest.raises(NotTrainable, match=r"the test split .* has 1 rows, fewer than the 2 ranks"):
        stage.run(product, spark, store, "run-1")


@pytest.mark.case("B11")
@pytest.mark.parametrize("setting", ["features.inputs.age={as: numeric}", "features.label=age"])
def test_a_column_that_the_table_does_not_have_yet(
    spark: "SparkSession", store: Store, product: Product, table: TableVersion, setting: str
) -> None:
    """It is new in the steps of ingest, which did not run since."""
    text = (product.folder / "shapes.yaml").read_text().replace(BASE, BASE + DERIVE)
    (product.folder / "shapes.yaml").write_text(text)
    with pytest.raises(FeatureMismatch, match=r"age: expected a column of table .*, found no such column in") as found:
        stage.run(changed(product, setting), spark, store, "run-1")
    assert "run ingest again" in found.value.hint


def test_a_table_version_that_is_not_validated_is_refused(
    spark: "SparkSession", store: Store, product: Product, table: TableVersion
) -> None:
    stricter = changed(product, "contract.min_rows=101")
    with pytest.raises(NotValidated, match="version 1 is not validated: it passed another contract"):
        stage.run(stricter, spark, store, "run-1")
    # Another writer commits between ingest and training.
    DeltaTable(table.uri).delete("id = 7")
    with pytest.raises(NotValidated, match="version 2 is not validated: its commit names no contract") as caught:
        stage.run(product, spark, store, "run-2")
    assert exit_code(caught.value) == 5
    assert not store.exists("models")

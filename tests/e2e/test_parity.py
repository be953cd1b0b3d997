"""Predictions of a regression model are the same in training's evaluation, batch scoring and REST."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.config import Product, load_product
from millrace.models.store import ModelStore
from millrace.storage import Store
from millrace.tables.versions import PREDICTIONS, find_table
from serve.scoring import score
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.made_up import PRODUCT, write_clean
from tests.serve.client import predict
from tests.serve.models import served
from train import stage

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.tf]

ROWS = 11_000
INPUTS = ("colour", "round", "corners", "weight", "size", "found", "day")


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """A regression on the id. It cannot be learnt, but all three ways must give the same predictions."""
    text = PRODUCT.partition("train:\n")[0].replace("label: kind", "label: id")
    text = text.replace("found: timestamp\n", "found: timestamp\n      day: date\n")
    text = text.replace("period: day}\n", "period: day}\n    day: {as: cyclic, period: year}\n")
    path = tmp_path / "shapes.yaml"
    path.write_text(f"{text}train:\n  task: regression\n  epochs: 1\n  options: {{hidden: [8]}}\n")
    return load_product(path)


@pytest.mark.case("F7")
def test_training_batch_and_rest_give_the_same_numbers(spark: "SparkSession", store: Store, product: Product) -> None:
    write_clean(store, ROWS, day=True)
    trained = stage.run(product, spark, store, "run-1")
    score.run(product, spark, store, "run-2")
    sample = pq.read_table(Path(store.uri(str(trained.details["sample"]))))
    expected = sample["output.prediction"].to_numpy()
    assert len(expected) == 1_000
    assert np.ptp(expected) > 0.1
    batch = _predictions(store)
    np.testing.assert_allclose([batch[number] for number in sample["id"].to_pylist()], expected, rtol=1e-5)
    np.testing.assert_allclose(_predict(store, product, sample), expected, rtol=1e-5)


def _predictions(store: Store) -> dict[int, float]:
    files = find_table(store, "shapes", PREDICTIONS).files
    rows = pa.concat_tables([pq.read_table(file.path, partitioning=None) for file in files])
    assert rows.num_rows == ROWS
    return dict(zip(rows["id"].to_pylist(), rows["prediction"].to_pylist(), strict=True))


def _predict(store: Store, product: Product, sample: pa.Table) -> list[float]:
    manager = ServableManager(ModelStore(store), served("shapes"))
    manager.load()
    app = Application(manager, product.config.serve)
    rows: list[dict[str, Any]] = sample.select(list(INPUTS)).to_pylist()
    times = ("found", "day")
    body = {"instances": [row | {name: row[name] and row[name].isoformat() for name in times} for row in rows]}
    predictions = predict(app, body, "/v1/models/shapes:predict").json()["predictions"]
    app.close()
    return [each if isinstance(each, float) else each["prediction"] for each in predictions]

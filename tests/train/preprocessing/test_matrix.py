"""Every dtype with every transform, with missing and wild values: Spark's statistics and the graph against numpy.

A type of a table or a transform without a row here fails the first test.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import isfinite, log1p, tau
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from millrace.config import Product, load_product
from millrace.config.sections.serve import Serve
from millrace.config.sections.train import Features
from millrace.features.encoding import encode
from millrace.features.spec import TABLE_DTYPES, Category, Cyclic, FeatureSpec, Numeric, Transform
from millrace.models.store import ModelStore
from millrace.models.vocabularies import write_vocabularies
from millrace.storage import Store
from millrace.tables.versions import CLEAN, TableVersion, find_table
from serve.scoring.batches import run_task
from serve.scoring.plan import plan_job
from serve.scoring.predictions import Predictions
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.made_up import PRODUCT
from tests.serve.client import predict
from tests.serve.models import manifest_of, served
from train.data.tensors import to_tensor
from train.export.saved_model import join_model, write_saved_model
from train.models.tabular import build
from train.preprocessing.layers import CATEGORY, NUMERIC, build_preprocessing, describe, numeric_width
from train.preprocessing.measure import measure
from train.preprocessing.spec import build_spec
from train.preprocessing.statistics import Statistics

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.tf]

SQL_NAMES = {"tinyint", "smallint", "int", "bigint"}
"""Other names of types of the Delta log."""
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAY = date(2024, 3, 1)
NAN, INFINITE = float("nan"), float("inf")
DAY_US = 86_400_000_000
PERIODS = {"hour": DAY_US / 24, "day": DAY_US, "week": 7 * DAY_US, "year": 365.2425 * DAY_US}


@dataclass(frozen=True)
class Kind:
    """A type of the Delta log: its type in Arrow, and values with missing ones and those that are hard to hold."""

    arrow: pa.DataType
    values: Sequence[Any]


KINDS = {
    "float": Kind(pa.float32(), [0.5, -0.25, None, NAN, INFINITE, -INFINITE, 7.0, 7.0, -1.0, -3.0, 1e6, 16_777_216.0]),
    "double": Kind(pa.float64(), [0.1, -0.25, None, NAN, INFINITE, 1e300, -1e300, 3.5e38, -1.0, -3.0, 1e9, 1e9 + 1]),
    "byte": Kind(pa.int8(), [1, 2, 2, None, -128, 127, 0, -1, -1, 2, 5, 5]),
    "short": Kind(pa.int16(), [1, 2, 2, None, -32768, 32767, 0, -1, -1, 2, 5, 5]),
    "integer": Kind(pa.int32(), [2_000_000_000 + n for n in (1, 2, 2, 3, 5, 8, 13, 21, 34, 55, 89)] + [None]),
    "long": Kind(pa.int64(), [1_700_000_000_000 + n for n in (1, 2, 2, 3, 5, 8, 13, 21, 34, 55)] + [None, None]),
    "boolean": Kind(pa.bool_(), [True, False, None, True, True, False, True, None, True, True, False, True]),
    "timestamp": Kind(
        pa.timestamp("us", tz="UTC"), [NOON + timedelta(seconds=n, microseconds=n) for n in range(-5, 6)] + [None]
    ),
    "date": Kind(pa.date32(), [DAY + timedelta(days=n * n) for n in range(11)] + [None]),
    "string": Kind(pa.string(), ["red", "green", "red", "", None, "blue", "größe", "red", "green", " ", "a", "b"]),
}
ROWS = 12


@dataclass(frozen=True)
class Case:
    """A transform of a type, and its reference: the encoded values of all rows."""

    type_name: str
    transform: dict[str, Any]
    expected: Callable[[Sequence[Any]], list[list[float]]] = field(repr=False)

    @property
    def column(self) -> str:
        return "_".join([self.type_name, *(str(value).replace(".", "_") for value in self.transform.values())])


def numbers(values: Sequence[Any]) -> list[float | None]:
    """Times in microseconds; None for what a float32 does not hold."""
    found: list[float | None] = []
    for value in values:
        if isinstance(value, datetime):
            number = float((value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
        elif isinstance(value, date):
            number = float((value - date(1970, 1, 1)).days * DAY_US)
        else:
            number = NAN if value is None else float(value)
        found.append(number if isfinite(number) and abs(number) <= float(np.finfo(np.float32).max) else None)
    return found


def numeric(values: Sequence[Any]) -> list[list[float]]:
    found = numbers(values)
    known = np.array([value for value in found if value is not None])
    return [[0.0, 1.0] if v is None else [(v - known.mean()) / known.std(), 0.0] for v in found]


def logarithm(values: Sequence[Any]) -> list[list[float]]:
    return numeric([log1p(v) if v is not None and v > -1 else None for v in numbers(values)])


def cyclic(period: float) -> Callable[[Sequence[Any]], list[list[float]]]:
    def expected(values: Sequence[Any]) -> list[list[float]]:
        angles = [None if v is None else tau * (v % period) / period for v in numbers(values)]
        return [[0.0, 0.0, 1.0] if a is None else [np.sin(a), np.cos(a), 0.0] for a in angles]

    return expected


def category(values: Sequence[Any]) -> list[list[float]]:
    """The most frequent value first, then by its text; 0 is missing."""
    counts = Counter(value for value in values if value is not None and value != "")
    words = sorted(counts, key=lambda value: (-counts[value], str(int(value)) if type(value) is bool else str(value)))
    return [[0 if v is None or v == "" else words.index(v) + 2] for v in values]


NUMBERS = ("float", "double", "byte", "short", "integer", "long", "boolean")
TIMES = ("timestamp", "date")
CASES = [
    *(Case(name, {"as": "numeric"}, numeric) for name in (*NUMBERS, *TIMES)),
    *(Case(name, {"as": "numeric", "log": True}, logarithm) for name in (*NUMBERS, *TIMES)),
    *(Case(name, {"as": "cyclic", "period": p}, cyclic(p)) for name in NUMBERS for p in (24.0, 0.7)),
    *(Case("timestamp", {"as": "cyclic", "period": p}, cyclic(PERIODS[p])) for p in PERIODS),
    *(Case("date", {"as": "cyclic", "period": p}, cyclic(PERIODS[p])) for p in ("week", "year")),
    *(Case(name, {"as": "category"}, category) for name in ("byte", "short", "integer", "long", "boolean", "string")),
]
REFUSED = {
    *((name, Category) for name in ("float", "double", *TIMES)),
    ("string", Numeric),
    ("string", Cyclic),
}


@dataclass(frozen=True)
class Measured:
    """A table with a column for each case, its statistics and the feature spec."""

    store: Store
    rows: pa.Table
    table: TableVersion
    spec: FeatureSpec
    statistics: Statistics

    def inputs(self) -> dict[str, Any]:
        """The raw columns as tensors."""
        return {f.name: to_tensor(encode(self.rows.column(f.name), f)) for f in self.spec.inputs}


@pytest.fixture(scope="module")
def measured(spark: "SparkSession", tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The table, read by Spark."""
    folder = tmp_path_factory.mktemp("matrix")
    columns = {case.column: pa.array(KINDS[case.type_name].values, KINDS[case.type_name].arrow) for case in CASES}
    rows = pa.table({"id": range(ROWS), **columns, "y": [0, 1] * (ROWS // 2), "split": ["train"] * ROWS})
    store = Store(str(folder))
    write_deltalake(store.uri("tables", "p", CLEAN), rows, partition_by=["split"])
    table = find_table(store, "p", CLEAN)
    inputs = {case.column: case.transform for case in CASES}
    features = Features.model_validate({"label": "y", "inputs": inputs})
    statistics = measure(spark, table, features, ("id",), classes=True)
    spec = build_spec(product_with(folder, features).config, table, statistics)
    return Measured(store, rows, table, spec, statistics)


def product_with(folder: Path, features: Features) -> Product:
    path = folder / "shapes.yaml"
    path.write_text(PRODUCT)
    product = load_product(path)
    train = product.config.train.model_copy(update={"task": "binary"})
    config = product.config.model_copy(update={"features": features, "train": train})
    return Product(**{**vars(product), "config": config})


def test_every_type_and_every_transform_is_here() -> None:
    assert KINDS.keys() == TABLE_DTYPES.keys() - SQL_NAMES
    transforms = get_args(get_args(Transform)[0])
    kinds = {transform: transform.model_fields["kind"].default for transform in transforms}
    shown = {(case.type_name, case.transform["as"]) for case in CASES}
    assert shown | {(name, kinds[t]) for name, t in REFUSED} == {(n, k) for n in KINDS for k in kinds.values()}
    assert not shown & {(name, kinds[t]) for name, t in REFUSED}
    assert {
        case.transform["period"] for case in CASES if case.type_name == "timestamp" and "period" in case.transform
    } == {*PERIODS}
    assert all(len(kind.values) == ROWS and None in kind.values for kind in KINDS.values())


@pytest.mark.case("B2", "B18")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.column)
def test_measured_and_encoded_as_the_reference(measured: Measured, case: Case, encoded: dict[str, np.ndarray]) -> None:
    expected = np.array(case.expected(KINDS[case.type_name].values))
    assert measured.rows.column(case.column).null_count or case.type_name in ("float", "double")
    # The logarithms of these integers differ by a few hundred units of the last place of a float64.
    tolerance = 2e-4 if case.column == "long_numeric_True" else 2e-6
    np.testing.assert_allclose(encoded[case.column], expected, atol=tolerance, rtol=1e-6)


@pytest.fixture(scope="module")
def encoded(measured: Measured) -> dict[str, np.ndarray]:
    """What the graph makes of each column: its columns of numbers, or its index."""
    spec = measured.spec
    outputs = build_preprocessing(spec, measured.statistics)(measured.inputs())
    found: dict[str, np.ndarray] = {}
    number = index = 0
    for feature in spec.inputs:
        width = numeric_width(feature)
        if width:
            found[feature.name] = outputs[NUMERIC].numpy()[:, number : number + width]
            number += width
        else:
            found[feature.name] = outputs[CATEGORY].numpy()[:, index : index + 1]
            index += 1
    assert (number, index) == (outputs[NUMERIC].shape[1], outputs[CATEGORY].shape[1])
    return found


@pytest.fixture(scope="module")
def answers(measured: Measured) -> dict[str, np.ndarray]:
    """The probabilities of all rows: by the graph in this process, by a scoring worker, and over REST."""
    import keras

    spec, statistics = measured.spec, measured.statistics
    keras.utils.set_random_seed(1)
    preprocessing, trunk = build_preprocessing(spec, statistics), build(describe(spec, statistics), 1, {"hidden": [8]})
    graph = join_model(spec, preprocessing, trunk, statistics.label)
    folder = Path(measured.store.uri("exported"))
    write_saved_model(folder, graph, preprocessing, trunk)
    write_vocabularies(folder, statistics.vocabularies)
    models = ModelStore(measured.store)
    version = models.publish(folder, manifest_of("p", spec))
    record = {"logical_date": "2024-03-01", "model_version": 1, "model_digest": "", "table_version": 0}
    predictions = Predictions(measured.store, "p")
    job = plan_job(version, measured.table, measured.table.files, predictions, record, cores=1)
    batch = pa.concat_tables(pq.read_table(run_task(job, number).path) for number in range(len(job.tasks)))
    manager = ServableManager(models, served("p"))
    manager.load()
    names = [feature.name for feature in spec.inputs]
    instances = [{name: as_json(row[name]) for name in names} for row in measured.rows.to_pylist()]
    body = json.dumps({"instances": instances}, allow_nan=False).encode()
    response = predict(Application(manager, Serve()), body, "/v1/models/p:predict")
    return {
        "graph": graph(measured.inputs())["probability"].numpy(),
        "batch": batch.sort_by("id").column("probability").to_numpy(),
        "REST": np.array([answer["probability"] for answer in response.json()["predictions"]]),
    }


def as_json(value: Any) -> Any:
    """A value as a client sends it; JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value.isoformat() if isinstance(value, date) else value


@pytest.mark.parametrize("way", ["batch", "REST"])
def test_batch_and_rest_answer_as_the_graph(answers: dict[str, np.ndarray], way: str) -> None:
    assert answers["graph"].shape == (ROWS,)
    assert len({*answers["graph"].tolist()}) == ROWS
    np.testing.assert_allclose(answers[way], answers["graph"], rtol=1e-6)

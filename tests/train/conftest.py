"""A small product with its clean table, for every test of training."""

from pathlib import Path

import pytest

from millrace.config import Product, load_product
from millrace.features.spec import FeatureSpec
from millrace.storage import Store
from millrace.tables.versions import CLEAN, TableVersion, find_table
from tests.made_up import PRODUCT, write_clean
from train.preprocessing.spec import build_spec
from train.preprocessing.statistics import LabelStatistics, NumericStatistics, Statistics
from train.ranks.arguments import RankArguments


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """The made-up product."""
    path = tmp_path / "shapes.yaml"
    path.write_text(PRODUCT)
    return load_product(path)


@pytest.fixture
def table(store: Store) -> TableVersion:
    """Its clean table."""
    write_clean(store)
    return find_table(store, "shapes", CLEAN)


@pytest.fixture
def statistics() -> Statistics:
    """About what `train.preprocessing.measure` computes for it."""
    return Statistics(
        numeric={
            "weight": NumericStatistics(mean=2.6, std=2.0, min=0.1, max=9.5),
            "size": NumericStatistics(mean=1.1, std=0.7, min=0.0, max=12.0),
        },
        vocabularies={"colour": ("red", "green", "blue, dark"), "round": (1, 0), "corners": (0, 8, 1, 2)},
        label=LabelStatistics(rows={"train": 900}, counts=(("ball", 450), ("box", 270), ("cone", 180))),
    )


@pytest.fixture
def spec(product: Product, table: TableVersion, statistics: Statistics) -> FeatureSpec:
    """The product's feature spec."""
    return build_spec(product.config, table, statistics)


@pytest.fixture
def arguments(
    product: Product, spec: FeatureSpec, statistics: Statistics, table: TableVersion, tmp_path: Path
) -> RankArguments:
    """What the driver sends to the ranks."""
    return RankArguments(
        train=product.config.train,
        spec=spec,
        statistics=statistics,
        files={split: table.files_of(split) for split in ("train", "validation", "test")},
        slices={},
        folder=str(tmp_path / "run"),
        previous=None,
    )

"""Products without a file, for stages that need only a few of their sections."""

from pathlib import Path
from typing import Any

from millrace.config import Config, Product


def product_of(name: str, **sections: Any) -> Product:
    """A product that has what serving and scoring read; the rest only has to be valid."""
    values: dict[str, Any] = {
        "product": name,
        "sources": {"rows": {"path": "rows.csv", "columns": {"id": "bigint"}}},
        "ingest": {"base": "rows", "key": ["id"]},
        "contract": {"expectations": [{"expect_column_values_to_not_be_null": {"column": "id"}}]},
        "features": {"label": "y", "inputs": {"amount": {"as": "numeric"}}},
        "train": {"task": "binary"},
    }
    return Product(Config.model_validate({**values, **sections}), Path.cwd())

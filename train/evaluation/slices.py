"""The values of slice columns that get metrics of their own."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

OTHER: Final = "(other)"
MISSING: Final = "(missing)"

Slices = Mapping[str, tuple[str, ...]]
"""The values by column, as `keys_of` writes them."""


def keys_of(column: pa.Array | pa.ChunkedArray) -> list[str]:
    """The values of a column as text; -0.0 is 0.0, as for Spark."""
    values = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [MISSING if value is None else str(value + 0.0) for value in values]
    return [MISSING if value is None else str(value) for value in values]

"""The vocabularies of a model's categories, stored beside its graph, to count values that training did not see.

The graph has them too, as look-up tables, but other code cannot read them there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.features.encoding import INT64_MIN, Dictionary, Encoded

FILE: Final = "assets.extra/vocabularies.json"
"""Path in the model version's folder; other servers ignore `assets.extra`."""

Vocabulary: TypeAlias = "frozenset[str] | pa.Array"
"""A vocabulary for look-ups: strings or integers."""


def write_vocabularies(folder: Path, vocabularies: Mapping[str, Sequence[int] | Sequence[str]]) -> None:
    """Write vocabularies to a SavedModel's folder."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vocabularies, ensure_ascii=False))


def read_vocabularies(folder: Path) -> dict[str, Vocabulary] | None:
    """Return the vocabularies by input; None for a model without this file."""
    path = folder / FILE
    if not path.is_file():
        return None
    found: dict[str, list[int] | list[str]] = json.loads(path.read_text())
    return {name: _words(values) for name, values in found.items()}


def _words(values: Sequence[int] | Sequence[str]) -> Vocabulary:
    texts = [value for value in values if isinstance(value, str)]
    return frozenset(texts) if texts else pa.array(values, pa.int64())


def count_unseen(column: Encoded, words: Vocabulary) -> int:
    """Count values that are present, but not in the vocabulary; the model treats all of them alike."""
    if isinstance(column, Dictionary):
        unseen = np.fromiter((value != "" and value not in words for value in column.values), np.bool_)
        return int(np.count_nonzero(unseen[column.indices])) if len(unseen) else 0
    values = np.asarray(column).astype(np.int64, copy=False)
    known = pc.is_in(pa.array(values), value_set=words).to_numpy(zero_copy_only=False)
    return int(np.count_nonzero(~known & (values != INT64_MIN)))

"""The vocabularies of a model's categories, beside its graph: what training saw, for those who count what it did not.

The graph holds them too, as look-up tables; there nobody else can read them.
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
"""Under the model version's folder; other servers leave `assets.extra` alone."""

Vocabulary: TypeAlias = "frozenset[str] | pa.Array"
"""A vocabulary to look up in: texts, or integers."""


def write_vocabularies(folder: Path, vocabularies: Mapping[str, Sequence[int] | Sequence[str]]) -> None:
    """Keep them in a SavedModel's folder."""
    path = folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(vocabularies, ensure_ascii=False))


def read_vocabularies(folder: Path) -> dict[str, Vocabulary] | None:
    """Vocabularies by input; None for a model that was published without."""
    path = folder / FILE
    if not path.is_file():
        return None
    found: dict[str, list[int] | list[str]] = json.loads(path.read_text())
    return {name: _words(values) for name, values in found.items()}


def _words(values: Sequence[int] | Sequence[str]) -> Vocabulary:
    texts = [value for value in values if isinstance(value, str)]
    return frozenset(texts) if texts else pa.array(values, pa.int64())


def count_unseen(column: Encoded, words: Vocabulary) -> int:
    """Values that are there, but not in the vocabulary: the model reads all of them as one."""
    if isinstance(column, Dictionary):
        unseen = np.fromiter((value != "" and value not in words for value in column.values), np.bool_)
        return int(np.count_nonzero(unseen[column.indices])) if len(unseen) else 0
    values = np.asarray(column).astype(np.int64, copy=False)
    known = pc.is_in(pa.array(values), value_set=words).to_numpy(zero_copy_only=False)
    return int(np.count_nonzero(~known & (values != INT64_MIN)))

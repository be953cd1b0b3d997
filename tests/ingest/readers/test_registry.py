"""Every format that a product file may name has its reader."""

from typing import get_args

import pytest

from ingest.readers.registry import reader_for
from millrace.config.sections.sources import Format, Jdbc, Source
from millrace.errors import ConfigError


def source(name: str, columns: dict[str, str]) -> Source:
    jdbc = Jdbc(url="jdbc:x", table="t") if name == "jdbc" else None
    return Source.model_validate({"format": name, "path": () if jdbc else "a", "jdbc": jdbc, "columns": columns})


@pytest.mark.parametrize("name", get_args(Format))
def test_every_format(name: str) -> None:
    reader = reader_for("s", source(name, {"a": "string"}), ["a"])
    assert (reader.shape.columns, reader.counts_lines) == ({"a": "string"}, True)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("text", {"a": "string", "b": "string"}, "text has one, found 2"),
        ("text", {"a": "int"}, "the column of a text source must be a string"),
        ("sequencefile", {"a": "int", "b": "int", "c": "int"}, "sequencefile has one or two, found 3"),
    ],
)
def test_formats_without_names(name: str, columns: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"sources.s.columns: {message}"):
        reader_for("s", source(name, columns), list(columns))

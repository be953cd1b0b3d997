"""A declared source: what belongs together, and what cannot be."""

from typing import Any

import pytest
from pydantic import ValidationError

from millrace.config.sections.sources import Source


def made(**given: Any) -> Source:
    return Source.model_validate({"columns": {"a": "int"}, **given})


def test_a_path_is_a_list_of_one() -> None:
    assert made(path="a.csv").path == ("a.csv",)
    assert made(path=["a.csv", "b.csv"]).path == ("a.csv", "b.csv")
    assert {"type": "string"} in Source.model_json_schema()["properties"]["path"]["anyOf"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "path is missing"),
        ({"path": "a", "format": "jdbc"}, "format jdbc needs the section jdbc"),
        ({"format": "jdbc", "jdbc": {"url": "jdbc:x"}}, "exactly one of table, query"),
        ({"format": "jdbc", "path": "a", "jdbc": {"url": "jdbc:x", "table": "t"}}, "format jdbc has no path"),
        ({"path": ["a", "b"], "sha256": "0" * 64}, "digest of one file"),
        ({"path": "a", "optional": ["b"]}, "optional: 'b' is not among the columns"),
        ({"path": "a", "max_bad_files": 3}, "max_bad_files has an effect only with on_bad_file: quarantine"),
        ({"path": "a", "settle_s": 0}, "settle_s has an effect only with incremental: true"),
    ],
)
def test_mistakes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        made(**given)

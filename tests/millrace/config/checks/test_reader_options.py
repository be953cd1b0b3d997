"""Reader options: what Spark would ignore in silence is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from millrace.config import load_product
from millrace.config.checks.reader_options import find_mistakes, read_options
from millrace.config.sections.sources import Source
from millrace.errors import ConfigError
from tests.millrace.products import write_product


def source(**options: Any) -> Source:
    return Source.model_validate({"path": ["a.csv"], "columns": {"a": "int"}, "options": options})


def test_defaults() -> None:
    options = read_options(source())
    assert options.spark == {"sep": ",", "escape": '"'}
    assert (options.header, options.multi_line, options.encoding, options.quote) == (True, False, "utf-8", '"')
    assert options.is_utf8


def test_names_are_known_in_any_case() -> None:
    options = read_options(source(NULLVALUE="NA", Header=False, Delimiter="\\t", encoding="latin-1"))
    assert options.spark == {"nullValue": "NA", "sep": "\t", "escape": '"'}
    assert (options.header, options.separator, options.is_utf8) == (False, "\t", False)


@pytest.mark.parametrize(
    "options",
    [
        {"quote": ""},
        {"sep": "\\t", "escape": "\\"},
        {"header": False, "multiLine": "true"},
        {"maxCharsPerColumn": -1},
        {"unescapedQuoteHandling": "SKIP_VALUE"},
        {"encoding": "UTF-16"},
    ],
)
def test_let_through(options: dict[str, Any]) -> None:
    assert list(find_mistakes(options)) == []


@pytest.mark.parametrize(
    ("options", "found", "allowed"),
    [
        ({"nulValue": "NA"}, "unknown option 'nulValue'", "did you mean 'nullValue'?"),
        ({"mode": "DROPMALFORMED"}, "option 'mode' cannot be set", "rejects"),
        ({"inferSchema": True}, "option 'inferSchema' cannot be set", "never inferred"),
        ({"comment": "#"}, "option 'comment' cannot be set", "counts every line"),
        ({"encoding": "klingon"}, "found 'klingon'", "expected a text encoding"),
        ({"header": "yes"}, "found 'yes'", "expected true or false"),
        ({"sep": "||"}, "found '||'", "expected one character"),
        ({"sep": ""}, "found ''", "expected one character"),
        ({"quote": "''"}, "found ''''", "expected one character or none"),
        ({"sep": ";", "Delimiter": ";"}, "'Delimiter' and 'sep' are the same option", "remove one"),
        ({"maxColumns": "many"}, "found 'many'", "expected a whole number"),
        ({"unescapedQuoteHandling": "SKIP_VALUES"}, "found 'SKIP_VALUES'", "did you mean 'SKIP_VALUE'?"),
    ],
)
def test_refused(options: dict[str, Any], found: str, allowed: str) -> None:
    [mistake] = find_mistakes(options)
    assert mistake[0] in options
    assert mistake[1] == found
    assert allowed in mistake[2]


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    path = write_product(tmp_path, ("nullValue: NA", "nulValue: NA"))
    with pytest.raises(ConfigError, match=r"trips\.yaml:5: sources\.trips\.options\.nulValue: unknown option"):
        load_product(path)

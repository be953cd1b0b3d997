"""Reader options: what Spark would ignore in silence is refused by name."""

from typing import Any

import pytest

from ingest.errors import OptionRefused
from ingest.options import read_options
from pipelines.config.sections import Source


def source(**options: Any) -> Source:
    return Source(path="a.csv", columns={"a": "int"}, options=options)


def test_defaults() -> None:
    options = read_options("s", source())
    assert options.spark == {"sep": ",", "escape": '"'}
    assert (options.header, options.multi_line, options.encoding, options.quote) == (True, False, "utf-8", '"')
    assert options.is_utf8


def test_names_are_known_in_any_case() -> None:
    options = read_options("s", source(NULLVALUE="NA", Header=False, Delimiter="\\t", encoding="latin-1"))
    assert options.spark == {"nullValue": "NA", "sep": "\t", "escape": '"'}
    assert (options.header, options.separator, options.is_utf8) == (False, "\t", False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nulValue": "NA"}, "did you mean 'nullValue'"),
        ({"mode": "DROPMALFORMED"}, "not yours to set"),
        ({"inferSchema": True}, "never inferred"),
        ({"comment": "#"}, "accounted for"),
        ({"encoding": "klingon"}, "unknown encoding 'klingon'"),
        ({"header": "yes"}, "expected true or false, found 'yes'"),
        ({"sep": "||"}, "one character"),
        ({"quote": "''"}, "one character"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionRefused, match=message) as caught:
        read_options("s", source(**options))
    assert "sources.s.options." in str(caught.value)

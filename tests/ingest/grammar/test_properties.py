"""For each type: a text is accepted if and only if the grammar says so, and its value is that of another parser.

The other parsers are Python's own and pyarrow's. What they accept beyond the grammar (underscores, other digits,
spaces) is taken away here.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingest.grammar.parse import BLANKS, value_of
from ingest.spark.columns import quoted
from millrace.config.sections.columns import INTEGERS, Column

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

EXAMPLES = 800
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Expected = Callable[[str], Any]
"""The value of a text, or None if it is not of the type."""


def plain(text: str) -> bool:
    """Whether Python's lenient number parsers have nothing to be lenient about."""
    return text.isascii() and "_" not in text and not re.search(r"[\x00-\x20\x7f]", text)


def short_exponent(text: str) -> bool:
    digits = re.split("[eE]", text)[1:]
    return all(len(part.lstrip("+-")) <= 3 for part in digits)


def integer(bits: int) -> Expected:
    def expected(text: str) -> int | None:
        try:
            value = int(text) if plain(text) else None
        except ValueError:
            return None
        return value if value is not None and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else None

    return expected


def decimal(precision: int, scale: int) -> Expected:
    def expected(text: str) -> Decimal | None:
        if not plain(text) or not short_exponent(text):
            return None
        try:
            value = Decimal(text)
            if not value.is_finite():
                return None
            unit = Decimal(1).scaleb(-scale)
            rounded = value.quantize(unit, ROUND_HALF_UP, Context(prec=3000, Emax=9999, Emin=-9999))
        except InvalidOperation:
            return None
        return rounded if abs(rounded) < Decimal(10) ** (precision - scale) else None

    return expected


def floating(kind: pa.DataType) -> Expected:
    def expected(text: str) -> float | None:
        if not plain(text) or not short_exponent(text):
            return None
        try:
            value = float(text)
        except ValueError:
            return None
        if not math.isfinite(value):
            return None
        if kind == pa.float32():
            value = pa.array([text.removeprefix("+")]).cast(kind)[0].as_py()
        return value if math.isfinite(value) else None

    return expected


def day(text: str) -> date | None:
    if len(text) != 10 or not plain(text) or "W" in text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def clock(text: str) -> timedelta | None:
    """A time of the day: hours and minutes, maybe seconds, maybe up to nine digits of a fraction."""
    whole, point, fraction = text.partition(".")
    parts = whole.split(":")
    if len(parts) not in (2, 3) or any(len(part) != 2 or not part.isdecimal() for part in parts):
        return None
    if point and (len(parts) == 2 or not 1 <= len(fraction) <= 9 or not fraction.isdecimal()):
        return None
    hours, minutes, seconds = (*map(int, parts), 0)[:3]
    if hours > 23 or minutes > 59 or seconds > 59:
        return None
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=int((fraction + "000000")[:6]))


def offset(text: str) -> timedelta | None:
    if text in ("", "Z"):
        return timedelta(0)
    sign, digits = text[0], text[1:].replace(":", "", 1) if text[3:4] == ":" else text[1:]
    if sign not in "+-" or len(digits) not in (2, 4) or not digits.isdecimal() or (":" in text and len(digits) == 2):
        return None
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if minutes > 59 or hours * 60 + minutes > 18 * 60:
        return None
    return (1 if sign == "+" else -1) * timedelta(hours=hours, minutes=minutes)


def moment(text: str) -> datetime | None:
    start = day(text[:10])
    if start is None or not text.isascii():
        return None
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    if len(text) == 10:
        return midnight
    if text[10] not in " T":
        return None
    zone = re.search(r"[Z+-]", text[11:])
    cut = 11 + zone.start() if zone else len(text)
    time, ahead = clock(text[11:cut].removesuffix(" ") if zone else text[11:cut]), offset(text[cut:])
    if time is None or ahead is None:
        return None
    try:
        return midnight + time - ahead
    except OverflowError:
        return None


def since_epoch(unit: int) -> Expected:
    def expected(text: str) -> datetime | None:
        whole, point, fraction = text.lstrip("+-").partition(".") if text[:1] in "+-" else text.partition(".")
        if len(text) - len(text.lstrip("+-")) > 1 or not plain(text) or not whole.isdecimal() or len(whole) > 18:
            return None
        if point and (not fraction.isdecimal() or len(fraction) > 9):
            return None
        try:
            return EPOCH + timedelta(microseconds=math.floor(Fraction(text) * unit))
        except OverflowError:
            return None

    return expected


def boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def from_base64(text: str) -> bytes | None:
    if len(text) % 4:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


DIGITS = st.text("0123456789", min_size=1, max_size=12)
NUMBERS = st.one_of(
    DIGITS,
    st.integers(-(2**64), 2**64).map(str),
    st.sampled_from([2**7, 2**15, 2**31, 2**63]).flatmap(lambda n: st.sampled_from([n, n - 1, -n, -n - 1])).map(str),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.floats().map(repr),
    st.floats(width=32).map(repr),
    st.builds("{}{}.{}e{}".format, st.sampled_from(["", "-", "+"]), DIGITS, DIGITS, st.integers(-400, 400)),
    st.sampled_from(
        ", . - + e5 1e 1. .5 -.5 +5 00123F 123d 0x10 1e+5 1e0005 1_000 ٣ 1;5 NaN Infinity -inf 1e400 1e-400 16777217 "
        "1e39 1.005 -0 007".split(" ")
    ),
)
DATES = st.one_of(
    st.dates().map(date.isoformat),
    st.builds("{:04d}-{:02d}-{:02d}".format, st.integers(0, 10000), st.integers(0, 13), st.integers(0, 32)),
    st.sampled_from(["202401", "2024", "2024-01", "2024-1-1", "2024-01-31 garbage", "2024-01-1T", "20240131"]),
    st.sampled_from(
        ["2024-W01-1", "0000-01-01", "0001-01-01", "9999-12-31", "12024-01-01", "-2024-01-01", "٢٠٢٤-01-01"]
    ),
)
TIMES = st.builds(
    "{:02d}:{:02d}{}{}{}".format,
    st.integers(0, 24),
    st.integers(0, 60),
    st.one_of(st.just(""), st.integers(0, 60).map(":{:02d}".format)),
    st.one_of(st.just(""), st.text("0123456789", max_size=10).map(".{}".format)),
    st.one_of(
        st.sampled_from(
            ["", "Z", " Z", "z", "+01", "+0100", "-01:30", "+18:00", "+18:01", "-18:00", " +02:00", "+1:00"]
        ),
        st.sampled_from([" Europe/Paris", "UTC", "  Z", "+01:0", "+", "+010", "+01:60"]),
    ),
)
MOMENTS = st.one_of(
    DATES,
    TIMES,
    st.builds("{}{}{}".format, DATES, st.sampled_from(["T", " ", "t", "  ", ""]), TIMES),
    st.datetimes().map(datetime.isoformat),
    st.sampled_from(
        ["1706688960000", "08:15:00", "2024-01-01T", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]
    ),
)
EPOCHS = st.one_of(
    st.integers(-(10**19), 10**19).map(str),
    st.builds("{}.{}".format, st.integers(-(10**12), 10**12), st.text("0123456789", max_size=10)),
    st.sampled_from(["", "-", "1e9", " 1", "1706688960000", "-1", "-0.5", "+5", "253402300799.999999", "253402300800"]),
)
WORDS = st.one_of(
    st.sampled_from(["true", "false", "TRUE", "False", "t", "f", "1", "0", "yes", "no", "", " true", "tru\u0435"]),
    st.text("trufalseTRUFALSE", max_size=6),
)
PACKED = st.one_of(
    st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()), st.text("AQz0+/=\n ", max_size=12)
)


def mutated(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Texts as they are, and with one character more, less or other."""
    edit = st.tuples(
        texts, st.integers(0, 40), st.sampled_from("0159+-.,:eEdfTZ _\t\x01\x7f\u00a0٣"), st.integers(0, 2)
    )
    return st.one_of(texts, edit.map(lambda e: e[0][: e[1]] + e[2] * (e[3] > 0) + e[0][e[1] + e[3] % 2 :]))


CASES: dict[str, tuple[dict[str, Any], st.SearchStrategy[str], Expected]] = {
    "tinyint": ({"type": "tinyint"}, NUMBERS, integer(8)),
    "smallint": ({"type": "smallint"}, NUMBERS, integer(16)),
    "int": ({"type": "int"}, NUMBERS, integer(32)),
    "bigint": ({"type": "bigint"}, NUMBERS, integer(64)),
    "decimal(10,2)": ({"type": "decimal(10,2)"}, NUMBERS, decimal(10, 2)),
    "decimal(38,0)": ({"type": "decimal(38,0)"}, NUMBERS, decimal(38, 0)),
    "decimal(38,38)": ({"type": "decimal(38,38)"}, NUMBERS, decimal(38, 38)),
    "double": ({"type": "double"}, NUMBERS, floating(pa.float64())),
    "float": ({"type": "float"}, NUMBERS, floating(pa.float32())),
    "boolean": ({"type": "boolean"}, WORDS, boolean),
    "date": ({"type": "date"}, DATES, day),
    "timestamp": ({"type": "timestamp"}, MOMENTS, moment),
    "seconds": ({"type": "timestamp", "unit": "seconds"}, EPOCHS, since_epoch(10**6)),
    "milliseconds": ({"type": "timestamp", "unit": "milliseconds"}, EPOCHS, since_epoch(10**3)),
    "microseconds": ({"type": "timestamp", "unit": "microseconds"}, EPOCHS, since_epoch(1)),
    "base64": ({"type": "binary", "encoding": "base64"}, PACKED, from_base64),
}


def values(spark: "SparkSession", column: Column, texts: Sequence[str]) -> list[Any]:
    """What the grammar makes of texts; timestamps as times in UTC."""
    from pyspark.sql import functions as F

    frame = spark.createDataFrame(list(enumerate(texts)), "n int, `a text` string")
    text = F.col(quoted("a text"))
    value = value_of(text, column, ~text.rlike(BLANKS)) if column.type in INTEGERS else value_of(text, column)
    if column.type == "timestamp":
        value = F.unix_micros(value)
    rows = sorted(frame.select("n", value.alias("value")).collect())
    found = [row["value"] for row in rows]
    if column.type == "timestamp":
        return [None if each is None else EPOCH + timedelta(microseconds=each) for each in found]
    return [bytes(each) if isinstance(each, bytearray) else each for each in found]


@pytest.mark.parametrize("name", CASES)
def test_a_text_is_accepted_if_and_only_if_the_grammar_says_so(spark: "SparkSession", name: str) -> None:
    keys, strategy, expected = CASES[name]
    column = Column(**keys)

    texts: set[str] = set()

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], deadline=None, database=None, derandomize=True)
    @given(mutated(strategy))
    def collect(text: str) -> None:
        texts.add(text)

    collect()  # first all texts, then one Spark job for them
    found = dict(zip(sorted(texts), values(spark, column, sorted(texts)), strict=True))
    wanted = {text: expected(text) for text in texts}
    assert {text: (found[text], wanted[text]) for text in texts if found[text] != wanted[text]} == {}
    assert len(texts) > EXAMPLES / 4
    assert any(value is not None for value in found.values())
    assert any(value is None for value in found.values())

"""Patterns of dates and times: those that are accepted, Spark reads; slips are refused with what was meant."""

from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from millrace.config.sections.patterns import pattern_mistake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOOD = {
    "dd/MM/yyyy HH:mm": ("31/01/2024 10:20", "2024-01-31 10:20:00"),
    "yyyy-MM-dd HH:mm:ss.SSS": ("2024-01-31 10:20:30.005", "2024-01-31 10:20:30.005"),
    "dd/MMM/yyyy:HH:mm:ss Z": ("31/Jan/2024:10:20:30 +0530", "2024-01-31 04:50:30"),
    "yyyy-MM-dd'T'HH:mm:ssXXX": ("2024-01-31T10:20:30-05:00", "2024-01-31 15:20:30"),
    "yyyy-MM-dd HH:mm VV": ("2024-01-31 10:20 Europe/Paris", "2024-01-31 09:20:00"),
    "d. MMMM yyyy, hh:mm a": ("3. March 2024, 12:30 AM", "2024-03-03 00:30:00"),
    "yyyyDDD": ("2024060", "2024-02-29 00:00:00"),
    "d/M/yy[ HH:mm]": ("3/2/24", "2024-02-03 00:00:00"),
    "'at' HH 'o''clock' dd.MM.yyyy": ("at 10 o'clock 31.01.2024", "2024-01-31 10:00:00"),
}
BAD = {
    "yyyy-MM-dd HH:mm:SS": "S is the fraction of a second, and s is missing",
    "yyyy-MM-dd HH:ss": "s is the second, and m is missing",
    "yyyy-MM-dd mm": "m is the minute, and H is missing",
    "yyyy-MM-dd HH:MM": "letter 'M' twice",
    "yyyy-MM-dd hh:mm": "without a for am or pm",
    "yyyy-MM-DD": "the day of the month is d",
    "yyyy-MM-dd HH:mm z": "letter 'z' stands for names such as EST",
    "EEE, d MMM yyyy": "Spark cannot read letter 'E'",
    "yyyy-MM-dd'Q'q": "Spark cannot read letter 'q'",
    "yyyy-MMMMMM-dd": "letter 'M' occurs 6 times; expected 1 to 4",
    "yyyy-MM-dd V": "letter 'V' occurs 1 times; expected 2",
    "yyyy-MM-dd[": r"a \[ without ]",
    "yyyy-MM-dd]": r"a ] without \[",
    "yyyy-MM-dd{": "'{' must be in single quotes",
    "yyyy-MM-dd'T": "a single quote without an end",
    "YYYY-MM-dd": "unknown letter 'Y'",
    "yyyy-MM": "expected a year",
}


@pytest.mark.parametrize(("pattern", "message"), BAD.items())
def test_slips(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        raise ValueError(pattern_mistake(pattern, "timestamp"))


@pytest.mark.parametrize("zone", ["VV", "O", "XXX", "xx", "Z"])
def test_a_date_has_no_zone(zone: str) -> None:
    assert "the day depends on the zone" in pattern_mistake(f"yyyy-MM-dd {zone}", "date")
    assert pattern_mistake(f"yyyy-MM-dd {zone}", "timestamp") == ""


@pytest.mark.spark
def test_spark_reads_what_is_accepted(spark: "SparkSession") -> None:
    assert {pattern: pattern_mistake(pattern, "timestamp") for pattern in GOOD} == dict.fromkeys(GOOD, "")
    values = [F.try_to_timestamp(F.lit(text), F.lit(pattern)).cast("string") for pattern, (text, _) in GOOD.items()]
    (row,) = spark.range(1).select(*(value.alias(str(number)) for number, value in enumerate(values))).collect()
    assert list(row) == [expected for _, expected in GOOD.values()]

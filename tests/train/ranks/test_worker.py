"""What a rank computes by itself; `test_launch` and `test_stage` run whole ranks."""

import subprocess
import sys

import pytest

from millrace.errors import ConfigError
from train.errors import Diverged, RankFailed
from train.ranks.worker import error_kind, error_summary


def test_a_rank_imports_no_spark() -> None:
    code = "import sys, train.ranks.worker; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Diverged("x", 1), "DataRejected"),
        (ConfigError("x"), "ConfigError"),
        (RankFailed(1, "x"), "Unavailable"),
        (ValueError("x"), "bug"),
        (RuntimeError("op HorovodGroupedAllreduce: Connection closed by peer"), "peer"),
    ],
)
def test_an_error_is_told_by_its_kind(error: Exception, kind: str) -> None:
    assert error_kind(error) == kind


def test_a_foreign_error_is_told_in_one_line() -> None:
    assert error_summary(ValueError("first\nsecond")) == "ValueError: first"
    assert error_summary(ConfigError("both\nlines")) == "both\nlines"

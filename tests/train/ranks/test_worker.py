"""A rank by itself; `test_launch` and `test_stage` run whole ranks."""

import dataclasses
import pickle
import subprocess
import sys

import pytest

from millrace.errors import ArtifactNotFound, ConfigError
from train.errors import Diverged, GateFailed, RankLost, RankRaised
from train.ranks.arguments import RankArguments
from train.ranks.worker import build_trunk, error_event


def test_a_rank_imports_no_spark() -> None:
    code = "import sys, train.ranks.worker; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_arguments_arrive_unchanged(arguments: RankArguments) -> None:
    received = pickle.loads(pickle.dumps(arguments))  # noqa: S301 # our own bytes
    assert received == arguments
    assert received.statistics.vocabularies["corners"] == (0, 8, 1, 2)


def test_the_watchdog_ends_a_process_that_makes_no_step_and_shows_where() -> None:
    code = "import threading\nfrom train.rank import watchdog\nwatchdog(0.2)\nthreading.Event().wait(60)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Timeout (0:00:00.200000)!" in done.stderr
    assert 'File "<string>", line 4' in done.stderr


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Diverged("x", 1), "DataRejected"),
        (ConfigError("x"), "ConfigError"),
        (ArtifactNotFound(kind="model", name="x"), "InputMissing"),
        (GateFailed(["x"]), "Refused"),
        (RankLost(1, "x"), "Unavailable"),
        (RankRaised(1, "x"), "RankRaised"),
        (ValueError("x"), "RankRaised"),
        (RuntimeError("op HorovodGroupedAllreduce: Connection closed by peer"), "peer"),
    ],
)
def test_the_kind_of_an_error(error: Exception, kind: str) -> None:
    assert error_event(error, 1)["kind"] == kind


def test_another_library_s_error_is_one_line() -> None:
    assert error_event(ValueError("first\nsecond"), 2)["message"] == "ValueError: first"
    assert error_event(ConfigError("both\nlines"), 2)["message"] == "both\nlines"


@pytest.mark.tf
@pytest.mark.parametrize(
    ("builder", "message"),
    [
        ("wide", r"output shape \(None, 4\), expected \(None, 3\)"),
        ("without_a_model", "returned str, expected a keras.Model"),
    ],
)
def test_a_builder_that_returns_something_else(arguments: RankArguments, builder: str, message: str) -> None:
    train = arguments.train.model_copy(update={"model": f"tests.train.builders:{builder}"})
    with pytest.raises(ConfigError, match=rf"train\.model: tests\.train\.builders:{builder} .*{message}"):
        build_trunk(dataclasses.replace(arguments, train=train))

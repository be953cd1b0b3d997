"""A rank by itself; `test_launch` and `test_stage` run whole ranks."""

import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from millrace.errors import ArtifactNotFound, ConfigError
from train.errors import Diverged, GateFailed, RankLost, RankRaised
from train.models.builder import build_trunk
from train.preprocessing.layers import CATEGORY, NUMERIC, describe
from train.ranks.arguments import RankArguments
from train.ranks.worker import error_event


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
        (
            "with_numbers_alone",
            r"inputs {'numeric': \(None, 7\)}, expected {'numeric': \(None, 7\), 'category': \(None, 4\)}",
        ),
        ("sequential", "inputs without names"),
        ("not_built", "inputs without names"),
    ],
)
def test_a_builder_that_returns_something_else(arguments: RankArguments, builder: str, message: str) -> None:
    train = arguments.train.model_copy(update={"model": f"tests.train.builders:{builder}"})
    with pytest.raises(ConfigError, match=rf"train\.model: tests\.train\.builders:{builder} .*{message}"):
        build_trunk(train, describe(arguments.spec, arguments.statistics), 3)


@pytest.mark.tf
def test_a_trunk_with_a_list_of_inputs_gets_each_tensor_by_its_name(arguments: RankArguments) -> None:
    train = arguments.train.model_copy(update={"model": "tests.train.builders:with_a_list"})
    encoding = describe(arguments.spec, arguments.statistics)
    trunk = build_trunk(train, encoding, 3)
    numbers = np.arange(14, dtype=np.float32).reshape(2, 7)
    scores = trunk({NUMERIC: numbers, CATEGORY: np.full((2, 4), 100, np.int32)})
    assert np.asarray(scores)[:, 0].tolist() == numbers.sum(1).tolist()


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("import pyarrow; pyarrow.table({'a': [1]}).column('b')", "RankRaised", "KeyError"),
        ("import numpy; numpy.random.default_rng(0).choice(0, 1)", "RankRaised", "ValueError"),
        ("import sys; sys.exit('no such option')", "RankRaised", "SystemExit: no such option"),
    ],
)
def test_compiled_code_of_a_library_is_not_the_user_s(code: str, kind: str, words: str) -> None:
    with pytest.raises(BaseException) as raised:  # any
        exec(code)  # noqa: S102 # our own code, of no file
    assert raised.value.__traceback__
    event = error_event(raised.value.with_traceback(raised.value.__traceback__.tb_next), 0)  # without this function
    assert (event["kind"], words in event["message"]) == (kind, True)


@pytest.mark.parametrize("code", ["raise OSError('/data/Horovod/w.h5')", "import sys; sys.exit(3)"])
def test_any_error_in_a_user_s_file_is_the_user_s(code: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"def build():\n    {code}\n")
    function = runpy.run_path(str(tmp_path / "mine.py"), run_name="mine")["build"]
    with pytest.raises((OSError, SystemExit)) as raised:
        function()
    event = error_event(raised.value, 0)
    assert event["kind"] == "ConfigError"
    assert "mine.py:2 in build" in event["message"]

"""Real ranks on Spark: if one of them fails or hangs, the run ends with an error that names the rank and the cause."""

import dataclasses
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millrace.config.sections.profile import Ranks
from millrace.config.sections.train import Train
from millrace.errors import ConfigError, DataRejected, Unavailable
from millrace.failpoints import ENVIRONMENT
from train.errors import RankFailed
from train.ranks.arguments import RankArguments
from train.ranks.launch import find_cause, run_ranks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.tf,
    # A thread of Horovod raises the same error that the run reports.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


def run(spark: "SparkSession", arguments: RankArguments, **train: Any) -> dict[str, Any]:
    section = Train.model_validate({**arguments.train.model_dump(by_alias=True), **train})
    changed = dataclasses.replace(arguments, train=section)
    before = signal.getsignal(signal.SIGTERM)
    try:
        return run_ranks(spark, changed, Ranks(world_size=2), lambda event: None)
    finally:
        assert signal.getsignal(signal.SIGTERM) is before, "Horovod kept the signal that ends a run"


def test_a_rank_that_raises_ends_the_run_with_its_own_error(
    spark: "SparkSession",
    arguments: RankArguments,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "train.before_batch@1=raise")
    with caplog.at_level(logging.ERROR), pytest.raises(RankFailed, match=r"rank 1 failed: .*FailpointFired"):
        run(spark, arguments)
    assert "on_train_batch_begin" in caplog.text


def test_a_rank_that_hangs_ends_the_run_with_its_stack(
    spark: "SparkSession",
    arguments: RankArguments,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "train.before_batch@1=hang")
    with caplog.at_level(logging.ERROR), pytest.raises(RankFailed, match=r"no step was made before train\.deadline_s"):
        run(spark, arguments, deadline_s=20)
    assert "fail_here" in caplog.text


def test_ranks_whose_weights_drift_apart_are_found_after_one_epoch(
    spark: "SparkSession", arguments: RankArguments
) -> None:
    with pytest.raises(Unavailable, match="rank 1 failed: its weights differ from rank 0's after epoch 1"):
        run(spark, arguments, model="tests.train.builders:drifting")


def test_a_loss_that_diverges_rejects_the_run(spark: "SparkSession", arguments: RankArguments) -> None:
    with pytest.raises(DataRejected, match="training diverged in epoch 1"):
        run(spark, arguments, learning_rate=1e30)


def test_more_ranks_than_slots_are_refused(spark: "SparkSession", arguments: RankArguments) -> None:
    with pytest.raises(ConfigError, match="3 ranks need as many Spark slots at the same time, there are 2"):
        run_ranks(spark, arguments, Ranks(world_size=3), lambda event: None)


def test_a_rank_that_sent_no_error_is_reported_with_its_exit_code() -> None:
    error = find_cause([], ["something"], Exception("Process name: 1 Exit code: 137\nmore"))
    assert str(error) == "a rank failed: Process name: 1 Exit code: 137"


def test_the_project_is_importable_in_the_ranks(spark: "SparkSession") -> None:
    assert str(Path(__file__).parents[3]) in os.environ["PYTHONPATH"].split(os.pathsep)

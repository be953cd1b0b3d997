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
from millrace.errors import ConfigError, DataRejected, Terminated
from millrace.failpoints import ENVIRONMENT
from pipelines.jobs.exits import exit_code
from train.errors import RankLost, RankRaised
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
    with caplog.at_level(logging.ERROR), pytest.raises(RankRaised, match=r"rank 1 failed: .*FailpointFired"):
        run(spark, arguments)
    assert "_run_epoch" in caplog.text


def test_a_rank_that_hangs_ends_the_run_with_its_stack(
    spark: "SparkSession",
    arguments: RankArguments,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "train.before_batch@1=hang")
    with caplog.at_level(logging.ERROR), pytest.raises(RankLost, match=r"no step was made before train\.deadline_s"):
        run(spark, arguments, deadline_s=20)
    assert "fail_here" in caplog.text


def test_ranks_whose_weights_drift_apart_are_found_after_one_epoch(
    spark: "SparkSession", arguments: RankArguments
) -> None:
    with pytest.raises(RankRaised, match=r"rank 1 failed: variable '.*count' differs from rank 0's after epoch 1"):
        run(spark, arguments, model="tests.train.builders:drifting")


@pytest.mark.case("B8")
@pytest.mark.parametrize(("builder", "error"), [("mistaken", "TypeError"), ("quitting", "SystemExit: no such option")])
def test_a_mistake_in_a_builder_is_named_and_not_retried(
    spark: "SparkSession", arguments: RankArguments, builder: str, error: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{error}.*tests/train/builders\.py:\d+ in {builder}") as caught:
        run(spark, arguments, model=f"tests.train.builders:{builder}")
    assert exit_code(caught.value) == 78


@pytest.mark.case("B7")
def test_a_damaged_file_is_told_by_name(spark: "SparkSession", arguments: RankArguments) -> None:
    file = arguments.files["train"][0]
    files = {**arguments.files, "train": (dataclasses.replace(file, sha256="0" * 64),)}
    with pytest.raises(DataRejected, match=f"{Path(file.path).name}.*digest"):
        run(spark, dataclasses.replace(arguments, files=files), memory_budget_mb=1)


def test_a_loss_that_diverges_rejects_the_run(spark: "SparkSession", arguments: RankArguments) -> None:
    with pytest.raises(DataRejected, match="training diverged in epoch 1"):
        run(spark, arguments, learning_rate=1e30)


@pytest.mark.case("F6")
@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_in_training_is_not_a_failed_rank(
    spark: "SparkSession", arguments: RankArguments, number: signal.Signals, kind: type[BaseException]
) -> None:
    section = arguments.train.model_copy(update={"epochs": 10_000})
    before = signal.signal(number, signal.default_int_handler)

    def send(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == 1:
            os.kill(os.getpid(), number)

    try:
        with pytest.raises(kind):
            run_ranks(spark, dataclasses.replace(arguments, train=section), Ranks(world_size=2), send)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_more_ranks_than_slots_are_refused(spark: "SparkSession", arguments: RankArguments) -> None:
    with pytest.raises(ConfigError, match="3 ranks need as many Spark slots at the same time, there are 2"):
        run_ranks(spark, arguments, Ranks(world_size=3), lambda event: None)


def test_a_rank_that_sent_no_error_is_reported_with_its_exit_code() -> None:
    error = find_cause([], ["something"], Exception("Process name: 1 Exit code: 137\nmore"))
    assert str(error) == "a rank was lost: Process name: 1 Exit code: 137"
    assert exit_code(error) == 75


def test_the_project_is_importable_in_the_ranks(spark: "SparkSession") -> None:
    assert str(Path(__file__).parents[3]) in os.environ["PYTHONPATH"].split(os.pathsep)

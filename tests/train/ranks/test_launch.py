"""Real ranks on Spark: whatever one of them does, the run ends, and says which and why."""

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millrace.config import Product
from millrace.config.sections.profile import Ranks
from millrace.config.sections.train import Train
from millrace.errors import ConfigError, DataRejected, Unavailable
from millrace.failpoints import ENVIRONMENT
from millrace.features.spec import FeatureSpec
from millrace.tables.versions import TableVersion
from train.errors import RankFailed
from train.preprocessing.statistics import Statistics
from train.ranks.arguments import RankArguments
from train.ranks.launch import find_cause, run_ranks

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    pytest.mark.tf,
    # Horovod's own thread raises what the run has already reported.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture
def args(
    product: Product, spec: FeatureSpec, statistics: Statistics, table: TableVersion, tmp_path: Path
) -> RankArguments:
    files = {split: table.files_of(split) for split in ("train", "validation", "test")}
    return RankArguments(
        train=product.config.train,
        spec=spec,
        statistics=statistics,
        files=files,
        slices=(),
        folder=str(tmp_path / "run"),
        previous=None,
    )


def run(spark: "SparkSession", args: RankArguments, **train: Any) -> dict[str, Any]:
    section = Train.model_validate({**args.train.model_dump(by_alias=True), **train})
    changed = RankArguments(**{**vars(args), "train": section})
    before = signal.getsignal(signal.SIGTERM)
    try:
        return run_ranks(spark, changed, Ranks(world_size=2), lambda event: None)
    finally:
        assert signal.getsignal(signal.SIGTERM) is before, "Horovod kept the signal that ends a run"


def test_a_rank_that_raises_ends_the_run_with_its_own_error(
    spark: "SparkSession", args: RankArguments, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "train.before_batch@1=raise")
    with caplog.at_level(logging.ERROR), pytest.raises(RankFailed, match=r"rank 1 failed: .*FailpointFired"):
        run(spark, args)
    assert "on_train_batch_begin" in caplog.text


def test_a_rank_that_hangs_ends_the_run_with_its_stack(
    spark: "SparkSession", args: RankArguments, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENVIRONMENT, "train.before_batch@1=hang")
    with caplog.at_level(logging.ERROR), pytest.raises(RankFailed, match=r"no step was made before train\.deadline_s"):
        run(spark, args, deadline_s=20)
    assert "fail_here" in caplog.text


def test_ranks_whose_weights_drift_apart_are_found_after_one_epoch(spark: "SparkSession", args: RankArguments) -> None:
    with pytest.raises(Unavailable, match="rank 1 failed: its weights differ from rank 0's after epoch 1"):
        run(spark, args, model="tests.train.builders:drifting")


def test_a_loss_that_diverges_rejects_the_run(spark: "SparkSession", args: RankArguments) -> None:
    with pytest.raises(DataRejected, match="training diverged in epoch 1"):
        run(spark, args, learning_rate=1e30)


def test_more_ranks_than_slots_is_a_mistake_found_at_once(spark: "SparkSession", args: RankArguments) -> None:
    with pytest.raises(ConfigError, match="3 ranks need as many Spark slots at the same time, there are 2"):
        run_ranks(spark, args, Ranks(world_size=3), lambda event: None)


def test_a_rank_that_died_without_a_word_is_told_by_its_exit() -> None:
    error = find_cause([], ["something"], Exception("Process name: 1 Exit code: 137\nmore"))
    assert str(error) == "a rank failed: Process name: 1 Exit code: 137"


def test_the_project_is_importable_in_the_ranks() -> None:
    assert str(Path(__file__).parents[3]) in os.environ["PYTHONPATH"].split(os.pathsep)

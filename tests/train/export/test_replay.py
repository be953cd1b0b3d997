"""The process of the replay reports why it failed; `test_saved_model` runs the whole replay."""

from pathlib import Path

import pytest

from millrace.features.spec import FeatureSpec
from train.errors import ReplayMismatch
from train.export.replay import replay


def test_a_folder_without_a_model_is_refused(tmp_path: Path, spec: FeatureSpec) -> None:
    with pytest.raises(ReplayMismatch, match=r"sample\.parquet"):
        replay(tmp_path, spec)


def test_a_model_that_never_answers_is_refused(tmp_path: Path, spec: FeatureSpec) -> None:
    with pytest.raises(ReplayMismatch, match="no answer within 0 s"):
        replay(tmp_path, spec, timeout_s=0.01)

"""Errors say what happened and what to do."""

from train.errors import Diverged, GateFailed, RankFailed, ReplayMismatch


def test_each_error_keeps_what_it_is_about() -> None:
    assert "auc 0.6 is below 0.7; x" in str(GateFailed(["auc 0.6 is below 0.7", "x"]))
    assert RankFailed(1, "boom").rank == 1
    assert str(RankFailed(None, "boom")) == "a rank failed: boom"
    assert "epoch 3" in str(Diverged("the loss is nan", 3))
    assert "replay" in str(ReplayMismatch("no answer"))

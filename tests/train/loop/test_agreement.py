"""After each epoch the ranks compare their variables; `test_numbers` averages the state of real ranks."""

import pytest

from train.errors import RankRaised
from train.loop.agreement import compare_digests, digest_of_variable


def test_the_rank_and_the_variable_that_differ_are_named() -> None:
    with pytest.raises(RankRaised, match="rank 1 failed: variable 'dense/bias' differs from rank 0's after epoch 4"):
        compare_digests([[("dense/kernel", "a"), ("dense/bias", "b")], [("dense/kernel", "a"), ("dense/bias", "c")]], 4)
    compare_digests([[("dense/kernel", "a")]] * 3, 4)


@pytest.mark.tf
def test_the_digest_sees_every_bit() -> None:
    import keras

    variable = keras.Variable([1.0, 2.0])
    before = digest_of_variable(variable)
    assert digest_of_variable(variable) == before
    variable.assign([1.0, 2.0 + 2.4e-7])
    assert digest_of_variable(variable) != before

"""Values on their way to the batcher."""

import numpy as np

from serve.inference.inputs import Decoded


def test_what_is_decoded_has_no_values_left() -> None:
    decoded = Decoded({"x": np.zeros(2)})
    assert decoded.columns() is None
    assert list(decoded.inputs()) == ["x"]

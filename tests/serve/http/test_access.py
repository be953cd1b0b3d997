"""Who asks, and what that one may do."""

import pytest

from millrace.config.sections.serve import Serve
from serve.errors import Forbidden
from serve.http.access import Access


def test_everybody_may_look_and_predict() -> None:
    access = Access(Serve())
    access.check({}, "look")
    access.check({}, "predict")
    with pytest.raises(Forbidden) as caught:
        access.check({}, "control")
    assert "serve.model_control: true" in caught.value.hint


def test_everybody_may_control_where_the_settings_say_so() -> None:
    Access(Serve(model_control=True)).check({}, "control")

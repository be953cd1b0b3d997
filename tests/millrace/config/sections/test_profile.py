"""Where a product runs: what Spark takes for a master, and what not."""

import pytest
from pydantic import ValidationError

from millrace.config.sections.profile import Spark


@pytest.mark.parametrize(
    "master", ["local", "local[*]", "local[2]", "local[2, 3]", "yarn", "spark://a:7077", "k8s://https://a:1"]
)
def test_masters(master: str) -> None:
    assert Spark(master=master).master == master


@pytest.mark.parametrize("master", ["", "locl[*]", "local[]", "localhost", "spark:/a", "mesos://a"])
def test_what_is_no_master(master: str) -> None:
    with pytest.raises(ValidationError):
        Spark(master=master)

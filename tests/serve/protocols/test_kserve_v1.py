"""KServe's own answers."""

from serve.errors import status_of
from serve.protocols import kserve_v1


def test_its_lists_and_errors() -> None:
    assert kserve_v1.encode_models(("a", "b")) == b'{"models":["a","b"]}'
    assert kserve_v1.encode_alive() == b'{"status":"alive"}'
    assert status_of(kserve_v1.not_implemented("explain")) == 501
    assert str(kserve_v1.no_such_model("m", None)) == "Model with name m does not exist."
    assert str(kserve_v1.no_such_model("m", 3)) == "Could not find version 3 of model m"
    assert status_of(kserve_v1.no_such_model("m" * 10_000, None)) == 404
    assert len(str(kserve_v1.no_such_model("m" * 10_000, None))) < 200

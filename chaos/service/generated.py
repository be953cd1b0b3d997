"""Requests that Hypothesis generates from the models' signatures and the protocols' schemas; most are invalid."""

import warnings
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import NonInteractiveExampleWarning

from chaos.service.corpus import Hostile, tensors
from chaos.service.wire import INFER, PREDICT, as_json, http
from tests.serve.models import INPUTS, ROW

SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([10**400, -0.0, "\ud800"]),
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64", "a", ""]), inner, max_size=2),
    max_leaves=8,
)
NAMES: Final = st.sampled_from([feature.name for feature in INPUTS]) | st.text(max_size=6)
ROWS: Final = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=10),
    st.builds(lambda n, v: {**ROW, n: v}, NAMES, VALUES),
    VALUES,
    st.just(ROW),
)
EXTRA: Final = st.dictionaries(
    st.sampled_from(["signature_name", "parameters", "id", "outputs", "context", "more"]), VALUES, max_size=2
)
PREDICTS: Final = st.one_of(
    st.builds(lambda rows, extra: {"instances": rows, **extra}, st.lists(ROWS, max_size=4) | VALUES, EXTRA),
    st.builds(lambda columns, extra: {"inputs": columns, **extra}, st.dictionaries(NAMES, VALUES) | VALUES, EXTRA),
)
DATATYPES: Final = (
    st.sampled_from(["FP32", "FP64", "INT64", "BOOL", "BYTES", "FP16", "BF16", "UINT8", "", "fp32"]) | VALUES
)
TENSORS: Final = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | VALUES,
        "shape": st.lists(st.integers(-2, 5) | st.integers(), max_size=4) | VALUES,
        "datatype": DATATYPES,
        "data": VALUES,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "classification", "x"]), VALUES) | VALUES,
    },
)


def _changed(change: dict[str, Any], at: int, extra: dict[str, Any]) -> dict[str, Any]:
    inputs = tensors()
    inputs[at] = {**inputs[at], **change}
    return {"inputs": inputs, **extra}


INFERS: Final = st.one_of(
    st.builds(_changed, TENSORS, st.integers(0, len(INPUTS) - 1), EXTRA),
    st.builds(lambda inputs, extra: {"inputs": inputs, **extra}, st.lists(TENSORS, max_size=4) | VALUES, EXTRA),
)


def generate(count: int, seed_number: int) -> list[Hostile]:
    """Generate requests; the same seed gives the same requests."""
    generated: list[Hostile] = []

    @seed(seed_number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(st.tuples(st.just(PREDICT), PREDICTS), st.tuples(st.just(INFER), INFERS)))
    def keep(request: tuple[str, Any]) -> None:
        path, document = request
        generated.append(Hostile(f"{path} {document!r}"[:200], http("POST", path, as_json(document))))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonInteractiveExampleWarning)
        keep()
    return generated[:count]

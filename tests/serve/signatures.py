"""Signatures by hand, for the tests of codecs that load no model."""

from serve.servables.signatures import PREDICT, SERVING_DEFAULT, Signature, TensorInfo
from tests.serve.models import INPUTS, OUTPUTS


def signature(name: str = SERVING_DEFAULT, method: str = PREDICT, **inputs: str) -> dict[str, Signature]:
    """A signature of inputs of any rank, by dtype, and one float output."""
    infos = {key: TensorInfo(key, dtype, None) for key, dtype in inputs.items()}
    return {name: Signature(name, method, infos, {"y": TensorInfo("y", "float32", (-1,))})}


def ours(*names: str, task: str = "binary") -> dict[str, Signature]:
    """The signature of a model of Millrace over the named inputs, or all."""
    taken = [feature for feature in INPUTS if not names or feature.name in names]
    inputs = {f.name: TensorInfo(f.name, f.tensor_dtype, (-1,), f) for f in taken}
    outputs = {name: TensorInfo(name, dtype, (-1,)) for name, dtype in OUTPUTS[task].items()}
    return {SERVING_DEFAULT: Signature(SERVING_DEFAULT, PREDICT, inputs, outputs)}

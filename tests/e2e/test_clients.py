"""The unmodified clients of Triton and KServe against the service."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio

from millrace.config.sections.serve import Serve, ServedModel
from millrace.models.store import ModelStore
from millrace.storage import Store
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve import models
from tests.serve.client import listening
from tests.serve.foreign import ECHOED, write_foreign
from tests.serve.values.test_tensors import array_of

pytestmark = [pytest.mark.e2e, pytest.mark.tf]

ROOT = Path(__file__).parents[2]
KSERVE = ROOT / ".venv" / "clients" / "kserve" / "bin" / "python"
"""A separate environment that `make clients` creates, because the client's pinned packages conflict with ours."""
X = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the foreign model `half` and the Millrace model `kinds`."""
    folder = tmp_path_factory.mktemp("store")
    store = ModelStore(Store(str(folder)))
    models.publish(store, "kinds", "multiclass")
    (folder / "models" / "half").mkdir()
    write_foreign(folder / "models" / "half" / "1")
    manager = ServableManager(store, {"half": ServedModel(allow_foreign=True), "kinds": ServedModel()})
    manager.load()
    app = Application(manager, Serve())
    with listening(app) as address:
        yield address
    app.close()


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(address) as client:
        yield client


def input_of(name: str, values: Any, datatype: str, *, binary: bool = True) -> Any:
    tensor = tritonclient.http.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return tensor


def test_server_and_model_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("half", "1")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "millrace"
    assert client.get_model_metadata("half")["inputs"][0]["datatype"] == "FP32"
    assert client.get_model_config("kinds")["max_batch_size"] > 0
    assert {model["name"] for model in client.get_model_repository_index()} == {"half", "kinds"}


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer_in_json_and_binary_with_compression(client: Any, binary: bool, compression: str | None) -> None:
    wanted = [tritonclient.http.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer(
        "half",
        [input_of("x", X, "FP32", binary=binary)],
        outputs=wanted,
        request_id="mine",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    np.testing.assert_array_equal(result.as_numpy("y"), X / 2 + 2)
    assert result.get_response()["id"] == "mine"


def test_every_dtype_of_the_client(client: Any) -> None:
    values = {d: array_of(d, tuple(2 if size == -1 else size for size in shape)) for d, shape in ECHOED.items()}
    values["bfloat16"] = values["bfloat16"].astype(np.float32)  # the type that this client expects
    inputs = [
        input_of(
            f"{dtype}_in", array, "BF16" if dtype == "bfloat16" else tritonclient.http.np_to_triton_dtype(array.dtype)
        )
        for dtype, array in values.items()
    ]
    result = client.infer("half", inputs, parameters={"signature_name": "echo"})
    for dtype, array in values.items():
        np.testing.assert_array_equal(result.as_numpy(dtype), array)


def test_statistics_count_requests(client: Any) -> None:
    before = client.get_inference_statistics("half")["model_stats"][0]
    client.infer("half", [input_of("x", X, "FP32")])
    with pytest.raises(tritonclient.http.InferenceServerException):
        client.infer("half", [input_of("x", X.astype(np.float64), "FP64")])
    after = client.get_inference_statistics("half", "1")["model_stats"][0]
    for key, more in (("success", 1), ("fail", 1), ("compute_infer", 1), ("compute_output", 1)):
        grown = after["inference_stats"][key]["count"] - before["inference_stats"][key]["count"]
        assert grown == more, key
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert {stats["name"] for stats in client.get_inference_statistics()["model_stats"]} == {"half", "kinds"}


def test_errors_have_status_and_message(client: Any) -> None:
    with pytest.raises(tritonclient.http.InferenceServerException, match="half, 5") as caught:
        client.infer("half", [input_of("x", X, "FP32")], model_version="5")
    assert caught.value.status() == "404"
    with pytest.raises(tritonclient.http.InferenceServerException, match="expected datatype FP32"):
        client.infer("half", [input_of("x", X.astype(np.float64), "FP64")])


def test_concurrent_requests_and_asyncio(client: Any, address: str) -> None:
    waiting = [client.async_infer("half", [input_of("x", X + n, "FP32")]) for n in range(20)]
    for n, request in enumerate(waiting):
        np.testing.assert_array_equal(request.get_result().as_numpy("y"), (X + n) / 2 + 2)

    async def infer_all() -> list[Any]:
        async with tritonclient.http.aio.InferenceServerClient(address) as other:
            requests = (other.infer("half", [input_of("x", X * n, "FP32")]) for n in range(20))
            return [result.as_numpy("y") for result in await asyncio.gather(*requests)]

    for n, answer in enumerate(asyncio.run(infer_all())):
        np.testing.assert_array_equal(answer, X * n / 2 + 2)


def test_kserve_client_with_both_protocols(address: str) -> None:
    script = Path(__file__).parent / "clients" / "kserve_client.py"
    done = subprocess.run([KSERVE, script, f"http://{address}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    answer = (X / 2 + 2).tolist()
    assert printed["v1"]["answer"] == {"predictions": answer}
    assert (printed["v1"]["live"], printed["v1"]["ready"]) == (True, [True, True])
    assert "Type: String is not of expected type: float" in printed["v1"]["refused"]
    for kind in ("json", "binary"):
        found = printed[kind]
        assert (found["id"], found["model"][0], found["y"]) == ("mine", "half", answer)
        assert (found["live"], found["ready"], found["model ready"]) == (True, True, True)

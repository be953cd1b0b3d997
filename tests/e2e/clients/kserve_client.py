"""Sends requests with KServe's SDK and prints the responses as JSON; runs in the environment of the SDK."""

import asyncio
import json
import logging
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def call_v1(url: str) -> dict[str, object]:
    """Send rows with protocol version 1."""
    client = InferenceRESTClient(RESTConfig(protocol="v1", retries=1))
    answer = await client.infer(url, {"instances": [[1.0, 2.0], [3.0, 4.0]]}, model_name="half")
    try:
        await client.infer(url, {"instances": ["x"]}, model_name="half")
        refused = "nothing"
    except Exception as error:
        refused = f"{type(error).__name__}: {error}"
    ready = [await client.is_model_ready(url, name) for name in ("half", "kinds")]
    return {"answer": answer, "refused": refused, "live": await client.is_server_live(url), "ready": ready}


async def call_v2(url: str, *, binary: bool) -> dict[str, object]:
    """Send tensors with protocol version 2, as JSON or binary."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1))
    values = np.array([[1, 2], [3, 4]], np.float32)
    x = InferInput("x", [2, 2], "FP32")
    x.set_data_from_numpy(values, binary_data=binary)
    outputs = [RequestedOutput("y", {"binary_data": binary})]
    request = InferRequest("half", [x], request_outputs=outputs, request_id="mine")
    answer = await client.infer(url, request, model_name="half")
    y: InferOutput = answer.outputs[0]
    return {
        "id": answer.id,
        "model": [answer.model_name, answer.model_version],
        "y": y.as_numpy().tolist(),
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model ready": await client.is_model_ready(url, "half"),
    }


async def call_all(url: str) -> dict[str, object]:
    """Send all requests and return the responses by kind."""
    return {
        "v1": await call_v1(url),
        "json": await call_v2(url, binary=False),
        "binary": await call_v2(url, binary=True),
    }


if __name__ == "__main__":
    logging.disable()
    sys.stdout.write(json.dumps(asyncio.run(call_all(sys.argv[1]))))

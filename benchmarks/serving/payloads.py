"""Requests with the same row, or the same image, in each protocol."""

import json
from typing import Final

import numpy as np

from benchmarks.serving.load import Target
from benchmarks.serving.models import IMAGE, INPUTS, row

DATATYPES: Final = {"float32": "FP32", "string": "BYTES"}


def v2_row(url: str) -> Target:
    """Build a request with a row in the Open Inference Protocol, for Millrace and MLServer."""
    values = row()
    inputs = [
        {"name": f.name, "shape": [1], "datatype": DATATYPES[f.tensor_dtype], "data": [values[f.name]]} for f in INPUTS
    ]
    return Target(f"{url}/v2/models/tabular/infer", json.dumps({"inputs": inputs}).encode())


def v1_row(url: str) -> Target:
    """Build a request with a row in TensorFlow Serving's protocol."""
    return Target(f"{url}/v1/models/tabular:predict", json.dumps({"instances": [row()]}).encode())


def bento_row(url: str) -> Target:
    """Build a request with a row for BentoML."""
    return Target(f"{url}/predict", json.dumps({"rows": [row()]}).encode())


def ignored_row(url: str) -> Target:
    """Build a request with a row for the no-op route, which does not read it."""
    return Target(url, v1_row(url).body)


def v2_image(url: str, *, binary: bool) -> Target:
    """Build a request with an image in the Open Inference Protocol."""
    image = np.random.default_rng(0).random((1, *IMAGE), np.float32)
    tensor = {"name": "image", "shape": list(image.shape), "datatype": "FP32"}
    infer_url = f"{url}/v2/models/image/infer"
    if not binary:
        return Target(infer_url, json.dumps({"inputs": [{**tensor, "data": image.ravel().tolist()}]}).encode())
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": image.nbytes}}]}).encode()
    headers = ("content-type: application/octet-stream", f"inference-header-content-length: {len(head)}")
    return Target(infer_url, head + image.tobytes(), headers)

"""The demonstration: runs a product, serves its model, and sends one request over REST."""

import json
import os
import sys
import time
from typing import Any

import pyarrow.parquet as pq

from millrace.config import load_product
from millrace.errors import MillraceError
from millrace.features.spec import FeatureSpec
from millrace.models.store import ModelStore
from millrace.runs import RunRecord
from millrace.storage import Store
from pipelines.commands.hints import command_line
from pipelines.commands.show import show_metrics, show_stages
from pipelines.jobs.exits import exit_code, report_error
from pipelines.jobs.service import request_predictions, service
from pipelines.jobs.stages import STAGES, Request, print_result, run_stages


def run_demo(request: Request) -> int:
    """Run a product, serve its model and send one request; returns the exit code."""
    started = time.monotonic()
    code, records = run_stages(STAGES, request)
    show_stages(records)
    if code:
        print_result(records[-1].model_dump(mode="json"))
        return code
    trained = next(record for record in records if record.stage == "train")
    show_metrics(trained.details["metrics"])  # type: ignore[arg-type] # details hold what each stage put there
    try:
        exchange = request_prediction(request, trained)
    except MillraceError as error:
        report_error(error)
        return exit_code(error)
    seconds = round(time.monotonic() - started, 1)
    serve = command_line("serve", request.config, profile=request.profile, set=request.settings)
    sys.stderr.write(f"\ntotal time: {seconds} s; to keep the service running: {serve}\n")
    print_result({"stage": "demo", "outcome": "committed", "seconds": seconds, **exchange})
    return 0


def request_prediction(request: Request, trained: RunRecord) -> dict[str, Any]:
    """Start the service, send it one row of the test split, and show request and response."""
    product = load_product(request.config, profile=request.profile, settings=request.settings)
    store = Store(product.config.store.root, wait_s=product.config.store.wait_s)
    spec = ModelStore(store).open(product.config.product).manifest.features
    instance = first_row(store, str(trained.details["sample"]), spec)
    with service(request.config, request.profile, request.settings) as address:
        sys.stderr.write(f"\nPOST {address}/v1/models/{product.config.product}:predict\n")
        sys.stderr.write(json.dumps({"instances": [instance]}, indent=2) + os.linesep)
        response = request_predictions(address, product.config.product, [instance])
        sys.stderr.write(f"response: {json.dumps(response)}\n")
    return {"request": {"instances": [instance]}, "answer": response}


def first_row(store: Store, sample: str, spec: FeatureSpec) -> dict[str, Any]:
    """The first row of the trainer's sample of the test split, as a client would write it."""
    with store.files.open_input(store.uri(sample)) as file:
        table = pq.read_table(file, columns=[f.name for f in spec.inputs]).slice(0, 1)
    row: dict[str, Any] = table.to_pylist()[0]
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}

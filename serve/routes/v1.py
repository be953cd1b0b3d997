"""The routes of TensorFlow Serving's REST API and of KServe's version 1, which use the same paths.

Where both define a path, the response serves the clients of both: ``GET /v1/models`` lists the models as KServe does,
and the status of a model has KServe's ``ready`` beside TensorFlow Serving's list.
"""

from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

from serve.errors import InvalidRequest, ModelNotFound
from serve.http.requests import BodyReader, timeout_of
from serve.http.responses import Reply
from serve.inference.deadlines import Deadline, deadline_in
from serve.inference.inputs import Decoded
from serve.inference.rowwise import wants_report
from serve.inference.service import Service, version_of
from serve.protocols import examples, kserve_v1, tfs
from serve.protocols.example_rows import ExampleRows
from serve.protocols.tfs_rows import PredictRows, encode_reported
from serve.routes.table import Entry
from serve.servables.servable import Servable

MODEL = "/v1/models/{name:plain}"
VERSION = MODEL + "/versions/{version:plain}"
LABEL = MODEL + "/labels/{label:plain}"


class Endpoints:
    """The functions of the routes.

    Args:
        service: Runs the predictions.
        bodies: Reads the bodies of requests.
    """

    def __init__(self, service: Service, bodies: BodyReader) -> None:
        self._service = service
        self._bodies = bodies

    async def predict(self, request: Request) -> Reply:
        """Predict for the rows in the body."""
        return await self._answer("predict", request.path_params, request)

    async def classify(self, request: Request) -> Reply:
        """Return labels and scores for the examples in the body."""
        return await self._answer("classify", request.path_params, request)

    async def regress(self, request: Request) -> Reply:
        """Return a number for each example in the body."""
        return await self._answer("regress", request.path_params, request)

    async def explain(self, request: Request) -> Reply:
        """Return 501: explanations are not supported."""
        await self._service.servable(request.path_params["name"])
        raise kserve_v1.not_implemented("explain")

    async def models(self, _: Request) -> Reply:
        """List the models."""
        return Reply(kserve_v1.encode_models(self._service.manager.names))

    async def status(self, request: Request) -> Reply:
        """Return the status of the versions of a model."""
        return await self._status(request.path_params)

    async def metadata(self, request: Request) -> Reply:
        """Return the inputs and outputs of a model's signatures."""
        return await self._metadata(request.path_params)

    async def other(self, request: Request) -> Reply:
        """Answer all other paths below /v1: TensorFlow Serving ignores case; unknown paths get 400."""
        path = request.scope.get("raw_path", request.url.path.encode()).decode("ascii", "replace")
        found = (tfs.POST_PATH if request.method == "POST" else tfs.GET_PATH).fullmatch(path)
        if not found or request.method not in ("GET", "POST"):
            raise InvalidRequest(f"Malformed request: {request.method} {path[:200]}")
        parts: dict[str, Any] = {key: value for key, value in found.groupdict().items() if value is not None}
        if "name" not in parts:
            return await self.models(request)
        for key in ("name", "label"):
            if key in parts:
                parts[key] = unquote(parts[key])
        method = parts.pop("method", "").lower()
        if request.method == "POST":
            return await self._answer(method, parts, request)
        return await (self._metadata(parts) if method else self._status(parts))

    async def _answer(self, method: str, parts: dict[str, Any], request: Request) -> Reply:
        servable = await self._service.servable(parts["name"], version_of(parts.get("version")), parts.get("label"))
        answer = self._predict if method == "predict" else self._examples
        self._service.check_admission(servable)
        deadline = deadline_in(timeout_of(request.scope["headers"]))
        body = await self._bodies.read(request)
        with self._service.admitted(servable):
            return Reply(await answer(servable, body, method, deadline))

    async def _predict(self, servable: Servable, body: bytes, _: str, deadline: Deadline | None) -> bytes:
        service = self._service
        parsed = await service.convert(tfs.decode_predict, len(body), body, servable.signatures)
        if wants_report(parsed.parameters, parsed.signature):
            rows = await service.convert(PredictRows, len(body), parsed)
            reported = await service.report(servable, parsed.signature, rows, len(body), deadline=deadline)
            return await service.encode(servable, encode_reported, reported.outputs, reported, parsed.is_row_form)
        outputs = await service.infer(servable, parsed.signature, parsed, len(body), deadline=deadline)
        return await service.encode(servable, tfs.encode_predict, outputs, outputs, parsed.is_row_form)

    async def _examples(self, servable: Servable, body: bytes, method: str, deadline: Deadline | None) -> bytes:
        service = self._service
        parsed = await service.convert(examples.decode_examples, len(body), body, servable.signatures)
        size = max(len(body), parsed.size)
        reported = None
        if wants_report(parsed.parameters, parsed.signature):
            validator = ExampleRows(parsed, method)
            reported = await service.report(servable, parsed.signature, validator, size, deadline=deadline)
            outputs = reported.outputs
        else:
            inputs = await service.convert(parsed.inputs, size, method)
            outputs = await service.infer(servable, parsed.signature, Decoded(inputs), size, deadline=deadline)
        rows, spec = len(parsed.rows), servable.spec
        if method == "classify":
            return await service.encode(servable, examples.encode_classify, outputs, outputs, rows, spec, reported)
        return await service.encode(servable, examples.encode_regress, outputs, outputs, rows, reported)

    async def _status(self, parts: dict[str, Any]) -> Reply:
        manager, name, number = self._service.manager, parts["name"], version_of(parts.get("version"))
        if "label" in parts:
            number = manager.version_of(name, parts["label"])
        try:
            found = await self._service.loads.read(manager.status, name, number)
        except ModelNotFound as error:
            raise kserve_v1.no_such_model(name, number) from error
        versions = [(v.version, v.state, v.message) for v in found]
        ready = manager.loaded(name, number) is not None
        problem = manager.problems.get(name, "") if number is None else ""
        return Reply(tfs.encode_status(name, ready=ready, versions=versions, problem=problem))

    async def _metadata(self, parts: dict[str, Any]) -> Reply:
        servable = await self._service.servable(parts["name"], version_of(parts.get("version")), parts.get("label"))
        return Reply(tfs.encode_metadata(servable.name, servable.version, servable.signatures))


def entries(service: Service, bodies: BodyReader) -> list[Entry]:
    """The routes below /v1."""
    endpoints = Endpoints(service, bodies)
    return [
        *(Entry("POST", f"{path}:predict", "predict", endpoints.predict) for path in (MODEL, VERSION, LABEL)),
        *(Entry("POST", f"{path}:classify", "predict", endpoints.classify) for path in (MODEL, VERSION, LABEL)),
        *(Entry("POST", f"{path}:regress", "predict", endpoints.regress) for path in (MODEL, VERSION, LABEL)),
        Entry("POST", f"{MODEL}:explain", "predict", endpoints.explain),
        Entry("GET", "/v1/models", "look", endpoints.models),
        *(Entry("GET", f"{path}/metadata", "look", endpoints.metadata) for path in (MODEL, VERSION, LABEL)),
        *(Entry("GET", path, "look", endpoints.status) for path in (VERSION, LABEL, MODEL)),
        Entry("", "/v1/{rest:path}", "predict", endpoints.other, is_shown=False, is_any_case=True),
    ]

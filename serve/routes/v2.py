"""The Open Inference Protocol's routes, with Triton's extensions."""

from importlib import metadata
from typing import Final

from starlette.requests import Request

from millrace.errors import shorten
from serve.errors import InvalidRequest
from serve.http.requests import MAX_DIGITS, BodyReader, header_of, timeout_of
from serve.http.responses import Reply, error_response
from serve.inference.deadlines import Deadline, deadline_in, parameter_deadline
from serve.inference.rowwise import wants_report
from serve.inference.service import Service, version_of
from serve.protocols import oip, repository
from serve.protocols.describe import class_labels
from serve.protocols.oip_rows import InferRows, with_row_ok
from serve.routes.table import Entry
from serve.servables.saved_model import MAX_BATCH
from serve.servables.servable import Servable
from serve.servables.signatures import default_signature
from serve.values.document import dump_json, parse_json

MODEL = "/v2/models/{name:plain}"
VERSION = MODEL + "/versions/{version:plain}"
CONTROL_BYTES: Final = 16_384
"""Most bytes of a body that is not a prediction; the event loop parses it."""


class Endpoints:
    """The functions of the routes.

    Args:
        service: Runs the predictions.
        bodies: Reads the bodies of requests.
    """

    def __init__(self, service: Service, bodies: BodyReader) -> None:
        self._service = service
        self._bodies = bodies

    async def server(self, _: Request) -> Reply:
        """Return the name, version and extensions of the server."""
        version = metadata.version("millrace")
        return Reply(dump_json({"name": "millrace", "version": version, "extensions": oip.EXTENSIONS}))

    async def live(self, _: Request) -> Reply:
        """Return 200: the server process answers."""
        return Reply(b'{"live":true}')

    async def ready(self, _: Request) -> Reply:
        """Return 200 if the models are loaded and the server is not about to stop, else 503."""
        if self._service.is_ready:
            return Reply(b'{"ready":true}')
        if self._service.is_draining:
            return error_response("the server is about to stop", 503)
        problems = [f"model '{name}': {problem}" for name, problem in self._service.manager.problems.items()]
        return error_response(f"not every model is loaded: {shorten('; '.join(problems), 2000)}", 503)

    async def models(self, _: Request) -> Reply:
        """List the models."""
        return Reply(dump_json({"models": list(self._service.manager.names)}))

    async def model(self, request: Request) -> Reply:
        """Return the inputs and outputs of a model."""
        servable = await self._servable(request)
        numbers = [s.version for s in self._service.manager.all_loaded(servable.name)]
        signature = default_signature(servable.signatures)
        return Reply(repository.encode_metadata(servable.name, sorted(numbers), signature))

    async def model_ready(self, request: Request) -> Reply:
        """Return 200 if the model, or this version of it, is loaded, else 503."""
        name, version = request.path_params["name"], version_of(request.path_params.get("version"))
        ready = self._service.manager.loaded(name, version) is not None
        if ready:
            return Reply(dump_json({"name": name, "ready": True}))
        problem = self._service.manager.problems.get(name)
        return error_response(f"model {name} is not ready{f': {problem}' if problem else ''}", 503)

    async def config(self, request: Request) -> Reply:
        """Return the configuration of a model, in Triton's form."""
        servable = await self._servable(request)
        signature = default_signature(servable.signatures)
        return Reply(repository.encode_config(servable.name, signature, MAX_BATCH if servable.joins else 0))

    async def stats(self, request: Request) -> Reply:
        """Return request counts and times of the loaded versions: of all models, of one model, or of one version."""
        name, version = request.path_params.get("name"), version_of(request.path_params.get("version"))
        if name is not None:
            await self._servable(request)
        found = [
            (servable.name, servable.version, servable.statistics)
            for servable, _ in self._service.statistics()
            if name in (None, servable.name) and version in (None, servable.version)
        ]
        return Reply(repository.encode_statistics(found))

    async def index(self, request: Request) -> Reply:
        """List every version of every model with its state."""
        body = await self._bodies.read(request, CONTROL_BYTES)
        parsed = parse_json(body, ignore_rest=False) if body.strip() else {}
        if not isinstance(parsed, dict) or type(parsed.get("ready", False)) is not bool:
            raise InvalidRequest('expected an object such as {"ready": true}')
        found = await self._service.loads.read(self._versions)
        return Reply(repository.encode_index(found, ready_only=parsed.get("ready", False)))

    async def load(self, request: Request) -> Reply:
        """Load a model that was unloaded, or load its newer versions."""
        name = await self._controlled(request)
        await self._service.loads.load(name, "all", self._service.manager.load_model, name)
        return Reply(dump_json({"name": name, "load": True}))

    async def unload(self, request: Request) -> Reply:
        """Unload a model. Running requests are still answered."""
        name = await self._controlled(request)
        await self._service.loads.load(name, "none", self._service.manager.unload_model, name)
        return Reply(dump_json({"name": name, "unload": True}))

    async def _controlled(self, request: Request) -> str:
        """The name of the model; Triton's own parameters, such as a configuration, are refused."""
        body = await self._bodies.read(request, CONTROL_BYTES)
        parsed = parse_json(body, ignore_rest=False) if body.strip() else {}
        parameters = parsed.get("parameters", {}) if isinstance(parsed, dict) else None
        if not isinstance(parameters, dict) or parameters.keys() - {"unload_dependents"}:
            raise InvalidRequest("load and unload take no parameters: models are configured on the server")
        return str(request.path_params["name"])

    async def infer(self, request: Request) -> Reply:
        """Predict for the tensors in the body."""
        servable = await self._servable(request)
        length = header_of(request, oip.LENGTH_HEADER)
        if length is not None and not (length.isascii() and length.isdigit() and len(length) <= MAX_DIGITS):
            raise InvalidRequest(f"Inference-Header-Content-Length is not a number of bytes: {length[:64]}")
        header = None if length is None else int(length)
        self._service.check_admission(servable)
        deadline = deadline_in(timeout_of(request.scope["headers"]))
        body = await self._bodies.read(request)
        with self._service.admitted(servable):
            answer, json_bytes = await self._infer(servable, body, header, deadline)
        if json_bytes is None:
            return Reply(answer)
        headers = {"Inference-Header-Content-Length": str(json_bytes)}
        return Reply(answer, media_type=b"application/octet-stream", headers=headers)

    async def _infer(
        self, servable: Servable, body: bytes, header: int | None, deadline: Deadline | None
    ) -> tuple[bytes, int | None]:
        service = self._service
        parsed = await service.convert(oip.decode_infer, len(body), body, header, servable.signatures)
        deadline = parameter_deadline(parsed.parameters, deadline)
        names = [output.name for output in parsed.outputs]
        row_errors = None
        if wants_report(parsed.parameters, parsed.signature):
            rows = await service.convert(InferRows, len(body), parsed)
            reported = await service.report(servable, parsed.signature, rows, len(body), names, deadline)
            outputs, row_errors = with_row_ok(reported), [error.as_dict() for error in reported.errors]
        else:
            outputs = await service.infer(servable, parsed.signature, parsed, len(body), names, deadline)
        model, labels = (servable.name, servable.version), class_labels(servable.spec)
        return await service.encode(servable, oip.encode_infer, outputs, parsed, model, outputs, labels, row_errors)

    def _versions(self) -> list[tuple[str, int | None, str, str]]:
        manager, listed = self._service.manager, list[tuple[str, int | None, str, str]]()
        for name in manager.names:
            found = manager.status(name)
            listed += [(name, v.version, v.state, v.message) for v in found]
            if not found:
                listed.append((name, None, "START", manager.problems.get(name, "")))
        return listed

    async def _servable(self, request: Request) -> Servable:
        return await self._service.servable(request.path_params["name"], version_of(request.path_params.get("version")))


def entries(service: Service, bodies: BodyReader) -> list[Entry]:
    """The routes below /v2."""
    endpoints = Endpoints(service, bodies)
    return [
        *(Entry("POST", f"{path}/infer", "predict", endpoints.infer) for path in (MODEL, VERSION)),
        Entry("GET", "/v2", "look", endpoints.server),
        Entry("GET", "/v2/models", "look", endpoints.models),
        *(Entry("GET", f"{path}/ready", "look", endpoints.model_ready) for path in (MODEL, VERSION)),
        *(Entry("GET", f"{path}/config", "look", endpoints.config) for path in (MODEL, VERSION)),
        *(Entry("GET", f"{path}/stats", "look", endpoints.stats) for path in (MODEL, VERSION)),
        Entry("GET", "/v2/models/stats", "look", endpoints.stats),
        *(Entry("GET", path, "look", endpoints.model) for path in (MODEL, VERSION)),
        Entry("POST", "/v2/repository/index", "look", endpoints.index),
        Entry("POST", "/v2/repository/models/{name:plain}/load", "control", endpoints.load),
        Entry("POST", "/v2/repository/models/{name:plain}/unload", "control", endpoints.unload),
        Entry("GET", "/v2/health/live", "look", endpoints.live),
        Entry("GET", "/v2/health/ready", "look", endpoints.ready),
    ]

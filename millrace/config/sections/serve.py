"""The typed section `serve`: where the service listens, and what it serves."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from millrace.section import Section

DomainMode = Literal["enforce", "count", "ignore"]
MAX_PORT: Final = 65_535
_NO_ORIGIN: Final = "an origin is a scheme, a host and perhaps a port, such as https://shop.example:8443; or *"
_ORIGIN: Final = re.compile(r"(https?)://([^/?#\\]+)")
_AUTHORITY: Final = re.compile(r"(?:.*@)?(\[[^\]]*\]|[^:@]+)(:.*)?")
_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def _check_origin(origin: str) -> str:
    """Return an origin as browsers send it, since it is compared with theirs as a text."""
    if origin == "*":
        return origin
    found = _ORIGIN.fullmatch(origin.lower())
    parts = found and _AUTHORITY.fullmatch(found[2])
    if not found or not parts:
        raise ValueError(_NO_ORIGIN)
    scheme, host, port = found[1], parts[1], parts[2] or ""
    _check_host(host)
    if port in (":", _DEFAULT_PORTS[scheme]):
        raise ValueError(f"browsers do not send an empty port or the default one: write {scheme}://{host}")
    if port and not (port.isascii() and port[1:].isdigit() and port[1] != "0" and int(port[1:7]) <= MAX_PORT):
        raise ValueError(
            f"a port is a number from 1 to {MAX_PORT} without zeros before it: write {scheme}://{host}:8443"
        )
    if "@" in found[2]:
        raise ValueError(f"an origin has no user and no password: write {scheme}://{host}{port}")
    return f"{scheme}://{host}{port}"


def _check_host(host: str) -> None:
    if not host.isascii():
        raise ValueError(
            "browsers send this host in punycode: write it as xn--..., such as https://xn--bcher-kva.example"
        )
    if "*" in host:
        raise ValueError("an origin names one host: write one origin for each, such as https://shop.example; or only *")
    is_ipv6 = host.startswith("[")
    if not is_ipv6 and not _NAME.fullmatch(host):
        raise ValueError("a host has letters, digits, hyphens and dots: write it as in https://shop.example")
    # Browsers read a host whose last part is a number as an address, and send all addresses in their shortest form.
    if is_ipv6 or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        try:
            address = IPv6Address(host[1:-1]) if is_ipv6 else IPv4Address(host)
        except ValueError:
            raise ValueError(
                "this host is no IP address: write it as in https://192.0.2.1 or https://[2001:db8::1]"
            ) from None
        sent = f"[{IPv6Address(int(address))}]" if is_ipv6 else str(address)  # without a zone, which none sends
        if host != sent:
            raise ValueError(f"browsers send this address in another form: write {sent}")


Origin = Annotated[str, AfterValidator(_check_origin)]


def _check_model_name(name: str) -> str:
    if not name or name[0] == "." or set(name) & set("/\\\0"):
        raise ValueError("expected the name of a folder: not empty, without '/', not beginning with '.'")
    return name


class ServedModel(Section):
    """How one model is served."""

    allow_foreign: bool = False
    """Serve versions without a `model.json`, written by other systems. Millrace cannot verify their files."""
    join_requests: bool = False
    """Answer several requests to a version without a `model.json` in one TensorFlow call. Correct only if the first
    dimension of every input and output counts rows, and rows do not affect each other."""
    versions: Literal["latest", "all"] | list[Annotated[int, Field(ge=1)]] = "latest"
    """Which versions are loaded. `latest`: the newest; others when a client requests them by number. `all`: every
    version. A list: these, and no others are allowed. The newest allowed version answers."""
    latest_count: int = Field(1, ge=1)
    """With `latest`: how many of the newest versions are loaded."""
    labels: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Names for versions, such as `canary: 3`. Clients can use them instead of numbers."""
    domains: DomainMode = "count"
    """What happens to values that the contract's ranges and sets do not allow. `enforce`: their rows are refused.
    `count`: the rows are answered and the values counted. `ignore`: values are not checked. `enforce` and `count` also
    count values that the train split did not have."""
    latency_target_s: float | None = Field(None, gt=0)
    """The same as `serve.latency_target_s`, for this model."""


class Serve(Section):
    """Where the service listens, and what it serves."""

    host: str = "127.0.0.1"
    """Address to listen on. A public address needs `open_to_everyone`."""
    open_to_everyone: bool = False
    """Allow a public address, although the service has no authentication."""
    port: int = Field(8501, ge=0, le=MAX_PORT)
    """Port to listen on; 0 takes a free one."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that answer on the port. Each loads all models."""
    max_body_mb: int = Field(32, ge=1)
    """A larger request body gets 413, also if it is larger only after decompression."""
    head_deadline_s: float = Field(10.0, gt=0)
    """Time to receive the head of a request. Then the client gets 408 and the connection is closed."""
    body_deadline_s: float = Field(15.0, gt=0)
    """Time to receive the body of a request. Then the client gets 408 and the connection is closed."""
    write_deadline_s: float = Field(20.0, gt=0)
    """How long a client may pause while it reads the response. Then the connection is closed."""
    drain_s: float = Field(0.0, ge=0)
    """How long to answer requests after SIGTERM while `/v2/health/ready` returns 503, so that a load balancer stops
    sending requests here."""
    reload_s: float = Field(10.0, gt=0)
    """Interval between two checks of the store for newer versions, plus or minus 20 %."""
    load_deadline_s: float = Field(600.0, gt=0)
    """How long loading one version may take. Then its process is ended, and the version counts as one that cannot be
    loaded."""
    infer_deadline_s: float = Field(30.0, gt=0)
    """How long a request may wait for its answer. Then it gets 504."""
    max_requests: int = Field(512, ge=1)
    """Predictions in the server at the same time. The next one gets 429 before its body is read."""
    latency_target_s: float | None = Field(None, gt=0)
    """Longest estimated wait for an answer. A request whose estimated wait is longer gets 429 immediately."""
    max_batch_rows: int = Field(1024, ge=1)
    """Rows of several requests that one TensorFlow call answers. A larger request runs alone."""
    max_queued_rows: int = Field(16_384, ge=1)
    """Rows that may wait in one queue. A request that would exceed this gets 429, unless the queue is empty. A waiting
    request counts as half of the limit at most."""
    model_control: bool = False
    """Let every client load and unload models."""
    ready_when: Literal["all", "any"] = "all"
    """When `/v2/health/ready` returns 200. `all`: every model has a loaded version. `any`: at least one model has one.
    A model that cannot be loaded never prevents the others from being served."""
    cors_origins: list[Origin] = Field(default_factory=list)
    """Origins of web pages whose scripts may call the service, such as `https://shop.example`; `*` allows all. Empty:
    the service sends no CORS headers, and browsers refuse such calls."""
    fast_http: bool = True
    """Use Millrace's own HTTP connection class, which extends undocumented parts of uvicorn. `false` uses uvicorn's own
    class. Responses to valid requests are then the same bytes. But `head_deadline_s`, `body_deadline_s`,
    `write_deadline_s` and the limit on the size of a head do not apply, the server sends each response by two calls,
    a request is computed to its end even if its client has left, bytes that are not HTTP get a 400 in plain text, and
    a request that offers HTTP/2 (`Upgrade: h2c`) loses its body."""
    log_format: Literal["lines", "json"] = "lines"
    """Format of the log. `json` writes one object per line, with the ids of the request and of its trace."""
    log_requests: bool = False
    """Log the method, route, status and duration of each request."""
    tracing: Literal["none", "otlp"] = "none"
    """`otlp` sends one span per request to an OpenTelemetry collector. The OTEL_ environment variables configure it."""
    models: dict[Annotated[str, AfterValidator(_check_model_name)], ServedModel] = Field(default_factory=dict)
    """Settings per model, by name. It names other models of the store to serve, and may name the product's own."""

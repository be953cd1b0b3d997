"""The environment variables that Kubernetes adds to the containers of a pod for each Service of its namespace."""

import re
from typing import Final

ADDRESS: Final = "10.96.0.7"
_MADE: Final = re.compile(
    r"\w+(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)


def service_links(*names: str, port: int = 8020) -> dict[str, str]:
    """Return the variables of Services with one port."""
    return {key: value for name in names for key, value in _links(name.replace("-", "_").upper(), port).items()}


def _links(name: str, port: int) -> dict[str, str]:
    link = f"tcp://{ADDRESS}:{port}"
    return {
        f"{name}_SERVICE_HOST": ADDRESS,
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_RPC": str(port),
        f"{name}_PORT": link,
        f"{name}_PORT_{port}_TCP": link,
        f"{name}_PORT_{port}_TCP_PROTO": "tcp",
        f"{name}_PORT_{port}_TCP_PORT": str(port),
        f"{name}_PORT_{port}_TCP_ADDR": ADDRESS,
    }


def is_made_by_kubernetes(name: str) -> bool:
    """Whether some Service would set this variable."""
    return _MADE.fullmatch(name) is not None

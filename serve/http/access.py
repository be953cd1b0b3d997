"""Authorization: who sent a request, and whether that client has the permission that the route needs.

There is no authentication yet: every client is "anonymous", with the permissions that the settings give to all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from millrace.config.sections.serve import Serve
from serve.errors import Forbidden

Scope = Literal["look", "predict", "control"]
"""A permission: read models and metrics, run predictions, load and unload models."""


@dataclass(frozen=True)
class Principal:
    """A client.

    Attributes:
        name: For logs.
        scopes: Its permissions.
    """

    name: str
    scopes: frozenset[Scope]


class Access:
    """Checks permissions.

    Args:
        settings: The permissions of all clients.
    """

    def __init__(self, settings: Serve) -> None:
        control: tuple[Scope, ...] = ("control",) if settings.model_control else ()
        self._anonymous = Principal("anonymous", frozenset({"look", "predict", *control}))

    def principal_of(self, _: Mapping[str, Any]) -> Principal:
        """The client that sent a request, by its ASGI scope."""
        return self._anonymous

    def check(self, request: Mapping[str, Any], needed: Scope) -> None:
        """Check that a request may use a route.

        Raises:
            Forbidden: The client does not have the permission that the route needs.
        """
        if needed not in self.principal_of(request).scopes:
            raise Forbidden(needed)

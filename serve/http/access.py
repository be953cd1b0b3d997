"""The one place where a request gets its principal, and where a principal's scopes are held against a route's.

Nobody is asked who they are yet: every request comes from `ANONYMOUS`, which may do what the settings allow to whoever
reaches the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from millrace.config.sections.serve import Serve
from serve.errors import Forbidden

Scope = Literal["look", "predict", "control"]
"""What a route needs: to look at models and counts, to ask a model, to load and unload models."""


@dataclass(frozen=True)
class Principal:
    """Who asks.

    Attributes:
        name: For logs.
        scopes: What it may do.
    """

    name: str
    scopes: frozenset[Scope]


class Access:
    """Says who asks, and whether that one may.

    Args:
        settings: Say what everybody may do.
    """

    def __init__(self, settings: Serve) -> None:
        control: tuple[Scope, ...] = ("control",) if settings.model_control else ()
        self._anonymous = Principal("anonymous", frozenset({"look", "predict", *control}))

    def principal_of(self, _: Mapping[str, Any]) -> Principal:
        """Who sent a request, by its ASGI scope."""
        return self._anonymous

    def check(self, request: Mapping[str, Any], needed: Scope) -> None:
        """Let a request pass.

        Raises:
            Forbidden: Its principal lacks the scope that the route needs.
        """
        if needed not in self.principal_of(request).scopes:
            raise Forbidden(needed)

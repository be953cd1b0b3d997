"""What is known about a version."""

from dataclasses import dataclass
from typing import Literal

State = Literal["START", "LOADING", "AVAILABLE", "END"]
Outcome = Literal["loaded", "refused"]


@dataclass(frozen=True)
class VersionStatus:
    """The status of one version.

    Attributes:
        version: Its number.
        state: TensorFlow Serving's state. START: in the store, not loaded. END: failed to load, or was unloaded.
        message: Why it cannot be loaded; else empty.
    """

    version: int
    state: State
    message: str = ""

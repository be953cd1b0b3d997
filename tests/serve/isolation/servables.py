"""A servable that misbehaves when told so; its process loads it by the name of a function here."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from millrace.models.manifest import ModelDamaged
from serve.servables.servable import Arrays, Origin, Servable
from serve.servables.signatures import SERVING_DEFAULT, Signature, TensorInfo

CRASH, HANG, BUG, UNPICKLABLE, SLOW = 13.0, 14.0, 15.0, 16.0, 17.0
"""What happens to a call that holds this value."""


class Unpicklable(Exception):
    """An error that can be sent and not read."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


class Tricky(Servable):
    """Doubles `x`, and tells the process that did."""

    def answer(self, asked: Signature, columns: Mapping[str, Any], rows: int | None) -> Arrays:
        """Twice what came."""
        values = columns["x"]
        if (values == CRASH).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (values == HANG).any():
            time.sleep(600)
        if (values == SLOW).any():
            time.sleep(0.3)
        if (values == BUG).any():
            raise ZeroDivisionError("a bug")
        if (values == UNPICKLABLE).any():
            raise Unpicklable("a", "b")
        return {"y": values * 2, "pid": np.full(len(values), os.getpid())}


SIGNATURE: Final = Signature(
    SERVING_DEFAULT,
    "",
    {"x": TensorInfo("x", "float32", (-1,))},
    {"y": TensorInfo("y", "float32", (-1,)), "pid": TensorInfo("pid", "int64", (-1,))},
)


def tricky() -> Servable:
    """It, loaded."""
    return Tricky(Origin("tricky", 1, Path(), "digest"), {SERVING_DEFAULT: SIGNATURE})


def unless(file: str) -> Servable:
    """It, unless there is a file."""
    if Path(file).exists():
        raise ModelDamaged("tricky/1", "a file is there")
    return tricky()


def crashing() -> Servable:
    """It is never loaded."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError

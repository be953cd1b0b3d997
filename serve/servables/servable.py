"""A model version that can be asked by arrays; it knows no transport, and not where TensorFlow runs."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from millrace.features.encoding import Encoded
from millrace.features.spec import FeatureSpec
from millrace.models.manifest import ModelManifest
from serve.errors import NonFiniteOutput
from serve.servables.signatures import SERVING_DEFAULT, Signature, check_inputs, find_signature

if TYPE_CHECKING:
    from serve.servables.domains import Domains

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def non_finite_rows(outputs: Mapping[str, Array]) -> dict[str, npt.NDArray[np.bool_]]:
    """Rows with NaN or infinity, by output; only outputs that have any."""
    found = {}
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            found[name] = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    return found


@dataclass(frozen=True)
class Origin:
    """Where a servable came from.

    Attributes:
        name: The model.
        version: Its number.
        folder: The SavedModel on this machine.
        digest: Identifies its bytes.
        manifest: What Millrace knows of it; None of a model that was trained elsewhere.
    """

    name: str
    version: int
    folder: Path
    digest: str
    manifest: ModelManifest | None = None

    @property
    def place(self) -> str:
        """The version in a message."""
        return f"{self.name}/{self.version}"


class Servable(ABC):
    """A model version that answers.

    Args:
        origin: What it is.
        signatures: What it can be asked.
        joins: Whether a first dimension of any size counts rows that do not see each other, so that requests may be
            answered together. So it is in models of Millrace; in others somebody has to know.
    """

    def __init__(self, origin: Origin, signatures: Mapping[str, Signature], *, joins: bool = True) -> None:
        self.origin = origin
        self.restarts = 0
        """How often it ended by itself and was started again."""
        self.domains: Domains | None = None
        """What its inputs may be, if that is known."""
        self.signatures = signatures
        self.joins = joins

    @abstractmethod
    def answer(self, asked: Signature, columns: Mapping[str, Encoded], rows: int | None) -> Arrays:
        """All outputs for inputs that `check` has seen; called from many threads.

        Raises:
            InvalidRequest: The graph of a model from elsewhere refused them.
            InferenceFailed: TensorFlow raised.
        """

    async def answer_soon(
        self, executor: Executor, asked: Signature, columns: Mapping[str, Encoded], rows: int | None, size: int = 0
    ) -> Arrays:
        """All outputs while the event loop goes on; see `answer`.

        Args:
            executor: Whose threads may be used.
            asked: As for `answer`.
            columns: As for `answer`.
            rows: As for `answer`.
            size: Bytes that they came in.
        """
        return await asyncio.get_running_loop().run_in_executor(executor, self.answer, asked, columns, rows)

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what it holds beyond this process; it answers no more."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.origin.name

    @property
    def version(self) -> int:
        """The version's number."""
        return self.origin.version

    @property
    def spec(self) -> FeatureSpec | None:
        """What the inputs mean; None if the model was trained elsewhere."""
        return self.origin.manifest.features if self.origin.manifest else None

    def infer(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        signature: str = SERVING_DEFAULT,
    ) -> Arrays:
        """Answer for tensors given by name.

        Args:
            inputs: Of the signature's dtypes and shapes; missing values encoded as in `millrace.features.spec`.
            outputs: Names wanted; by default all.
            signature: Which function is asked.

        Raises:
            InvalidRequest: No such signature, or names, dtypes or shapes do not fit; TensorFlow was not called.
            NonFiniteOutput: An answer of a model of Millrace is NaN or infinite; other models may mean it.
            InferenceFailed: TensorFlow raised.
        """
        asked = find_signature(self.signatures, signature)
        return self.select(asked, self.answer(asked, inputs, self.check(asked, inputs, outputs)), outputs)

    def check(
        self, asked: Signature, inputs: Mapping[str, Encoded], outputs: Sequence[str] | None = None
    ) -> int | None:
        """How many rows the inputs hold; None if they have no common first dimension that counts rows.

        Raises:
            InvalidRequest: Names, dtypes or shapes do not fit.
        """
        asked.wanted(outputs)
        return check_inputs(asked, inputs, counts_rows=self.joins)

    def select(
        self, asked: Signature, answered: Arrays, outputs: Sequence[str] | None, *, is_finite: bool = False
    ) -> Arrays:
        """The outputs that are wanted.

        Args:
            asked: Which of its functions answered.
            answered: All outputs.
            outputs: Names wanted; by default all.
            is_finite: Whether that was seen already.

        Raises:
            NonFiniteOutput: An answer of a model of Millrace is NaN or infinite.
        """
        results = {name: answered[name] for name in asked.wanted(outputs)}
        if self.spec is not None and not is_finite:
            for name, bad in non_finite_rows(results).items():
                raise NonFiniteOutput(name, np.flatnonzero(bad).tolist())
        return results

"""A model version: arrays in, arrays out, without a protocol and without the place where TensorFlow runs."""

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
from serve.servables.statistics import Statistics

if TYPE_CHECKING:
    from serve.servables.domains import Domains

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def non_finite_rows(outputs: Mapping[str, Array]) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks of the rows with NaN or infinity, for the outputs that have any."""
    found = {}
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            found[name] = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    return found


def has_rows(outputs: Mapping[str, Array], rows: int) -> bool:
    """Whether every output has this many rows."""
    return all(values.shape[:1] == (rows,) for values in outputs.values())


@dataclass(frozen=True)
class Origin:
    """Where a servable came from.

    Attributes:
        name: The model.
        version: Its number.
        folder: The SavedModel on this machine.
        digest: Of its files.
        manifest: The manifest; None if Millrace did not train the model.
    """

    name: str
    version: int
    folder: Path
    digest: str
    manifest: ModelManifest | None = None

    @property
    def label(self) -> str:
        """The name and version, for messages."""
        return f"{self.name}/{self.version}"


class Servable(ABC):
    """A loaded model version.

    Args:
        origin: Its name, version and files.
        signatures: Its functions.
        joins: Whether a first dimension of any size counts rows that do not affect each other, so that several requests
            may share a call. True for models trained by Millrace; for others the settings say it.
    """

    def __init__(self, origin: Origin, signatures: Mapping[str, Signature], *, joins: bool = True) -> None:
        self.origin = origin
        self.restarts = 0
        """How often its process was restarted."""
        self.domains: Domains | None = None
        """The domains of its inputs, if Millrace trained it."""
        self.statistics = Statistics()
        """The counts of its requests. They are here because several threads read them."""
        self.signatures = dict(signatures)
        self.joins = joins

    @abstractmethod
    def answer(self, signature: Signature, columns: Mapping[str, Encoded], rows: int | None) -> Arrays:
        """All outputs for inputs that passed `check`; called from many threads.

        Raises:
            InvalidRequest: The graph of a model of another system refused them.
            InferenceFailed: TensorFlow raised an error.
        """

    async def answer_soon(
        self, executor: Executor, signature: Signature, columns: Mapping[str, Encoded], rows: int | None, size: int = 0
    ) -> Arrays:
        """All outputs, without blocking the event loop; see `answer`.

        Args:
            executor: Threads for long work.
            signature: As for `answer`.
            columns: As for `answer`.
            rows: As for `answer`.
            size: Bytes of the request bodies.
        """
        return await asyncio.get_running_loop().run_in_executor(executor, self.answer, signature, columns, rows)

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
        """The feature spec; None if Millrace did not train the model."""
        return self.origin.manifest.features if self.origin.manifest else None

    def infer(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        signature: str = SERVING_DEFAULT,
    ) -> Arrays:
        """Run the model on tensors.

        Args:
            inputs: Tensors by name, of the signature's dtypes and shapes. `millrace.features.spec` says how missing
                values are encoded.
            outputs: Names of the wanted outputs; by default all.
            signature: The function of the model.

        Raises:
            InvalidRequest: No such signature, or names, dtypes or shapes do not fit; TensorFlow was not called.
            NonFiniteOutput: An output of a model trained by Millrace is NaN or infinite.
            InferenceFailed: TensorFlow raised an error.
        """
        found = find_signature(self.signatures, signature)
        return self.select(found, self.answer(found, inputs, self.check(found, inputs, outputs)), outputs)

    def check(
        self, signature: Signature, inputs: Mapping[str, Encoded], outputs: Sequence[str] | None = None
    ) -> int | None:
        """Check the inputs, and return their number of rows; None if their first dimension does not count rows.

        Raises:
            InvalidRequest: Names, dtypes or shapes do not fit.
        """
        signature.wanted(outputs)
        return check_inputs(signature, inputs, counts_rows=self.joins)

    def select(
        self, signature: Signature, answered: Arrays, outputs: Sequence[str] | None, *, is_finite: bool = False
    ) -> Arrays:
        """Select the wanted outputs.

        Args:
            signature: The function of the model.
            answered: All outputs.
            outputs: Names of the wanted outputs; by default all.
            is_finite: Whether all outputs are known to be finite.

        Raises:
            NonFiniteOutput: An output of a model trained by Millrace is NaN or infinite.
        """
        results = {name: answered[name] for name in signature.wanted(outputs)}
        if self.spec is not None and not is_finite:
            for name, bad in non_finite_rows(results).items():
                raise NonFiniteOutput(name, np.flatnonzero(bad).tolist())
        return results

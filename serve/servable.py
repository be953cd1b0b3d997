"""A model version, loaded: checked, warmed up, and asked by arrays; it knows no transport."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.digests import digest_of
from pipelines.features import Dictionary, Encoded, FeatureSpec
from pipelines.models import ModelDamaged, ModelManifest, ModelVersion, checked_copy, list_files
from serve.errors import InferenceFailed, InvalidRequest, NonFiniteOutput, Unimplemented
from serve.signatures import SERVING_DEFAULT, Signature, TensorInfo, check_inputs, find_signature, read_signatures

MAX_BATCH: Final = 16_384
"""Rows of one call of TensorFlow; more are taken in turns.

Memory stays bounded, and the activations of a small model stay in the processor's cache: on 28 inputs and a 256-128
trunk this makes 1.4 times the rows per second of 65,536.
"""
WARM_UP_ROWS: Final = (1, 2, 64)
CLIENTS: Final = frozenset({3, 9, 11})
"""INVALID_ARGUMENT, FAILED_PRECONDITION and OUT_OF_RANGE, for which TensorFlow Serving answers 400; 501 for 12."""

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def import_tensorflow(threads: int | None = None) -> Any:
    """Import TensorFlow without its log lines.

    Args:
        threads: How many threads it may use; counts only before its first operation in a process.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    if threads is not None:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:
            pass  # already running in this process: it keeps its threads
    return tf


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


class Servable:
    """A loaded model version.

    Args:
        origin: What it is.
        loaded: What TensorFlow loaded; held, because it owns the variables.
        signatures: What it can be asked.
        joins: Whether a first dimension of any size counts rows that do not see each other, so that requests may be
            answered together. So it is in models of Millrace; in others somebody has to know.
    """

    def __init__(self, origin: Origin, loaded: Any, signatures: Mapping[str, Signature], *, joins: bool = True) -> None:
        self.origin = origin
        self.joins = joins
        self.signatures = signatures
        self._loaded = loaded
        self._functions = {name: loaded.signatures[name] for name in signatures}
        self._tf = import_tensorflow()

    @classmethod
    def load(cls, version: ModelVersion, threads: int | None = None) -> "Servable":
        """Check every file, then load and warm up.

        Raises:
            ModelDamaged: A file is not the one published, or the model is not what its manifest says.
        """
        version = checked_copy(version)
        manifest = version.manifest
        origin = Origin(manifest.name, manifest.version, version.folder, manifest.digest, manifest)
        servable = cls._load(origin, threads)
        servable._check_manifest(manifest)
        for rows in WARM_UP_ROWS:
            servable._warm_up(SERVING_DEFAULT, rows)
        return servable

    @classmethod
    def load_foreign(
        cls, name: str, version: int, folder: Path, threads: int | None = None, *, joins: bool = False
    ) -> "Servable":
        """Load a SavedModel that another system wrote in TensorFlow Serving's layout; nothing vouches for its files.

        Args:
            name: The model.
            version: Its number.
            folder: The SavedModel.
            threads: See `import_tensorflow`.
            joins: See the class.

        Raises:
            ModelDamaged: TensorFlow cannot load it, or it has no signature.
        """
        digest = digest_of([[file.path, file.sha256] for file in list_files(folder)])
        servable = cls._load(Origin(name, version, folder, digest), threads, joins=joins)
        for signature in servable.signatures.values():
            if signature.is_batched and not any(i.dtype == "string" for i in signature.inputs.values()):
                servable._warm_up(signature.name, 1)
        return servable

    @classmethod
    def _load(cls, origin: Origin, threads: int | None, *, joins: bool = True) -> "Servable":
        tf = import_tensorflow(threads)
        spec = origin.manifest.features if origin.manifest else None
        try:
            signatures = read_signatures(origin.folder, spec)
            servable = cls(origin, tf.saved_model.load(str(origin.folder)), signatures, joins=joins)
        except Exception as error:  # TensorFlow raises many kinds
            logger.error("TensorFlow cannot load %s: %s", origin.place, error)
            raise ModelDamaged(origin.place, f"TensorFlow cannot load it: {type(error).__name__}") from error
        if not signatures:
            raise ModelDamaged(origin.place, "it has no signature")
        return servable

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
            inputs: Of the signature's dtypes and shapes; missing values encoded as in `pipelines.features`.
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

    def select(self, asked: Signature, answered: Arrays, outputs: Sequence[str] | None) -> Arrays:
        """The outputs that are wanted.

        Raises:
            NonFiniteOutput: An answer of a model of Millrace is NaN or infinite.
        """
        results = {name: answered[name] for name in asked.wanted(outputs)}
        if self.spec is not None:
            for name, bad in non_finite_rows(results).items():
                raise NonFiniteOutput(name, np.flatnonzero(bad).tolist())
        return results

    def infer_encoded(self, columns: Mapping[str, Encoded]) -> Arrays:
        """Answer for columns of a table, as `pipelines.features.encode` makes them; see `infer` for the errors.

        Strings are looked up from their dictionary inside TensorFlow, never copied row by row. Answers may hold NaN:
        the caller asks `non_finite_rows` and keeps the row's reason.
        """
        asked = self.signatures[SERVING_DEFAULT]
        return self.answer(asked, columns, check_inputs(asked, columns))

    def answer(self, asked: Signature, columns: Mapping[str, Encoded], rows: int | None) -> Arrays:
        """All outputs for inputs that `check` has seen, in calls of at most `MAX_BATCH` rows.

        Raises:
            InvalidRequest: The graph of a model from elsewhere refused them.
            InferenceFailed: TensorFlow raised.
        """
        texts = {n: self._tf.constant(_some(c.values)) for n, c in columns.items() if isinstance(c, Dictionary)}

        def tensor(name: str, turn: slice | None) -> Any:
            column = columns[name]
            if isinstance(column, Dictionary):
                return self._tf.gather(texts[name], self._tf.constant(column.indices[turn or slice(None)]))
            return self._tf.constant(column if turn is None else column[turn], asked.inputs[name].dtype)

        if rows is None or rows <= MAX_BATCH:
            return self._call(asked, {name: tensor(name, None) for name in columns})
        turns = [slice(start, start + MAX_BATCH) for start in range(0, rows, MAX_BATCH)]
        parts = [self._call(asked, {name: tensor(name, turn) for name in columns}) for turn in turns]
        return {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}

    def _call(self, asked: Signature, tensors: dict[str, Any]) -> Arrays:
        try:
            answered = self._functions[asked.name](**tensors)
            return {name: _to_array(tensor) for name, tensor in answered.items()}
        except self._tf.errors.OpError as error:
            said = str(error.message)[:1000]
            if self.spec is None and error.error_code in CLIENTS:
                # What a graph refuses of inputs that fit its signature: their sizes, mostly.
                raise InvalidRequest(said) from error
            if self.spec is None and error.error_code == 12:  # noqa: PLR2004 - see CLIENTS
                raise Unimplemented(said) from error
            raise InferenceFailed(self.name, self.version, str(error)) from error

    def _check_manifest(self, manifest: ModelManifest) -> None:
        asked = self.signatures.get(SERVING_DEFAULT)
        taken = {n: (i.dtype, len(i.shape or ())) for n, i in asked.inputs.items()} if asked else {}
        given = {n: i.dtype for n, i in asked.outputs.items()} if asked else {}
        expected = {f.name: (f.tensor_dtype, 1) for f in manifest.features.inputs}
        for what, said, seen in (("input", expected, taken), ("output", manifest.outputs, given)):
            for name in sorted(said.keys() | seen.keys()):
                if said.get(name) != seen.get(name):
                    reason = f"{what} '{name}': its manifest says {said.get(name)}, its signature {seen.get(name)}"
                    raise ModelDamaged(self.origin.place, reason)

    def _warm_up(self, signature: str, rows: int) -> None:
        asked = self.signatures[signature]
        try:
            outputs = self._call(
                asked, {n: self._tf.constant(_blank(i, rows), i.dtype) for n, i in asked.inputs.items()}
            )
        except (InvalidRequest, InferenceFailed):
            if self.spec is None:
                return  # zeros of the smallest size may be nothing that this graph takes
            raise
        for name, values in outputs.items():
            if asked.outputs[name].is_batched and values.shape[:1] != (rows,):
                reason = f"output '{name}' has shape {values.shape} for {rows} rows"
                raise ModelDamaged(self.origin.place, reason)


def _to_array(tensor: Any) -> Array:
    return np.asarray(tensor.numpy(), dtype=object if tensor.dtype.name == "string" else None)


def _blank(info: TensorInfo, rows: int) -> Array:
    shape = [rows, *(max(1, size) for size in (info.shape or (rows,))[1:])]
    if info.dtype == "string":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, np.float32 if info.dtype == "bfloat16" else info.dtype)


def _some(values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """A dictionary's values; TensorFlow cannot look anything up in an empty one."""
    return values if len(values) else np.array([""], dtype=object)

"""A SavedModel in this process: checked, loaded by TensorFlow, warmed up."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from millrace.digests import digest_of
from millrace.errors import MillraceError
from millrace.features.encoding import Dictionary, Encoded
from millrace.models.files import checked_copy, list_files
from millrace.models.manifest import ModelDamaged, ModelManifest, ModelVersion
from serve.errors import InferenceFailed, InvalidRequest, Unimplemented
from serve.servables.servable import Array, Arrays, Origin, Servable
from serve.servables.signatures import (
    SERVING_DEFAULT,
    Signature,
    TensorInfo,
    check_inputs,
    find_signature,
    read_signatures,
)
from serve.servables.warmup import GoldenArrays, difference, read_golden

MAX_BATCH: Final = 16_384
"""Rows of one call of TensorFlow; more are taken in turns.

Memory stays bounded, and the activations of a small model stay in the processor's cache: on 28 inputs and a 256-128
trunk this makes 1.4 times the rows per second of 65,536.
"""
WARM_UP_ROWS: Final = (1, 2, 64)
"""Sizes of batches that a version has answered before anybody asks it."""
CLIENTS: Final = frozenset({3, 9, 11})
"""INVALID_ARGUMENT, FAILED_PRECONDITION and OUT_OF_RANGE, for which TensorFlow Serving answers 400; 501 for 12."""

logger = logging.getLogger(__name__)


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


class LoadedModel(Servable):
    """A model version that TensorFlow has loaded into this process.

    Args:
        origin: What it is.
        loaded: What TensorFlow loaded; held, because it owns the variables.
        signatures: What it can be asked.
        joins: See `Servable`.
    """

    def __init__(self, origin: Origin, loaded: Any, signatures: Mapping[str, Signature], *, joins: bool = True) -> None:
        super().__init__(origin, signatures, joins=joins)
        self._loaded = loaded
        self._functions = {name: loaded.signatures[name] for name in signatures}
        self._tf = import_tensorflow()

    @classmethod
    def load(
        cls, version: ModelVersion, threads: int | None = None, sizes: Sequence[int] = WARM_UP_ROWS
    ) -> "LoadedModel":
        """Check every file, load, warm up, and compare the answers with those that the model ships.

        Args:
            version: What to load.
            threads: See `import_tensorflow`.
            sizes: Of the batches to warm up by, in rows.

        Raises:
            ModelDamaged: A file is not the one published, the model is not what its manifest says, or it does not
                answer as it did when it was trained.
        """
        version = checked_copy(version)
        manifest = version.manifest
        origin = Origin(manifest.name, manifest.version, version.folder, manifest.digest, manifest)
        servable = cls._load(origin, threads)
        servable._check_manifest(manifest)
        golden = read_golden(version.folder)
        servable._check_golden(golden)
        for rows in sorted({min(size, MAX_BATCH) for size in sizes}):
            servable._warm_up(SERVING_DEFAULT, rows, golden[0].inputs if golden else None)
        return servable

    @classmethod
    def load_foreign(
        cls, name: str, version: int, folder: Path, threads: int | None = None, *, joins: bool = False
    ) -> "LoadedModel":
        """Load a SavedModel that another system wrote in TensorFlow Serving's layout; nothing vouches for its files.

        Args:
            name: The model.
            version: Its number.
            folder: The SavedModel.
            threads: See `import_tensorflow`.
            joins: See `Servable`.

        Raises:
            ModelDamaged: TensorFlow cannot load it, or it has no signature.
        """
        digest = digest_of([[file.path, file.sha256] for file in list_files(folder)])
        servable = cls._load(Origin(name, version, folder, digest), threads, joins=joins)
        for golden in read_golden(folder, strict=False):
            servable._try_out(golden)
        for signature in servable.signatures.values():
            if signature.is_batched and not any(i.dtype == "string" for i in signature.inputs.values()):
                servable._warm_up(signature.name, 1)
        return servable

    @classmethod
    def _load(cls, origin: Origin, threads: int | None, *, joins: bool = True) -> "LoadedModel":
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

    def infer_encoded(self, columns: Mapping[str, Encoded]) -> Arrays:
        """Answer for columns of a table, as `millrace.features.encoding.encode` makes them; see `infer` for the errors.

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

    def _check_golden(self, golden: Sequence[GoldenArrays]) -> None:
        for one in golden:
            try:
                asked = find_signature(self.signatures, one.signature or SERVING_DEFAULT)
                answered = self.answer(asked, one.inputs, check_inputs(asked, one.inputs))
            except MillraceError as error:
                raise ModelDamaged(self.origin.place, f"it cannot answer the rows that it ships: {error}") from error
            if said := difference(answered, one.outputs):
                raise ModelDamaged(self.origin.place, f"it does not answer as it was trained: {said}")

    def _try_out(self, golden: GoldenArrays) -> None:
        """Ask a model from elsewhere what it ships; it need not fit this server."""
        try:
            asked = find_signature(self.signatures, golden.signature or SERVING_DEFAULT)
            self.answer(asked, golden.inputs, check_inputs(asked, golden.inputs, counts_rows=self.joins))
        except MillraceError as error:
            logger.warning("%s cannot answer a warm-up request that it ships: %s", self.origin.place, error)

    def _warm_up(self, signature: str, rows: int, known: Mapping[str, Array] | None = None) -> None:
        """Answer once as many rows: some that are known, again and again, else zeros."""
        asked = self.signatures[signature]
        blank = {n: _blank(i, rows) for n, i in asked.inputs.items()} if known is None else _repeated(known, rows)
        try:
            outputs = self._call(asked, {n: self._tf.constant(v, asked.inputs[n].dtype) for n, v in blank.items()})
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


def _repeated(known: Mapping[str, Array], rows: int) -> Arrays:
    return {name: np.resize(values, (rows, *values.shape[1:])) for name, values in known.items()}


def _blank(info: TensorInfo, rows: int) -> Array:
    shape = [rows, *(max(1, size) for size in (info.shape or (rows,))[1:])]
    if info.dtype == "string":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, np.float32 if info.dtype == "bfloat16" else info.dtype)


def _some(values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """A dictionary's values; TensorFlow cannot look anything up in an empty one."""
    return values if len(values) else np.array([""], dtype=object)

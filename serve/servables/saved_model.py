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
"""Rows of one TensorFlow call; more rows are several calls.

This bounds the memory, and keeps the activations of a small model in the processor's cache: with 28 inputs and a
256-128 trunk it gives 1.4 times the rows per second of 65,536.
"""
WARM_UP_ROWS: Final = (1, 2, 64)
"""Batch sizes with which a version is warmed up before its first request."""
CLIENTS: Final = frozenset({3, 9, 11})
"""INVALID_ARGUMENT, FAILED_PRECONDITION and OUT_OF_RANGE: TensorFlow Serving returns 400; for 12, 501."""

logger = logging.getLogger(__name__)


def import_tensorflow(threads: int | None = None) -> Any:
    """Import TensorFlow without its log lines.

    Args:
        threads: Number of its threads; has an effect only before the first operation in a process.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    if threads is not None:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:
            pass  # TensorFlow already runs in this process and keeps its threads
    return tf


class LoadedModel(Servable):
    """A model version that TensorFlow has loaded into this process.

    Args:
        origin: Its name, version and files.
        loaded: TensorFlow's object; kept, because it owns the variables.
        signatures: Its functions.
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
        """Check every file, load, warm up, and compare the predictions with those in the model's warm-up file.

        Args:
            version: The version to load.
            threads: See `import_tensorflow`.
            sizes: Batch sizes for the warm-up, in rows.

        Raises:
            ModelDamaged: A file is not the one published, the model does not fit its manifest, or its predictions
                differ from those after training.
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
        """Load a SavedModel that another system wrote in TensorFlow Serving's layout. Its files are not verified.

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
            logger.error("TensorFlow cannot load %s: %s", origin.label, error)
            raise ModelDamaged(origin.label, f"TensorFlow cannot load it: {type(error).__name__}") from error
        if not signatures:
            raise ModelDamaged(origin.label, "it has no signature")
        return servable

    def infer_encoded(self, columns: Mapping[str, Encoded]) -> Arrays:
        """Run the model on columns of a table that `millrace.features.encoding.encode` made; errors as for `infer`.

        TensorFlow looks up strings in their dictionary; they are not copied row by row. Outputs may contain NaN: the
        caller finds these rows with `non_finite_rows`.
        """
        signature = self.signatures[SERVING_DEFAULT]
        return self.answer(signature, columns, check_inputs(signature, columns))

    def answer(self, signature: Signature, columns: Mapping[str, Encoded], rows: int | None) -> Arrays:
        """All outputs for inputs that passed `check`, in calls of at most `MAX_BATCH` rows.

        Raises:
            InvalidRequest: The graph of a model of another system refused them.
            InferenceFailed: TensorFlow raised an error.
        """
        texts = {n: self._tf.constant(_some(c.values)) for n, c in columns.items() if isinstance(c, Dictionary)}

        def tensor(name: str, turn: slice | None) -> Any:
            column = columns[name]
            if isinstance(column, Dictionary):
                return self._tf.gather(texts[name], self._tf.constant(column.indices[turn or slice(None)]))
            return self._tf.constant(column if turn is None else column[turn], signature.inputs[name].dtype)

        if rows is None or rows <= MAX_BATCH:
            return self._call(signature, {name: tensor(name, None) for name in columns})
        turns = [slice(start, start + MAX_BATCH) for start in range(0, rows, MAX_BATCH)]
        parts = [self._call(signature, {name: tensor(name, turn) for name in columns}) for turn in turns]
        return {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}

    def _call(self, signature: Signature, tensors: dict[str, Any]) -> Arrays:
        try:
            answered = self._functions[signature.name](**tensors)
            return {name: _to_array(tensor) for name, tensor in answered.items()}
        except self._tf.errors.OpError as error:
            message = str(error.message)[:1000]
            if self.spec is None and error.error_code in CLIENTS:
                # The inputs fit the signature, but the graph refuses them: mostly because of their sizes.
                raise InvalidRequest(message) from error
            if self.spec is None and error.error_code == 12:  # noqa: PLR2004 - see CLIENTS
                raise Unimplemented(message) from error
            raise InferenceFailed(self.name, self.version, str(error)) from error

    def _check_manifest(self, manifest: ModelManifest) -> None:
        signature = self.signatures.get(SERVING_DEFAULT)
        taken = {n: (i.dtype, len(i.shape or ())) for n, i in signature.inputs.items()} if signature else {}
        given = {n: i.dtype for n, i in signature.outputs.items()} if signature else {}
        expected = {f.name: (f.tensor_dtype, 1) for f in manifest.features.inputs}
        for what, declared, found in (("input", expected, taken), ("output", manifest.outputs, given)):
            for name in sorted(declared.keys() | found.keys()):
                if declared.get(name) != found.get(name):
                    reason = f"{what} '{name}': its manifest says {declared.get(name)}, its signature {found.get(name)}"
                    raise ModelDamaged(self.origin.label, reason)

    def _check_golden(self, golden: Sequence[GoldenArrays]) -> None:
        for one in golden:
            try:
                signature = find_signature(self.signatures, one.signature or SERVING_DEFAULT)
                answered = self.answer(signature, one.inputs, check_inputs(signature, one.inputs))
            except MillraceError as error:
                reason = f"it cannot answer the rows of its warm-up file: {error}"
                raise ModelDamaged(self.origin.label, reason) from error
            if found := difference(answered, one.outputs):
                raise ModelDamaged(self.origin.label, f"it does not answer as it was trained: {found}")

    def _try_out(self, golden: GoldenArrays) -> None:
        """Send a model of another system its own warm-up request; if it fails, that is only logged."""
        try:
            signature = find_signature(self.signatures, golden.signature or SERVING_DEFAULT)
            self.answer(signature, golden.inputs, check_inputs(signature, golden.inputs, counts_rows=self.joins))
        except MillraceError as error:
            logger.warning("%s cannot answer a request of its warm-up file: %s", self.origin.label, error)

    def _warm_up(self, name: str, rows: int, known: Mapping[str, Array] | None = None) -> None:
        """Run one call with this number of rows: known rows repeated, else zeros."""
        signature = self.signatures[name]
        blank = {n: _blank(i, rows) for n, i in signature.inputs.items()} if known is None else _repeated(known, rows)
        try:
            tensors = {n: self._tf.constant(v, signature.inputs[n].dtype) for n, v in blank.items()}
            outputs = self._call(signature, tensors)
        except (InvalidRequest, InferenceFailed):
            if self.spec is None:
                return  # this graph may not accept zeros of the smallest size
            raise
        for output, values in outputs.items():
            if signature.outputs[output].is_batched and values.shape[:1] != (rows,):
                reason = f"output '{output}' has shape {values.shape} for {rows} rows"
                raise ModelDamaged(self.origin.label, reason)


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
    """The values of a dictionary, at least one: TensorFlow cannot look up in an empty one."""
    return values if len(values) else np.array([""], dtype=object)

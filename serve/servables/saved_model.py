"""A SavedModel in this process: checked, loaded by TensorFlow, warmed up."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from millrace.digests import digest_of
from millrace.errors import MillraceError
from millrace.features.encoding import Encoded
from millrace.models.files import checked_copy, list_files
from millrace.models.manifest import ModelDamaged, ModelManifest, ModelVersion
from serve.errors import InferenceFailed, InvalidRequest, Unimplemented
from serve.servables.functions.loading import load_functions
from serve.servables.functions.runtime import Call, Functions, import_tensorflow, text_of, undecoded
from serve.servables.servable import Array, Arrays, Origin, Servable, has_rows
from serve.servables.signatures import (
    SERVING_DEFAULT,
    Signature,
    TensorInfo,
    check_inputs,
    find_signature,
)
from serve.servables.warmup import GoldenArrays, difference, read_golden

MAX_BATCH: Final = 16_384
"""Rows of one TensorFlow call; more rows are several calls.

This bounds the memory, and keeps the activations of a small model in the processor's cache: with 28 inputs and a
256-128 trunk it gives 1.4 times the rows per second of 65,536.
"""
WARM_UP_ROWS: Final = (1, 2, 64)
"""Batch sizes with which a version is warmed up before its first request."""
TRACEBACK: Final = "Traceback (most recent call last)"
"""In the message of TensorFlow's operations that call a function of Python."""
FOREIGN_ROWS: Final = (1, 3)
"""The same for a model of another system whose requests are joined: to learn whether it answers row by row."""
CLIENTS: Final = frozenset({3, 9, 11})
"""INVALID_ARGUMENT, FAILED_PRECONDITION and OUT_OF_RANGE: TensorFlow Serving returns 400; for 12, 501."""

logger = logging.getLogger(__name__)


class LoadedModel(Servable):
    """A model version that TensorFlow has loaded into this process.

    Args:
        origin: Its name, version and files.
        functions: What TensorFlow has loaded.
        signatures: Its functions.
        joins: See `Servable`.
    """

    def __init__(
        self, origin: Origin, functions: Functions, signatures: Mapping[str, Signature], *, joins: bool = True
    ) -> None:
        super().__init__(origin, signatures, joins=joins)
        self._functions = functions
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
        if joins:  # otherwise no call but those of clients: it might change variables of the model
            for signature in list(servable.signatures.values()):
                servable._try_rows(signature)
        return servable

    @classmethod
    def _load(cls, origin: Origin, threads: int | None, *, joins: bool = True) -> "LoadedModel":
        signatures, functions = load_functions(origin, threads)
        return cls(origin, functions, signatures, joins=joins)

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
        call = self._functions.bind(signature, columns)
        parts = []
        for start in range(0, rows or 0, MAX_BATCH) if rows and rows > MAX_BATCH else ():
            turn = slice(start, min(start + MAX_BATCH, rows or 0))
            parts.append(self._run(call, turn))
            if not has_rows(parts[-1], turn.stop - start):
                parts = []  # its outputs cannot be put together from parts
                break
        if not parts:
            return self._run(call, None)
        return {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}

    def _run(self, call: Call, turn: slice | None) -> Arrays:
        try:
            return call(turn)
        except self._tf.errors.OpError as error:
            raise self._failure(str(error.message), error.error_code) from error
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            if message := undecoded(error):
                # TensorFlow loses the code of an error with such a message. Only a request has such bytes.
                raise self._failure(message, min(CLIENTS)) from error
            # The function takes or returns what is no array, such as a sparse tensor.
            raise self._failure(text_of(error), 0) from error

    def _failure(self, message: str, code: int) -> MillraceError:
        if TRACEBACK in message:
            return Unimplemented("its graph calls a Python function, which a SavedModel does not contain")
        if self.spec is None and code in CLIENTS:
            # The inputs fit the signature, but the graph refuses them: mostly because of their sizes.
            return InvalidRequest(message[:1000])
        if self.spec is None and code == 12:  # noqa: PLR2004 - see CLIENTS
            return Unimplemented(message[:1000])
        return InferenceFailed(self.name, self.version, message)

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
        outputs = self._run(self._functions.bind(signature, blank), None)
        for output, values in outputs.items():
            if signature.outputs[output].is_batched and values.shape[:1] != (rows,):
                reason = f"output '{output}' has shape {values.shape} for {rows} rows"
                raise ModelDamaged(self.origin.label, reason)

    def _try_rows(self, signature: Signature) -> None:
        """Warm up a function of a model of another system, and note if it does not answer row by row."""
        if not signature.is_batched:
            return
        for rows in FOREIGN_ROWS:
            try:
                blank = {name: _blank(info, rows) for name, info in signature.inputs.items()}
                outputs = self._run(self._functions.bind(signature, blank), None)
            except (TypeError, MemoryError):
                return  # numpy has no such dtype, or its fixed sizes are huge
            except (InvalidRequest, InferenceFailed):
                return  # this graph may not accept zeros of the smallest size
            if not has_rows(outputs, rows):
                self.signatures[signature.name] = replace(signature, is_rowwise=False)
                what = "does not return one row per row of its inputs: requests to it share no call"
                logger.info("%s: signature %r %s", self.origin.label, signature.name, what)
                return


def _repeated(known: Mapping[str, Array], rows: int) -> Arrays:
    return {name: np.resize(values, (rows, *values.shape[1:])) for name, values in known.items()}


def _blank(info: TensorInfo, rows: int) -> Array:
    shape = [rows, *(max(1, size) for size in (info.shape or (rows,))[1:])]
    if info.dtype == "string":
        return np.full(shape, b"", dtype=object)
    return np.zeros(shape, np.float32 if info.dtype == "bfloat16" else info.dtype)

"""A model version, loaded: checked, warmed up, and asked by arrays; it knows no transport."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.features import Dictionary, Encoded, Feature, FeatureSpec
from pipelines.models import ModelDamaged, ModelManifest, ModelVersion, checked_copy
from serve.errors import InferenceFailed, InvalidRequest, NonFiniteOutput

SIGNATURE: Final = "serving_default"
MAX_BATCH: Final = 16_384
"""Rows of one call of TensorFlow; more are taken in turns.

Memory stays bounded, and the activations of a small model stay in the processor's cache: on 28 inputs and a 256-128
trunk this makes 1.4 times the rows per second of 65,536.
"""
WARM_UP_ROWS: Final = (1, 2, 64)

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


class Servable:
    """A loaded model version.

    Args:
        version: Where it lies, and its manifest.
        loaded: What TensorFlow loaded; held, because it owns the variables.
    """

    def __init__(self, version: ModelVersion, loaded: Any) -> None:
        self.version = version
        self._loaded = loaded
        self._signature = loaded.signatures[SIGNATURE]
        self._tf = import_tensorflow()

    @classmethod
    def load(cls, version: ModelVersion, threads: int | None = None) -> "Servable":
        """Check every file, then load and warm up.

        Raises:
            ModelDamaged: A file is not the one published, or the model is not what its manifest says.
        """
        version = checked_copy(version)
        tf = import_tensorflow(threads)
        try:
            servable = cls(version, tf.saved_model.load(str(version.folder)))
        except Exception as error:  # TensorFlow raises many kinds; the files are those published
            raise ModelDamaged(version.place, f"TensorFlow cannot load it: {error}") from error
        servable._check_signature()
        servable._warm_up()
        return servable

    @property
    def manifest(self) -> ModelManifest:
        """The description that travels with the model."""
        return self.version.manifest

    @property
    def spec(self) -> FeatureSpec:
        """Names and dtypes of the inputs."""
        return self.version.manifest.features

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> Arrays:
        """Answer for rows given as one array per input.

        Args:
            inputs: By name, rank 1, of the spec's tensor dtype; missing values encoded as in `pipelines.features`.
            outputs: Names wanted; by default all.

        Raises:
            InvalidRequest: Names, dtypes or shapes do not fit; TensorFlow was not called.
            NonFiniteOutput: An answer is NaN or infinite.
            InferenceFailed: TensorFlow raised.
        """
        rows = self._check(inputs)
        wanted = self._check_outputs(outputs)
        answered = self._answer(inputs, rows)
        results = {name: answered[name] for name in wanted}
        for name, bad in non_finite_rows(results).items():
            raise NonFiniteOutput(name, np.flatnonzero(bad).tolist())
        return results

    def infer_encoded(self, columns: Mapping[str, Encoded]) -> Arrays:
        """Answer for columns of a table, as `pipelines.features.encode` makes them.

        Strings are looked up from their dictionary inside TensorFlow, never copied row by row. Answers may hold NaN:
        the caller asks `non_finite_rows` and keeps the row's reason.

        Raises:
            InvalidRequest: Names, dtypes or shapes do not fit; TensorFlow was not called.
            InferenceFailed: TensorFlow raised.
        """
        return self._answer(columns, self._check(columns))

    def signature_def(self) -> dict[str, Any]:
        """The signature as TF Serving's metadata shows it, read from the model's own graph."""
        self._tf.constant(0)
        from google.protobuf.json_format import MessageToDict
        from tensorflow.core.protobuf import saved_model_pb2

        graph = saved_model_pb2.SavedModel()
        graph.ParseFromString((self.version.folder / "saved_model.pb").read_bytes())
        shown: dict[str, Any] = MessageToDict(
            graph.meta_graphs[0].signature_def[SIGNATURE],
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        return shown

    def _answer(self, columns: Mapping[str, Encoded], rows: int) -> Arrays:
        texts = {n: self._tf.constant(_some(c.values)) for n, c in columns.items() if isinstance(c, Dictionary)}

        def tensor(name: str, turn: slice) -> Any:
            column = columns[name]
            if isinstance(column, Dictionary):
                return self._tf.gather(texts[name], self._tf.constant(column.indices[turn]))
            return self._tf.constant(column[turn])

        turns = [slice(start, start + MAX_BATCH) for start in range(0, max(rows, 1), MAX_BATCH)]
        parts = [self._call({name: tensor(name, turn) for name in columns}) for turn in turns]
        return parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}

    def _call(self, tensors: dict[str, Any]) -> Arrays:
        try:
            return {name: tensor.numpy() for name, tensor in self._signature(**tensors).items()}
        except self._tf.errors.OpError as error:
            manifest = self.manifest
            raise InferenceFailed(manifest.name, manifest.version, str(error)) from error

    def _check(self, inputs: Mapping[str, Encoded]) -> int:
        features = {feature.name: feature for feature in self.spec.inputs}
        problems = [f"input '{n}' is missing" for n in features.keys() - inputs.keys()]
        problems += [f"the model has no input '{n}'" for n in inputs.keys() - features.keys()]
        for name in features.keys() & inputs.keys():
            problems += _mismatches(features[name], inputs[name])
        lengths = {name: len(column) for name, column in inputs.items() if not problems}
        if len(set(lengths.values())) > 1:
            problems.append(f"inputs differ in length: {lengths}")
        if problems:
            raise InvalidRequest(sorted(problems))
        return next(iter(lengths.values()), 0)

    def _check_outputs(self, outputs: Sequence[str] | None) -> list[str]:
        known = list(self.manifest.outputs)
        unknown = [name for name in outputs or () if name not in known]
        if unknown:
            raise InvalidRequest([f"the model has no output '{n}'; it has {', '.join(known)}" for n in unknown])
        return known if outputs is None else list(outputs)

    def _check_signature(self) -> None:
        _, taken = self._signature.structured_input_signature
        found = {name: (spec.dtype.name, spec.shape.rank) for name, spec in taken.items()}
        expected = {f.name: (f.tensor_dtype, 1) for f in self.spec.inputs}
        for what, said, seen in (
            ("input", expected, found),
            (
                "output",
                self.manifest.outputs,
                {n: s.dtype.name for n, s in self._signature.structured_outputs.items()},
            ),
        ):
            for name in sorted(said.keys() | seen.keys()):
                if said.get(name) != seen.get(name):
                    reason = f"{what} '{name}': its manifest says {said.get(name)}, its signature {seen.get(name)}"
                    raise ModelDamaged(self.version.place, reason)

    def _warm_up(self) -> None:
        for rows in WARM_UP_ROWS:
            outputs = self._call({f.name: self._tf.constant(_blank(f, rows)) for f in self.spec.inputs})
            for name, values in outputs.items():
                if values.shape[:1] != (rows,):
                    raise ModelDamaged(
                        self.version.place,
                        f"output '{name}' has shape {values.shape} for {rows} rows",
                    )


def _mismatches(feature: Feature, column: Encoded) -> list[str]:
    if isinstance(column, Dictionary):
        found, rank, fits = "string", 1, feature.tensor_dtype == "string"
    else:
        found, rank = column.dtype.name, column.ndim
        fits = found == ("object" if feature.tensor_dtype == "string" else feature.tensor_dtype)
    if not fits:
        return [f"input '{feature.name}': expected {feature.tensor_dtype}, found {found}"]
    return [] if rank == 1 else [f"input '{feature.name}': expected one value a row, found rank {rank}"]


def _blank(feature: Feature, rows: int) -> Array:
    if feature.tensor_dtype == "string":
        return np.full(rows, b"", dtype=object)
    return np.zeros(rows, dtype=feature.tensor_dtype)


def _some(values: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """A dictionary's values; TensorFlow cannot look anything up in an empty one."""
    return values if len(values) else np.array([""], dtype=object)

"""Loads the functions of a SavedModel, if necessary by its graph alone."""

import logging
from typing import Final

from millrace.models.manifest import ModelDamaged
from serve.servables.functions.eager import EagerFunctions
from serve.servables.functions.graph import GraphFunctions
from serve.servables.functions.runtime import Functions, import_tensorflow, text_of
from serve.servables.servable import Origin
from serve.servables.signatures import Signature, read_signatures

MAX_REASON: Final = 200
"""Most characters of one loader's error in a message."""
FOREIGN_HINT: Final = "check that the files of the SavedModel are complete, and that TensorFlow's version can load it"

logger = logging.getLogger(__name__)


def load_functions(origin: Origin, threads: int | None) -> tuple[dict[str, Signature], Functions]:
    """The signatures of a SavedModel and its functions.

    A model of another system that TensorFlow 2 cannot load is loaded by its graph, whatever the reason is.

    Args:
        origin: Its files.
        threads: See `import_tensorflow`.

    Raises:
        ModelDamaged: TensorFlow cannot load it, or it has no signature.
    """
    import_tensorflow(threads)
    manifest = origin.manifest
    try:
        signatures = read_signatures(origin.folder, manifest.features if manifest else None)
        if not signatures:
            raise _damaged(origin, "it has no signature")
        try:
            return signatures, EagerFunctions(origin.folder, signatures)
        except Exception as error:  # TensorFlow raises many kinds
            if manifest:
                raise
            first = _reason(origin, error)
        logger.warning("%s: its graph is used, because TensorFlow 2 cannot load its objects: %s", origin.label, first)
        try:
            return signatures, GraphFunctions(origin.folder, signatures, threads)
        except Exception as error:
            reason = f"TensorFlow cannot load it: {first}; nor its graph alone: {_reason(origin, error)}"
            raise _damaged(origin, reason) from error
    except ModelDamaged as error:
        logger.error("%s", error)
        raise
    except Exception as error:
        logger.error("TensorFlow cannot load %s: %s", origin.label, text_of(error))
        raise _damaged(origin, f"TensorFlow cannot load it: {_reason(origin, error)}") from error


def _damaged(origin: Origin, reason: str) -> ModelDamaged:
    hint = "" if origin.manifest else FOREIGN_HINT
    return ModelDamaged(origin.label, reason, hint=hint)


def _reason(origin: Origin, error: Exception) -> str:
    """The kind and the first line of an error, without the path of the model, since clients see it."""
    text = text_of(error).replace(str(origin.folder), origin.label).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:MAX_REASON]}"

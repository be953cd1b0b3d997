"""TensorFlow in this process, and what a loaded SavedModel offers."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from millrace.features.encoding import Encoded
from serve.servables.servable import Arrays
from serve.servables.signatures import Signature

Call = Callable[[slice | None], Arrays]
"""Runs a function on some rows of its inputs, or on all of them."""


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


class Functions(ABC):
    """The functions of a loaded SavedModel, which owns its variables and tables; called from many threads."""

    @abstractmethod
    def bind(self, signature: Signature, columns: Mapping[str, Encoded]) -> Call:
        """Give inputs to a function.

        Args:
            signature: The function.
            columns: Its inputs; they fit the signature.

        Returns:
            A function that computes all outputs. It raises what TensorFlow raises.
        """


def text_of(error: BaseException) -> str:
    """The text of an error, with ``�`` for bytes that are not UTF-8."""
    text = undecoded(error) or str(error)
    return text.encode(errors="replace").decode()


def undecoded(error: BaseException | None) -> str:
    """The message that TensorFlow could not decode, if that is the cause of an error; else empty.

    If a message has bytes that are not UTF-8, TensorFlow raises UnicodeDecodeError instead of its own error.
    """
    while error is not None and not isinstance(error, UnicodeDecodeError):
        error = error.__cause__ or error.__context__
    return bytes(error.object).decode(errors="replace") if error else ""

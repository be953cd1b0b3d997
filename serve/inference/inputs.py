"""What a protocol gives to the batcher: values that are not decoded yet."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serve.servables.servable import Array, Arrays

Columns = dict[str, Sequence[Any]]


class InferenceInput(Protocol):
    """A request whose values are not decoded yet. Each protocol has its own class."""

    @property
    def is_exact(self) -> bool:
        """Whether an integer that a float cannot represent exactly is refused."""

    @property
    def rows(self) -> int:
        """The number of rows: an estimate until it is decoded, but at most the number of values received."""

    def columns(self) -> Columns | None:
        """The values of a tabular signature by input, all of the same length; None if anything is unusual."""

    def inputs(self) -> Arrays:
        """One tensor per input.

        Raises:
            InvalidRequest: A value does not fit.
        """


class Decoded:
    """A request that is decoded already.

    Args:
        inputs: The tensors by name.
    """

    is_exact = False

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self._inputs = dict(inputs)

    @property
    def rows(self) -> int:
        """The length of the first tensor that is not a scalar."""
        return next((len(values) for values in self._inputs.values() if values.ndim), 1)

    def columns(self) -> Columns | None:
        """Return None: there is nothing to decode."""
        return None

    def inputs(self) -> Arrays:
        """The tensors."""
        return self._inputs

"""What a protocol hands to the batcher: values that are still as they came, and two ways to tensors."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from serve.servables.servable import Array, Arrays

Columns = dict[str, Sequence[Any]]


class InferenceInput(Protocol):
    """A request whose values are still as they came; each protocol has its own."""

    @property
    def is_exact(self) -> bool:
        """Whether whole numbers that a float cannot hold exactly are refused."""

    @property
    def rows(self) -> int:
        """How many rows it has; a guess, until it is decoded, but never more than values came."""

    def columns(self) -> Columns | None:
        """The values of a tabular signature by input, all of as many rows; None if anything is unusual."""

    def inputs(self) -> Arrays:
        """One tensor per input.

        Raises:
            InvalidRequest: Says what does not fit.
        """


class Decoded:
    """A question whose tensors are known.

    Args:
        inputs: By name.
    """

    is_exact = False

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self._inputs = dict(inputs)

    @property
    def rows(self) -> int:
        """Of the first that has any."""
        return next((len(values) for values in self._inputs.values() if values.ndim), 1)

    def columns(self) -> Columns | None:
        """None: there are no values to decode."""
        return None

    def inputs(self) -> Arrays:
        """As they are."""
        return self._inputs

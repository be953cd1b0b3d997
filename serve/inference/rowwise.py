"""Reports bad rows beside the answers for the good ones, if a request sets ``on_row_error: report``.

The response has as many rows as the request, and a list of errors.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from millrace.errors import shorten
from serve.errors import InvalidRequest, NonFiniteOutput, OutsideDomain
from serve.garbage import forget_stack
from serve.inference.inputs import InferenceInput
from serve.servables.servable import Arrays
from serve.servables.signatures import Signature, TensorInfo
from serve.values.document import describe
from serve.values.tensors import numpy_dtype

PARAMETER: Final = "on_row_error"
REPORT: Final = "report"
FAIL: Final = "fail"
MAX_ERRORS: Final = 1000
"""Rows with an error in the response; of the others it only says that they are bad."""


@dataclass(frozen=True)
class RowError:
    """Why a row has no prediction.

    Attributes:
        row: Its index in the request.
        field: The input or output; empty if it is about the whole row.
        rule: What was expected.
    """

    row: int
    field: str
    rule: str

    def as_dict(self) -> dict[str, Any]:
        """The error as a JSON object."""
        return {"row": self.row, "field": self.field, "rule": shorten(self.rule, 300)}


class RowValidator(Protocol):
    """A request that can be checked row by row. Each protocol has its own class."""

    @property
    def count(self) -> int:
        """The number of rows."""

    def check(self, row: int) -> tuple[str, str] | None:
        """The field and the rule that a row breaks, if any."""

    def only(self, rows: Sequence[int]) -> InferenceInput:
        """The request with only these rows."""


@dataclass(frozen=True)
class Reported:
    """The outputs for all rows of a request.

    Attributes:
        outputs: By name; a bad row has zero or the empty string.
        row_ok: Whether each row is good.
        errors: Of the bad rows, the first `MAX_ERRORS`.
    """

    outputs: Arrays
    row_ok: npt.NDArray[np.bool_]
    errors: list[RowError]


def wants_report(parameters: Any, signature: Signature) -> bool:
    """Whether a request's parameters set ``on_row_error: report``.

    Raises:
        InvalidRequest: The value is unknown, or the inputs of this signature do not count rows.
    """
    if not isinstance(parameters, dict) or PARAMETER not in parameters:
        return False
    if parameters[PARAMETER] not in (REPORT, FAIL):
        raise InvalidRequest(
            f'parameters: {PARAMETER} is "{REPORT}" or "{FAIL}", found {describe(parameters[PARAMETER])}'
        )
    if parameters[PARAMETER] == REPORT and not signature.is_batched:
        raise InvalidRequest(f'parameters: {PARAMETER} "{REPORT}" needs a signature whose first dimension counts rows')
    return bool(parameters[PARAMETER] == REPORT)


async def answer_good_rows(
    validator: RowValidator,
    infer: Callable[[InferenceInput], Awaitable[Arrays]],
    outputs: Mapping[str, TensorInfo],
    work: Callable[..., Awaitable[Any]],
) -> Reported:
    """Run the model on the good rows, and again without rows that it refuses or whose output is not finite.

    Args:
        validator: The request.
        infer: Runs the model.
        outputs: The wanted outputs, for a request without a good row.
        work: Calls a function with its arguments, in a thread if that takes long.

    Raises:
        InvalidRequest: The request as a whole does not fit.
    """
    errors, good = await work(_check_rows, validator)
    answered: Arrays = {}
    while good:
        try:
            answered = await infer(await work(validator.only, good))
            if any(values.shape[:1] != (len(good),) for values in answered.values()):
                raise InvalidRequest(f"{PARAMETER} needs a signature that returns one row per row of the request")
            break
        except (OutsideDomain, NonFiniteOutput) as error:
            refused: dict[int, tuple[str, str]] = {}
            for number, reason in _reasons(error):
                refused.setdefault(good[number], reason)
            errors += [RowError(row, *reason) for row, reason in refused.items()]
            good = [row for row in good if row not in refused]
            forget_stack(error)
    if not good:
        answered = {name: _no_rows(info) for name, info in outputs.items()}
    row_ok = np.zeros(validator.count, np.bool_)
    row_ok[good] = True
    full = await work(_spread_all, answered, row_ok)
    return Reported(full, row_ok, sorted(errors, key=lambda error: error.row)[:MAX_ERRORS])


def _reasons(error: OutsideDomain | NonFiniteOutput) -> Iterator[tuple[int, tuple[str, str]]]:
    """The rows without an answer, each with the field and the reason."""
    if isinstance(error, NonFiniteOutput):
        yield from ((row, (error.output, "the answer is not finite")) for row in error.rows)
    else:
        yield from ((row, (name, rule)) for row, name, rule in error.breaches)


def _check_rows(validator: RowValidator) -> tuple[list[RowError], list[int]]:
    errors, good = [], []
    for row in range(validator.count):
        found = validator.check(row)
        if found:
            errors.append(RowError(row, *found))
        else:
            good.append(row)
    return errors, good


def _spread_all(answered: Arrays, row_ok: npt.NDArray[np.bool_]) -> Arrays:
    return {name: _spread(values, row_ok) for name, values in answered.items()}


def _no_rows(info: TensorInfo) -> npt.NDArray[Any]:
    shape = [0, *(max(0, size) for size in (info.shape or (0,))[1:])]
    return np.zeros(shape, object if info.dtype == "string" else numpy_dtype(info.dtype))


def _spread(values: npt.NDArray[Any], row_ok: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    full = np.zeros((len(row_ok), *values.shape[1:]), values.dtype)
    if values.dtype.kind == "O":
        full[...] = b""
    full[row_ok] = values
    return full

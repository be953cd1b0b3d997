"""Answers the good rows of a request beside bad ones, for clients that ask for it by ``on_row_error: report``.

The answer keeps its length; what is wrong with a row stands beside it.
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

PARAMETER: Final = "on_row_error"
REPORT: Final = "report"
FAIL: Final = "fail"
MAX_ERRORS: Final = 1000
"""Of so many rows an answer says why; of the others only that they are bad."""


@dataclass(frozen=True)
class RowError:
    """Why a row has no answer.

    Attributes:
        row: Its number in the request.
        field: The input or output; empty if it is the row itself.
        rule: What it breaks.
    """

    row: int
    field: str
    rule: str

    def as_dict(self) -> dict[str, Any]:
        """As the protocols write it."""
        return {"row": self.row, "field": self.field, "rule": shorten(self.rule, 300)}


class RowValidator(Protocol):
    """A question whose rows can be told apart; each protocol has its own."""

    @property
    def count(self) -> int:
        """How many rows it has."""

    def check(self, row: int) -> tuple[str, str] | None:
        """The field and the rule that a row breaks, if any."""

    def only(self, rows: Sequence[int]) -> InferenceInput:
        """The same question of some of its rows."""


@dataclass(frozen=True)
class Reported:
    """An answer of full length.

    Attributes:
        outputs: By name; zero, or the empty string, where a row is bad.
        row_ok: Which rows are good.
        errors: Why the others are not.
    """

    outputs: Arrays
    row_ok: npt.NDArray[np.bool_]
    errors: list[RowError]


def wants_report(parameters: Any, signature: Signature) -> bool:
    """Whether a request's parameters ask for it.

    Raises:
        InvalidRequest: They say something else, or nothing in a request for this signature counts rows.
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
    sifting: RowValidator,
    infer: Callable[[InferenceInput], Awaitable[Arrays]],
    outputs: Mapping[str, TensorInfo],
    work: Callable[..., Awaitable[Any]],
) -> Reported:
    """Ask for the rows that fit, and again without those whose values are forbidden or whose answer is no number.

    Args:
        sifting: The request.
        infer: Asks a question.
        outputs: What is answered, for a request without one good row.
        work: Calls a function with its arguments where it may take long.

    Raises:
        InvalidRequest: The request itself does not fit.
    """
    errors, good = await work(_sift, sifting)
    answered: Arrays = {}
    while good:
        try:
            answered = await infer(await work(sifting.only, good))
            if any(values.shape[:1] != (len(good),) for values in answered.values()):
                raise InvalidRequest(f"{PARAMETER} needs a signature that answers one row for each, and this does not")
            break
        except (OutsideDomain, NonFiniteOutput) as error:
            lost: dict[int, tuple[str, str]] = {}
            for number, reason in _reasons(error):
                lost.setdefault(good[number], reason)
            errors += [RowError(row, *reason) for row, reason in lost.items()]
            good = [row for row in good if row not in lost]
            forget_stack(error)
    if not good:
        answered = {name: _none(info) for name, info in outputs.items()}
    row_ok = np.zeros(sifting.count, np.bool_)
    row_ok[good] = True
    full = await work(_spread_all, answered, row_ok)
    return Reported(full, row_ok, sorted(errors, key=lambda error: error.row)[:MAX_ERRORS])


def _reasons(error: OutsideDomain | NonFiniteOutput) -> Iterator[tuple[int, tuple[str, str]]]:
    """The rows that cannot be answered: the field, and the rule that it breaks."""
    if isinstance(error, NonFiniteOutput):
        yield from ((row, (error.output, "the answer is not finite")) for row in error.rows)
    else:
        yield from ((row, (name, rule)) for row, name, rule in error.breaches)


def _sift(sifting: RowValidator) -> tuple[list[RowError], list[int]]:
    errors, good = [], []
    for row in range(sifting.count):
        found = sifting.check(row)
        if found:
            errors.append(RowError(row, *found))
        else:
            good.append(row)
    return errors, good


def _spread_all(answered: Arrays, row_ok: npt.NDArray[np.bool_]) -> Arrays:
    return {name: _spread(values, row_ok) for name, values in answered.items()}


def _none(info: TensorInfo) -> npt.NDArray[Any]:
    shape = [0, *(max(0, size) for size in (info.shape or (0,))[1:])]
    return np.zeros(shape, object if info.dtype == "string" else info.dtype)


def _spread(values: npt.NDArray[Any], row_ok: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    full = np.zeros((len(row_ok), *values.shape[1:]), values.dtype)
    if values.dtype.kind == "O":
        full[...] = b""
    full[row_ok] = values
    return full

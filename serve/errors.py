"""The errors of serving and scoring, and the one table that turns errors into HTTP statuses.

DataRejected
├── InvalidRequest        a request does not fit the protocol or the model's inputs
│   ├── BadValue          one value does not fit its input
│   ├── BodyTooLarge
│   ├── EncodingRefused   a body with an unknown compression
│   ├── OutsideDomain     values that the contract of the model's data does not allow
│   ├── Unimplemented     the protocol has no form for this dtype, or the model does not offer the method
│   ├── UnknownLabel
│   └── UnknownSignature
├── FeatureMismatch
├── NonFiniteOutput       the model returned NaN or infinity
└── TooManyUnseen         a table has more unknown categories than the product allows
ArtifactNotFound
└── ModelNotFound         no such model is served, or no such version is in the store
Refused
├── Forbidden             the client does not have the permission
└── TableDiffers          the predictions table has a column in another type
Unavailable
├── Overloaded            too many requests or rows wait already
├── InferenceLate         the answer took longer than the request's timeout
├── ModelNotReady         the version is in the store, but cannot be served now
├── InferenceFailed       TensorFlow raised an error on inputs that fit the model
├── ScoringFailed         Spark did not finish
├── serve.isolation.process.Ended  the process of a model ended
└── millrace.errors.StorageError   the model store cannot be read

`millrace.errors` defines FeatureMismatch, StorageError, and the base classes without an indent.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from millrace.errors import ArtifactNotFound, DataRejected, FeatureMismatch, Refused, StorageError, Unavailable, shorten
from millrace.models.manifest import ModelDamaged

MAX_MESSAGE_BYTES: Final = 3_900
"""An error body stays under 4 kB."""
MAX_PROBLEMS: Final = 10


class InvalidRequest(DataRejected):
    """A request does not fit. Each problem says where, what was expected and what was found."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        listed = [problems] if isinstance(problems, str) else list(problems)
        more = [f"and {len(listed) - MAX_PROBLEMS} more"] if len(listed) > MAX_PROBLEMS else []
        super().__init__("; ".join([*listed[:MAX_PROBLEMS], *more]))
        self.problems = tuple(listed)


class BodyTooLarge(InvalidRequest):
    """A request body is over the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes")
        self.limit = limit


class EncodingRefused(InvalidRequest):
    """A request body has an unknown compression."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"Content-Encoding {shorten(encoding, 64)} is not accepted: send it plain, as gzip or as deflate"
        )
        self.encoding = encoding


class BadValue(InvalidRequest):
    """One value does not fit its input.

    Attributes:
        name: The input.
        position: The index of the value in row-major order.
        reason: What was found and what was expected.
    """

    def __init__(self, name: str, position: int, reason: str) -> None:
        super().__init__(f"input '{name}', value {position}: {reason}")
        self.name = name
        self.position = position
        self.reason = reason


class OutsideDomain(InvalidRequest):
    """Values fit their inputs, but the contract of the model's data does not allow them.

    Attributes:
        breaches: Row of the request, input and rule, for each value.
    """

    def __init__(self, breaches: Sequence[tuple[int, str, str]]) -> None:
        super().__init__([f"row {row}: input '{name}' {rule}" for row, name, rule in breaches])
        self.breaches = tuple(breaches)


class Unimplemented(InvalidRequest):
    """The protocol has no form for this, or the model does not offer it."""


class UnknownSignature(InvalidRequest):
    """The model has no signature of this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        listed = ", ".join(known[:MAX_PROBLEMS])
        super().__init__(
            f'Serving signature name: "{shorten(name, 64)}" not found in signature def; the model has {listed}'
        )
        self.name = name


class UnknownLabel(InvalidRequest):
    """The model has no version with this label."""

    def __init__(self, label: str) -> None:
        super().__init__(f"Unrecognized servable version label: {shorten(label, 64)}")
        self.label = label


class NonFiniteOutput(DataRejected):
    """The model's output for some rows is NaN or infinite."""

    def __init__(self, output: str, rows: Sequence[int]) -> None:
        listed = ", ".join(map(str, rows[:MAX_PROBLEMS]))
        super().__init__(
            f"output '{output}' is not finite for rows {listed} of the request"
            + (f" and {len(rows) - MAX_PROBLEMS} more" if len(rows) > MAX_PROBLEMS else "")
        )
        self.output = output
        self.rows = tuple(rows)


class ModelNotFound(ArtifactNotFound):
    """No such model is served, or the store has no such version of it. The message is TensorFlow Serving's."""

    def __init__(self, name: str, version: int | None = None, *, hint: str = "") -> None:
        shown = shorten(name, 64)
        super().__init__(kind="model", name=shown, version=version, hint=hint)
        wanted = f"Latest({shown})" if version is None else f"Specific({shown}, {version})"
        self.args = (f"Servable not found for request: {wanted}",)


class ModelNotReady(Unavailable):
    """The version is in the store, but cannot be served now."""

    def __init__(self, name: str, version: int | None, reason: str) -> None:
        which = f"model '{name}'" if version is None else f"version {version} of model '{name}'"
        super().__init__(f"{which} is not ready: {shorten(reason, 400)}")
        self.name = name
        self.version = version
        self.reason = reason


class Overloaded(Unavailable):
    """Too many requests or rows wait already; nothing was computed.

    Attributes:
        retry_after_s: After how many seconds the client may retry.
    """

    def __init__(
        self, what: str, *, hint: str = "retry later, or send fewer requests at the same time", retry_after_s: int = 1
    ) -> None:
        super().__init__(f"the server is busy: {what}", hint=hint)
        self.retry_after_s = retry_after_s


class InferenceLate(Unavailable):
    """The answer took longer than the request's timeout."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"model '{shorten(name, 64)}' did not answer within {seconds:g} s")
        self.name = name
        self.seconds = seconds


class Forbidden(Refused):
    """The client does not have the permission for this."""

    def __init__(self, scope: str) -> None:
        setting = ": the server's setting serve.model_control: true gives it to every client"
        super().__init__(f"this needs the permission '{scope}'{setting if scope == 'control' else ''}")
        self.scope = scope


class TableDiffers(Refused):
    """The predictions table has a column with this name and another type."""

    def __init__(self, column: str, *, found: str, expected: str) -> None:
        super().__init__(
            f"predictions: column '{column}' is {shorten(found, 100)} in the table and {shorten(expected, 100)} now",
            hint="move the old table to another place, or rename the product",
        )
        self.column = column


class InferenceFailed(Unavailable):
    """TensorFlow raised an error although every input fits the model."""

    def __init__(self, name: str, version: int, reason: str) -> None:
        super().__init__(f"model '{name}' version {version} failed: {shorten(reason, 400)}")
        self.name = name
        self.version = version


class TooManyUnseen(DataRejected):
    """A category of a table has more unknown values than the product allows."""

    def __init__(self, unseen: Mapping[str, int], *, rows: int, allowed: float) -> None:
        over = [f"{name} in {count} of {rows} rows" for name, count in unseen.items() if count > allowed * rows]
        shown = shorten(", ".join(over), 400)
        super().__init__(
            f"values that are not in the training data: {shown}; allowed is a share of {allowed:g}",
            hint="nothing was added; train on rows with these values, fix the column, or raise score.max_unseen",
        )
        self.unseen = dict(unseen)
        self.rows = rows


class ScoringFailed(Unavailable):
    """Spark did not finish a scoring job."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Spark did not finish: {reason}", hint="nothing was added; run the command again")
        self.reason = reason


STATUSES: Final[dict[type[BaseException], int]] = {
    BodyTooLarge: 413,
    EncodingRefused: 415,
    Unimplemented: 501,
    InvalidRequest: 400,
    FeatureMismatch: 400,
    # As TensorFlow Serving's OUT_OF_RANGE: the rows of the request are outside of what the model can predict.
    NonFiniteOutput: 400,
    Forbidden: 403,
    ArtifactNotFound: 404,
    Overloaded: 429,
    InferenceLate: 504,
    ModelNotReady: 503,
    ModelDamaged: 503,
    InferenceFailed: 500,
    Unavailable: 503,
}
"""The status of an error class. The nearest base class counts; all other errors get 500."""

FAILED: Final = "the server failed on this request; its log says why"
UNAVAILABLE: Final = "the server cannot answer this request now; its log says why"
STORE_UNAVAILABLE: Final = "the model store cannot be read now"


def status_of(error: BaseException) -> int:
    """The HTTP status that answers an error."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def message_of(error: BaseException) -> str:
    """The message for the client: never a path, a stack or more than 4 kB."""
    status = status_of(error)
    if status == STATUSES[InferenceFailed]:
        return FAILED
    if status == STATUSES[Unavailable] and not isinstance(error, ModelNotReady | ModelDamaged):
        return STORE_UNAVAILABLE if isinstance(error, StorageError) else UNAVAILABLE
    return str(error).encode(errors="replace")[:MAX_MESSAGE_BYTES].decode(errors="ignore")

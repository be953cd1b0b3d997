"""The errors that a user may see, by what to do next.

MillraceError
├── ConfigError          the product file, a profile, an option: fix it, then run again
├── DataRejected         the data broke a rule: nothing was replaced
│   └── FeatureMismatch  rows or a table do not fit a feature spec
├── InputMissing         an input is missing or empty
│   └── ArtifactNotFound a table, model or run is not in the store
├── Refused              a gate or another writer prevented the result
│   └── ArtifactExists   another publisher took the name first
├── Broken               a program failed, and neither data nor configuration is the cause
└── Unavailable          something that the job needs failed or was too slow: worth a retry
    ├── StorageError     the storage failed
    └── Terminated       the process was ended by SIGTERM

Each stage derives its own errors from these in its ``errors.py``. `pipelines.jobs.exits` maps them to exit codes, and
`serve.errors` maps them to HTTP statuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_EXAMPLES = 20
"""An error quotes at most this many offending values."""


def shorten(value: object, limit: int = 200) -> str:
    """Render a value for a message, cut to a limit so that messages do not grow with the data."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class MillraceError(Exception):
    """Base of all errors that a user can fix or wait for.

    Attributes:
        hint: What to do, in one sentence; empty if the message says it.
        details: More about the error, for the run record.
        counts: The rows of the run until then, as fields of its record.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.details: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have other constructors, so unpickling, as on the way back from an executor, must not call them.
        return _remake, (type(self), self.args, self.__dict__)


def _remake(kind: type[MillraceError], args: tuple[Any, ...], attributes: dict[str, Any]) -> MillraceError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration.

    Attributes:
        where: ``file:line``, or ``--set`` for an override.
        key: Dotted key path, such as ``train.epochs``.
        found: The value that was found.
        allowed: The values that are allowed, with a suggestion if one is similar.
    """

    where: str
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.found}; {self.allowed}"


class ConfigError(MillraceError):
    """One or more mistakes in the configuration, each with its file and line."""

    def __init__(self, problems: Sequence[Problem] | str, *, hint: str = "") -> None:
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        message = problems if isinstance(problems, str) else "\n".join(str(p) for p in problems[:MAX_EXAMPLES])
        super().__init__(message, hint=hint)


class DataRejected(MillraceError):
    """The data broke a rule; the current version stays current."""


class FeatureMismatch(DataRejected):
    """A value, column or table does not fit the feature spec."""

    def __init__(self, feature: str, *, expected: str, found: str, hint: str = "") -> None:
        super().__init__(f"{feature}: expected {expected}, found {shorten(found)}", hint=hint)
        self.feature = feature
        self.expected = expected
        self.found = found


class InputMissing(MillraceError):
    """An input is missing or empty."""


class ArtifactNotFound(InputMissing):
    """The store has no such table, model or run."""

    def __init__(self, *, kind: str, name: str, version: int | None = None, hint: str = "") -> None:
        which = f"{kind} '{name}'" if version is None else f"version {version} of {kind} '{name}'"
        super().__init__(f"there is no {which} in the store", hint=hint)
        self.kind = kind
        self.name = name
        self.version = version


class Refused(MillraceError):
    """A gate or another writer prevented the result; nothing was replaced."""


class ArtifactExists(Refused):
    """Another publisher took this name or number first."""

    def __init__(self, *, kind: str, name: str) -> None:
        super().__init__(f"{kind} '{name}' exists already")
        self.kind = kind
        self.name = name


class Broken(MillraceError):
    """A program failed in a way that is neither the data's nor the configuration's fault; another try may not help."""


class Unavailable(MillraceError):
    """Something that the job needs, such as Spark, a rank, a database or a server, failed or was too slow; retry."""


class StorageError(Unavailable):
    """The file system or the store failed."""


class Terminated(Unavailable):
    """SIGTERM ended the process; what was committed stays."""

    def __init__(self) -> None:
        super().__init__("ended by SIGTERM", hint="nothing that was committed is lost, run the same command again")


BASES: Final[tuple[type[MillraceError], ...]] = (
    ConfigError,
    DataRejected,
    InputMissing,
    Refused,
    Broken,
    Unavailable,
)
"""The classes that say what to do next."""

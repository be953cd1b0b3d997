"""The errors that a user may meet, by what should happen next.

MillraceError
├── ConfigError          the product file, a profile, an option: mend it, then run again
├── DataRejected         the data broke a rule: nothing was replaced
│   └── FeatureMismatch  rows or a table do not fit a feature spec
├── InputMissing         a named input is not there, or is empty
│   └── ArtifactNotFound a table, model or run that the store does not hold
├── Refused              a gate or another writer said no
│   └── ArtifactExists   another publisher took the name first
└── Unavailable          something that the job needs failed or was too slow: worth a retry
    ├── StorageError     the storage failed
    └── Terminated       the process was asked to end (SIGTERM)

Each stage derives its own from these in its ``errors.py``. `pipelines.jobs.exits` turns them into exit codes,
`serve.errors` into HTTP statuses; neither is known here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAX_EXAMPLES = 20
"""How many offending values an error quotes at most."""


def shorten(value: object, limit: int = 200) -> str:
    """Render a value for a message, cut so that no message grows with the data."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class MillraceError(Exception):
    """Base of everything that a user can mend or wait for.

    Attributes:
        hint: What to do about it, one sentence; empty when the message says it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Those below have constructors of their own; what comes back from an executor is what was sent.
        return _remake, (type(self), self.args, self.__dict__)


def _remake(kind: type[MillraceError], args: tuple[Any, ...], attributes: dict[str, Any]) -> MillraceError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration, and where it stands.

    Attributes:
        where: ``file:line``, or ``--set`` for an override.
        key: Dotted key path, such as ``train.epochs``.
        found: What stands there.
        allowed: What may stand there, with a suggestion where one is near.
    """

    where: str
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: {self.found}; {self.allowed}"


class ConfigError(MillraceError):
    """One or more mistakes in the configuration, each with its place."""

    def __init__(self, problems: Sequence[Problem] | str, *, hint: str = "") -> None:
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        message = problems if isinstance(problems, str) else "\n".join(str(p) for p in problems[:MAX_EXAMPLES])
        super().__init__(message, hint=hint)


class DataRejected(MillraceError):
    """The data broke a rule; what was current before stays current."""


class FeatureMismatch(DataRejected):
    """A value, column or table does not fit the feature spec."""

    def __init__(self, feature: str, *, expected: str, found: str) -> None:
        super().__init__(f"{feature}: expected {expected}, found {shorten(found)}")
        self.feature = feature
        self.expected = expected
        self.found = found


class InputMissing(MillraceError):
    """A named input is not there, or holds nothing."""


class ArtifactNotFound(InputMissing):
    """The store holds no such table, model or run."""

    def __init__(self, *, kind: str, name: str, version: int | None = None, hint: str = "") -> None:
        which = f"{kind} '{name}'" if version is None else f"version {version} of {kind} '{name}'"
        super().__init__(f"there is no {which} in the store", hint=hint)
        self.kind = kind
        self.name = name
        self.version = version


class Refused(MillraceError):
    """A gate, or another writer, said no; nothing was replaced."""


class ArtifactExists(Refused):
    """Another publisher took this name or number first."""

    def __init__(self, *, kind: str, name: str) -> None:
        super().__init__(f"{kind} '{name}' is already there")
        self.kind = kind
        self.name = name


class Unavailable(MillraceError):
    """Something that the job needs, such as Spark, a rank, a database or a server, failed or was too slow; retry."""


class StorageError(Unavailable):
    """The file system or the store failed."""


class Terminated(Unavailable):
    """The process was asked to end by SIGTERM; what was committed stays."""

    def __init__(self) -> None:
        super().__init__("ended by SIGTERM", hint="nothing that was committed is lost, run the same command again")

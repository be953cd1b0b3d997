"""The typed section `schedule`: when stages run by themselves, in words that every scheduler can be given."""

from typing import Annotated, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from millrace.config.sections.names import Name
from millrace.cron import check_cron
from millrace.dotted import suggestion
from millrace.section import Section

Stage = Literal["ingest", "train", "score"]
_ORDER: Final[tuple[str, ...]] = get_args(Stage)


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        zones = available_timezones()
        near = suggestion(name, zones)
        raise ValueError(near if near.startswith("did") else "expected a name such as Europe/Paris or UTC") from None
    return name


def _as_tuple(value: Any) -> Any:
    # Below a validator that looked at Python's values, strictness no longer takes JSON's list for a tuple.
    return tuple(value) if isinstance(value, list) else value


class Retries(Section):
    """What happens after a failure that may pass: storage or cluster away, a process that died."""

    max_attempts: int = Field(4, ge=1, le=100)
    """How often a stage is tried in all."""
    wait_s: float = Field(60, gt=0, le=86_400)
    """Seconds before the second attempt; each later wait is twice as long, and up to a quarter longer by chance."""
    max_wait_s: float = Field(3_600, gt=0, le=86_400)
    """No wait grows beyond this, the part by chance aside."""

    @model_validator(mode="after")
    def _grows(self) -> "Retries":
        if self.max_wait_s < self.wait_s:
            raise ValueError("max_wait_s is less than wait_s")
        return self


class Entry(Section):
    """Stages that run at the moments of a cron expression."""

    cron: Annotated[str, AfterValidator(check_cron)]
    """Minute, hour, day, month, weekday, such as ``30 2 * * *``: half past two every day."""
    timezone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    """Where these times are read from a clock, such as Europe/Paris."""
    stages: Annotated[tuple[Stage, ...], BeforeValidator(_as_tuple)] = Field(min_length=1)
    """What runs, one after another; the first that fails ends the tick."""
    deadline_s: float = Field(14_400, ge=1)
    """A stage that runs longer is ended with all its processes."""
    retries: Retries = Retries()
    """What happens after a failure that may pass."""
    input_wait_s: float = Field(86_400, ge=0)
    """How long a tick waits for an input that is not there yet, before it counts as failed."""
    max_active: Literal[1] = 1
    """Ticks of an entry run one after another."""
    catch_up: Literal["all", "latest", "none"] = "latest"
    """Which of the ticks that passed while nothing could run are made up for."""

    @model_validator(mode="after")
    def _in_order(self) -> "Entry":
        if list(self.stages) != [stage for stage in _ORDER if stage in self.stages]:
            raise ValueError(f"stages: expected each once, in the order {', '.join(_ORDER)}")
        return self


def _with_names(values: Any) -> Any:
    unnamed = isinstance(values, dict) and any(
        key in Entry.model_fields and not isinstance(value, dict) for key, value in values.items()
    )
    if isinstance(values, list) or unnamed:
        raise ValueError("an entry has no name; expected a name, such as 'daily:', and cron and stages below it")
    return values


Schedule = Annotated[dict[Name, Entry], BeforeValidator(_with_names)]

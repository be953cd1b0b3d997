"""The typed section `schedule`: when stages run automatically, in terms that every scheduler understands."""

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
    # In strict mode, pydantic accepts a list for a tuple only if it parses JSON itself.
    return tuple(value) if isinstance(value, list) else value


class Retries(Section):
    """Retries after exit code 75 (storage or cluster unavailable) and after a process that died."""

    max_attempts: int = Field(4, ge=1, le=100)
    """Largest number of attempts of a stage, the first one included."""
    wait_s: float = Field(60, gt=0, le=86_400)
    """Seconds before the second attempt. Each later wait is twice as long, plus a random part of up to a quarter."""
    max_wait_s: float = Field(3_600, gt=0, le=86_400)
    """Upper bound of a wait in seconds, without the random part."""

    @model_validator(mode="after")
    def _check_order(self) -> "Retries":
        if self.max_wait_s < self.wait_s:
            raise ValueError("max_wait_s is less than wait_s")
        return self


class Entry(Section):
    """Stages that run at the times of a cron expression."""

    cron: Annotated[str, AfterValidator(check_cron)]
    """Minute, hour, day, month and weekday. For example, ``30 2 * * *`` is 02:30 every day."""
    timezone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    """Time zone of these times, such as Europe/Paris."""
    stages: Annotated[tuple[Stage, ...], BeforeValidator(_as_tuple)] = Field(min_length=1)
    """Stages to run, one after another; if one fails, the later ones do not run at this time."""
    deadline_s: float = Field(14_400, ge=1)
    """Seconds after which a stage is ended, with all its processes."""
    retries: Retries = Retries()
    """Retries after a temporary failure."""
    input_wait_s: float = Field(86_400, ge=0)
    """Seconds to wait for a missing input before the run counts as failed (`input_missing`)."""
    max_active: Literal[1] = 1
    """Runs of one entry never overlap."""
    catch_up: Literal["all", "latest", "none"] = "latest"
    """Which of the times that were missed, for example because no scheduler ran, are run later."""

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

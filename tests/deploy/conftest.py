"""docker-compose.yml as Compose reads it, with the variables of ``.env`` filled in."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(\w+)(?::?-([^}]*))?\}|(\w+))")


def variables_of(value: Any) -> set[str]:
    """Return the names of all variables in a tree of values."""
    if isinstance(value, dict):
        return set().union(*map(variables_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(variables_of, value))
    return {found[1] or found[3] for found in _VARIABLE.finditer(str(value))} - {None}


def resolve(value: Any, env: dict[str, str | None]) -> Any:
    """Fill in variables as Compose does; a variable without a value and a default is an error here."""
    if isinstance(value, dict):
        return {key: resolve(each, env) for key, each in value.items()}
    if isinstance(value, list):
        return [resolve(each, env) for each in value]
    if not isinstance(value, str):
        return value
    return _VARIABLE.sub(lambda found: "$" if found[0] == "$$" else _value(found, env), value)


def _value(found: re.Match[str], env: dict[str, str | None]) -> str:
    value = env.get(found[1] or found[3]) or found[2]
    assert value is not None, f"{found[0]} is not in .env"
    return value


@pytest.fixture(scope="session")
def raw() -> dict[str, Any]:
    """The file before variables are filled in."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


@pytest.fixture(scope="session")
def dotenv() -> dict[str, str | None]:
    return dotenv_values(ROOT / ".env")


@pytest.fixture(scope="session")
def compose(raw: dict[str, Any], dotenv: dict[str, str | None]) -> dict[str, Any]:
    """The file after variables are filled in."""
    resolved: dict[str, Any] = resolve(raw, dotenv)
    return resolved

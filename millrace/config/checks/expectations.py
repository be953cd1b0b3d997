"""Checks names and arguments of expectations with the JSON schemas in Great Expectations, without importing it."""

import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from millrace.config.sections.product import Config
from millrace.config.yaml.document import Document
from millrace.dotted import suggestion
from millrace.errors import Problem

RESERVED: Final = frozenset(
    {"batch_id", "catch_exceptions", "id", "meta", "metadata", "rendered_content", "result_format", "windows"}
)
"""Arguments that a product file must not set: ingest sets them itself, or they have no effect."""

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@cache
def _folder() -> Path | None:
    spec = importlib.util.find_spec("great_expectations")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], "expectations", "core", "schemas")


def snake_case(name: str) -> str:
    """Convert ``ExpectColumnKLDivergenceToBeLessThan`` to ``expect_column_kl_divergence_to_be_less_than``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def _schemas() -> dict[str, Path]:
    folder = _folder()
    return {snake_case(p.stem): p for p in folder.glob("*.json") if p.stem != "index"} if folder else {}


@cache
def arguments_of(name: str) -> dict[str, Any]:
    """The JSON schema of an expectation's arguments."""
    schema: dict[str, Any] = json.loads(_schemas()[name].read_text())
    return schema


def check_expectations(config: Config, document: Document) -> list[Problem]:
    """Report unknown expectations and wrong arguments; none if Great Expectations is not installed."""
    problems = []
    for number, item in enumerate(config.contract.expectations):
        for name, arguments in item.items():
            path = ("contract", "expectations", str(number), name)
            for found, allowed in _find_mistakes(name, arguments):
                problems.append(Problem(document.location(path), ".".join(path), found, allowed))
    return problems


def _find_mistakes(name: str, arguments: dict[str, Any]) -> list[tuple[str, str]]:
    if not _schemas():
        return []
    if name not in _schemas():
        return [(f"unknown expectation '{name}'", suggestion(name, set(_schemas())))]
    schema = arguments_of(name)
    known = {key: value for key, value in schema["properties"].items() if key not in RESERVED}
    mistakes = [
        (f"unknown argument '{key}'", suggestion(key, known))
        if key not in known
        else (f"argument '{key}' is {json.dumps(value)}", f"expected {_kinds(known[key])}")
        for key, value in arguments.items()
        if key not in known or not _fits(value, known[key])
    ]
    mistakes += [*_bad_patterns(arguments), *_bad_bounds(arguments)]
    missing = [key for key in schema.get("required", ()) if key not in arguments]
    return mistakes + [(f"argument '{key}' is missing", "it has no default") for key in missing]


def _bad_patterns(arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield invalid regular expressions; syntax that only Java has, such as \\p{L}, is not checked."""
    for key in ("regex", "regex_list"):
        given = arguments.get(key)
        for pattern in given if isinstance(given, list) else [given]:
            try:
                re.compile(pattern if isinstance(pattern, str) else "")
            except re.error as error:
                if not error.msg.startswith(("bad escape", "unknown extension", "look-behind")):
                    yield f"argument '{key}' is {json.dumps(pattern)}", f"not a regular expression: {error}"


def _bad_bounds(arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        yield f"min_value {low} is more than max_value {high}", "no value is between them"


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value matches a schema's type and bounds; references in the schema are not checked."""
    return any(_is_a(value, option) for option in schema.get("anyOf") or [schema])


def _is_a(value: Any, schema: dict[str, Any]) -> bool:
    if schema.get("type") not in _TYPES:
        return True
    if not isinstance(value, _TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return False
    is_number = schema["type"] in ("number", "integer")
    return not is_number or bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))


def _kinds(schema: dict[str, Any]) -> str:
    """The types that a schema allows, for a message; without objects, which only Python code can give."""
    kinds = []
    for option in schema.get("anyOf") or [schema]:
        low, high = option.get("minimum"), option.get("maximum")
        bounds = "" if low is None or high is None else f" from {low:g} to {high:g}"
        kinds += [f"{option['type']}{bounds}"] if option["type"] != "object" else []
    return " or ".join(dict.fromkeys(kinds))

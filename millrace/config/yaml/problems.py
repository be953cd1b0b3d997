"""Turns pydantic's errors into problems of one line: location, key, what was found, what is allowed."""

from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from millrace.config.sections.names import SPELLING
from millrace.config.yaml.document import Document
from millrace.dotted import suggestion
from millrace.errors import Problem, shorten

_ALLOWED: Final = {
    "int": "expected a whole number",
    "float": "expected a number",
    "finite": "expected a finite number",
    "string": "expected text",
    "bool": "expected true or false",
    "dict": "expected keys and values",
    "model": "expected keys and values",
    "tuple": "expected a list, such as [a, b]",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected at least {min_length} of them",
    "too_long": "expected at most {max_length} of them",
}
"""What is allowed, by the type of the pydantic error or the first word of the type."""

_SYNONYMS: Final = {"format": "pattern", "nullValue": "null_values", "name": "from", "dtype": "type"}
"""Keys of other tools, with ours."""


def problems_of(error: ValidationError, root: type[BaseModel], document: Document) -> list[Problem]:
    """Describe every validation error; a value that matches none of several types gives one problem."""
    found: dict[tuple[str, str], list[Problem]] = {}
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]:
            continue  # caused by items that have problems of their own
        problem = _problem(details, root, document)
        found.setdefault((problem.where, problem.key), []).append(problem)
    return [_joined(problems) for problems in found.values()]


def _joined(problems: list[Problem]) -> Problem:
    first = problems[0]
    expected = list(dict.fromkeys(p.allowed.partition(";")[0] for p in problems))
    if len(expected) == 1:
        return first
    near = next((way for way in expected if way.startswith("did you mean")), None)
    allowed = near or "expected " + " or ".join(way.removeprefix("expected ") for way in expected)
    return Problem(first.where, first.key, first.found, allowed)


def _problem(details: ErrorDetails, root: type[BaseModel], document: Document) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    path = _document_path(details["loc"], document.values, missing=kind == "missing")
    if kind.startswith("union_tag"):
        path = (*path, str(context["discriminator"]).rpartition("| ")[2].strip("'"))
    found, allowed = _key_mistake(details, path, root) or (f"found {_show(details['input'])}", _allowed(details))
    allowed = _special(details, path) or allowed
    return Problem(document.location(path), ".".join(path) or "(top)", found, allowed)


def _special(details: ErrorDetails, path: tuple[str, ...]) -> str:
    """What is allowed, for mistakes whose cause is another one than the value; empty for others."""
    value = details["input"]
    text = value if isinstance(value, str) else path[-1] if path else ""
    if text.count("(") != text.count(")"):
        return 'within { } a comma ends a value; put the value in quotes, such as "decimal(10,2)"'
    if path[-1:] == ("nullValue",) and isinstance(value, list):
        return "expected one text; null_values of a column takes more"
    if path[:1] == ("sources",) and "columns" in path[2:-1] and details["type"] == "string_pattern_mismatch":
        return "expected letters, digits and _, such as dep_delay; from: takes the name in the file"
    return ""


def _key_mistake(details: ErrorDetails, path: tuple[str, ...], root: type[BaseModel]) -> tuple[str, str] | None:
    """What was found and what is allowed, if the mistake is a key or the tag that selects the kind of a section."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        keys = _allowed_keys(root, details["loc"])
        ours = _SYNONYMS.get(path[-1])
        return f"unknown key '{path[-1]}'", suggestion(ours if ours in keys else path[-1], keys)
    if kind == "missing":
        return f"'{path[-1]}' is missing", "it has no default"
    if kind == "union_tag_not_found":
        tags = {tag for model in _models_at(root, details["loc"]) if (tag := _tag_of(model))}
        return f"'{path[-1]}' is missing", suggestion("", tags)
    if kind == "union_tag_invalid":
        return f"found '{context['tag']}'", suggestion(str(context["tag"]), _parse_words(context["expected_tags"]))
    return None


def _allowed(details: ErrorDetails) -> str:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind == "literal_error":
        return suggestion(str(value), _parse_words(context["expected"]))
    if kind == "string_pattern_mismatch":
        return SPELLING.get(context["pattern"], f"expected text like {context['pattern']}")
    if kind == "string_type" and isinstance(value, int | float):
        return "expected text in quotes"
    if kind.startswith("int_") and isinstance(value, float) and value.is_integer():
        return f"expected a whole number, such as {value:.0f}"
    allowed = _ALLOWED.get(kind) or _ALLOWED.get(kind.partition("_")[0])
    message = details["msg"].removeprefix("Value error, ")
    return allowed.format(**context) if allowed else message[0].lower() + message[1:]


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"keys {shorten(', '.join(map(str, value)), 80)}" if value else "no keys"
    return shorten(repr(value), 80)


def _parse_words(words: object) -> set[str]:
    """Parse the words in pydantic's ``'a', 'b' or 'c'``."""
    return {word.strip("' ") for word in str(words).replace(" or ", ",").split(",")}


def _document_path(loc: tuple[int | str, ...], values: Any, *, missing: bool) -> tuple[str, ...]:
    """The key path of pydantic's location, without the names of union members, which are not in the document."""
    path: list[str] = []
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if isinstance(values, dict) and (part in values or (missing and last)):
            path.append(str(part))
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            path.append(str(part))
            values = values[part] if part < len(values) else None
        elif isinstance(values, dict) and part == "[key]":
            break
    return tuple(path)


def _allowed_keys(root: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The keys of the model that the last part of a location belongs to."""
    return {f.alias or name for model in _models_at(root, loc[:-1]) for name, f in model.model_fields.items()}


def _models_at(root: type[BaseModel], loc: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The models that are possible at a location."""
    models = [root]
    for part in loc:
        below: list[type[BaseModel]] = []
        for model in models:
            field = model.model_fields.get(str(part)) or next(
                (f for f in model.model_fields.values() if f.alias == part), None
            )
            below += _models_of(field.annotation) if field else []
        tagged = [m for m in models if _tag_of(m) == part]
        models = below or tagged or models
    return models


def _tag_of(model: type[BaseModel]) -> str | None:
    for name in ("kind", "by"):
        if name in model.model_fields:
            values = get_args(model.model_fields[name].annotation)
            return str(values[0]) if values else None
    return None


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """Every model class in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_of(argument)]

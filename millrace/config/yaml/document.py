"""YAML documents that keep the line of each key, so that an error can name it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from millrace.dotted import suggestion
from millrace.errors import ConfigError, Problem

Path_ = tuple[str, ...]


class _Loader(yaml.SafeLoader):
    """Loads scalars as YAML 1.2: only true and false are booleans, 1e-3 is a number, 2013-10-20 and 10:30 are text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag.rpartition(":")[2] in ("null", "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_BOOL: Final = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT: Final = re.compile(r"^(?:[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT: Final = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value).replace("_", "")
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


@dataclass(frozen=True)
class Document:
    """A tree of plain values, with the location of every key.

    Attributes:
        name: The file's path as the user gave it.
        values: The tree.
        locations: ``file:line`` by key path; a list item's key is its number.
    """

    name: str
    values: dict[str, Any]
    locations: Mapping[Path_, str] = field(default_factory=dict)

    def below(self, path: Path_) -> "Document":
        """The part of the document below a key, with the same locations."""
        values: Any = self.values
        for key in path:
            values = values.get(key, {}) if isinstance(values, dict) else {}
        here = self.location(path)
        locations = {full[len(path) :]: line for full, line in self.locations.items() if full[: len(path)] == path}
        return Document(here, values, {(): here, **locations})

    def location(self, path: Path_) -> str:
        """The location of a key; if the document has no such key, the location of the nearest key above it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.locations:
                return self.locations[path[:length]]
        return self.name


def load_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: The file does not exist, is not YAML or not a mapping, or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file", hint=_near_file(path)) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, not a file", hint=_near_file(path / "*")) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    document = _parse(text, str(path))
    if not isinstance(document.values, dict):
        raise ConfigError(f"{path}: expected keys and values at the top level, such as 'product: flights'")
    return document


def _near_file(path: Path) -> str:
    known = {file.name for file in path.parent.glob("*.y*ml")}
    return suggestion(path.name, known) if known else "name a product file, such as conf/pipelines/flights.yaml"


def _parse(text: str, name: str) -> Document:
    locations: dict[Path_, str] = {(): f"{name}:1"}
    problems: list[Problem] = []
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _find_locations(root, (), locations, problems)
        values: Any = None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = ", ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
        raise ConfigError(f"{name}{line}: not YAML: {reason or str(error).splitlines()[0]}") from error
    except ValueError as error:
        raise ConfigError(f"{name}: a value does not match its YAML tag: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply, or an alias that contains itself") from error
    if problems:
        raise ConfigError(problems)
    return Document(name, values, locations)


def _find_locations(node: yaml.Node, path: Path_, locations: dict[Path_, str], problems: list[Problem]) -> None:
    """Add the location of every key below a node, and a problem for every repeated key."""
    name = locations[()].rpartition(":")[0]
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            locations[*path, str(number)] = f"{name}:{item.start_mark.line + 1}"
            _find_locations(item, (*path, str(number)), locations, problems)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                key.tag = "tag:yaml.org,2002:str"  # keys such as 5, true and ~ are text
            here = (*path, str(key.value))
            location = f"{name}:{key.start_mark.line + 1}"
            if here in locations:
                first = f"first defined at {locations[here]}"
                problems.append(Problem(location, ".".join(here), "duplicate key", first))
            locations[here] = location
            _find_locations(value, here, locations, problems)


def merge(lower: Document, upper: Document) -> Document:
    """Merge two documents: mappings are merged, all other values of `upper` replace those of `lower`."""
    locations = {path: location for path, location in upper.locations.items() if path}
    return Document(lower.name, _merge(lower.values, upper.values), {**lower.locations, **locations})


def _merge(lower: Any, upper: Any) -> Any:
    if isinstance(lower, dict) and isinstance(upper, dict):
        return {**lower, **{key: _merge(lower.get(key), value) for key, value in upper.items()}}
    return upper


def apply_settings(settings: list[str], lower: Document) -> Document:
    """Apply ``a.b=value`` settings to a document; each replaces the value at its key, also a mapping.

    Raises:
        ConfigError: A setting has no ``=``, or its value is not YAML.
    """
    document = lower
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = tuple(key.split("."))
        if not equals or not all(path):
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as train.epochs=5")
        value = _parse(text, f"--set {key}").values
        kept = {full: line for full, line in document.locations.items() if full[: len(path)] != path}
        values = _replace(document.values, path, value, f"--set {key}")
        made = (path[:length] for length in range(1, len(path) + 1))  # and the keys above, if the file lacks them
        kept |= {full: f"--set {key}" for full in made if full not in kept}
        document = Document(document.name, values, kept)
    return document


def _replace(values: Any, path: Path_, value: Any, name: str) -> Any:
    if not path:
        return value
    if isinstance(values, list):
        number = int(path[0]) if path[0].isdecimal() else len(values)
        if number >= len(values):
            raise ConfigError(f"{name}: there is no item '{path[0]}'; expected a number from 0 to {len(values) - 1}")
        return [*values[:number], _replace(values[number], path[1:], value, name), *values[number + 1 :]]
    below = values if isinstance(values, dict) else {}
    return {**below, path[0]: _replace(below.get(path[0]), path[1:], value, name)}

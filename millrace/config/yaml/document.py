"""YAML documents that remember where each key stands, so that an error can name the line."""

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
    """YAML 1.2's scalars: only true and false are booleans, 1e-3 is a number, 2013-10-20 and 10:30 are text."""


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
    """A tree of plain values and the place of every key in it.

    Attributes:
        name: The file's path as the user gave it.
        values: The tree.
        places: ``file:line`` by key path; list items by their number.
    """

    name: str
    values: dict[str, Any]
    places: Mapping[Path_, str] = field(default_factory=dict)

    def below(self, path: Path_) -> "Document":
        """The part of it that stands at a key; its places are those of the whole."""
        values: Any = self.values
        for key in path:
            values = values.get(key, {}) if isinstance(values, dict) else {}
        places = {full[len(path) :]: place for full, place in self.places.items() if full[: len(path)] == path}
        return Document(self.place(path), values, {(): self.place(path), **places})

    def place(self, path: Path_) -> str:
        """Where a key stands, or the nearest key above it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.name


def load_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: No such file, not YAML, not a mapping, or a key that stands twice.
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
        raise ConfigError(f"{path}: expected keys and values at the top, such as 'product: flights'")
    return document


def _near_file(path: Path) -> str:
    known = {file.name for file in path.parent.glob("*.y*ml")}
    return suggestion(path.name, known) if known else "name a product file, such as conf/pipelines/flights.yaml"


def _parse(text: str, name: str) -> Document:
    places: dict[Path_, str] = {(): f"{name}:1"}
    problems: list[Problem] = []
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _walk(root, (), name, places, problems)
        values: Any = None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = ", ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
        raise ConfigError(f"{name}{line}: not YAML: {reason or str(error).splitlines()[0]}") from error
    except ValueError as error:
        raise ConfigError(f"{name}: a value does not fit its tag: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deep, or an alias that holds itself") from error
    if problems:
        raise ConfigError(problems)
    return Document(name, values, places)


def _walk(node: yaml.Node, path: Path_, name: str, places: dict[Path_, str], problems: list[Problem]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            places[*path, str(number)] = f"{name}:{item.start_mark.line + 1}"
            _walk(item, (*path, str(number)), name, places, problems)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
                key.tag = "tag:yaml.org,2002:str"  # 5, true and ~ are text where they are keys
            here = (*path, str(key.value))
            place = f"{name}:{key.start_mark.line + 1}"
            if here in places:
                first = f"it stands first at {places[here]}"
                problems.append(Problem(place, ".".join(here), "the key stands twice", first))
            places[here] = place
            _walk(value, here, name, places, problems)


def merge(lower: Document, upper: Document) -> Document:
    """Lay one document over another: mappings merge, everything else is replaced."""
    places = {path: place for path, place in upper.places.items() if path}
    return Document(lower.name, _merge(lower.values, upper.values), {**lower.places, **places})


def _merge(lower: Any, upper: Any) -> Any:
    if isinstance(lower, dict) and isinstance(upper, dict):
        return {**lower, **{key: _merge(lower.get(key), value) for key, value in upper.items()}}
    return upper


def overrides(settings: list[str], lower: Document) -> Document:
    """Lay ``a.b=value`` settings over a document; each replaces the value that stands there, mappings too.

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
        kept = {place: where for place, where in document.places.items() if place[: len(path)] != path}
        values = _replace(document.values, path, value, f"--set {key}")
        document = Document(document.name, values, {**kept, path: f"--set {key}"})
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

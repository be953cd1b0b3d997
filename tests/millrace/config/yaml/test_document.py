"""YAML as people expect it, each key with its place, and no surprise that is not a message."""

from pathlib import Path
from typing import Any

import pytest

from millrace.config.yaml.document import Document, apply_settings, load_document, merge
from millrace.errors import ConfigError


def load(tmp_path: Path, text: str, name: str = "a.yaml") -> Document:
    path = tmp_path / name
    path.write_text(text)
    return load_document(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("N", "N"),
        ("5", 5),
        ("-5", -5),
        ("010", 10),
        ("08", 8),
        ("0x1F", 31),
        ("0o17", 15),
        ("10_000", 10_000),
        ("10:30", "10:30"),
        ("1e-2", 0.01),
        ("2E3", 2000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("e5", "e5"),
        ("1.2.3", "1.2.3"),
        ("-", None),
        ("2013-10-20", "2013-10-20"),
        ("2013-13-45", "2013-13-45"),
        ("2013-10-20 10:00:00", "2013-10-20 10:00:00"),
        ("null", None),
        ("~", None),
        ("", None),
        ("NA", "NA"),
        ("'5'", "5"),
        ("[1, a]", [1, "a"]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
        ("!!str 5", "5"),
    ],
)
def test_scalars(text: str, value: Any, tmp_path: Path) -> None:
    if text == "-":
        assert load(tmp_path, "a:\n  -").values == {"a": [None]}
        return
    found = load(tmp_path, f"a: {text}").values["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_always_text(tmp_path: Path) -> None:
    document = load(tmp_path, "on: {5: 1, true: 2, ~: 3, 1e-2: 4, 2013-10-20: 5}")
    assert document.values == {"on": {"5": 1, "true": 2, "~": 3, "1e-2": 4, "2013-10-20": 5}}
    assert ("on", "true") in document.locations


def test_places(tmp_path: Path) -> None:
    document = load(tmp_path, "# one\na:\n  b: [x,\n      y]\n  c: {d: 1}\n")
    name = document.name
    places = {"a": 2, "a.b": 3, "a.b.0": 3, "a.b.1": 4, "a.c": 5, "a.c.d": 5}
    assert {k: document.location(tuple(k.split("."))) for k in places} == {k: f"{name}:{n}" for k, n in places.items()}
    assert document.location(("a", "c", "nowhere", "deep")) == f"{name}:5"
    assert document.location(("nowhere",)) == f"{name}:1"


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    document = load(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n")
    assert document.values == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "a.yaml:1: not YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("a:\n\tb: 1", "a.yaml:2: not YAML: while scanning for the next token, found character '\\t'"),
        ("a: b: c", "a.yaml:1: not YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "a.yaml:2: not YAML: expected a single document in the stream"),
        ("a: *b", "a.yaml:1: not YAML: found undefined alias 'b'"),
        ("a: !python/name:os.system x", "a.yaml:1: not YAML: could not determine a constructor for the tag"),
        ("? [a]\n: 1", "a.yaml:1: not YAML: while constructing a mapping, found unhashable key"),
        ("a: \x01", "a.yaml: not YAML: unacceptable character"),
        ("a: !!int x", "a.yaml: a value does not match its YAML tag"),
        ("a: &a [*a]", "a.yaml: nested too deeply, or an alias that contains itself"),
        ("a: " + "[" * 1500, "a.yaml: nested too deep"),
        ("", "a.yaml: expected keys and values at the top"),
        ("# nothing", "a.yaml: expected keys and values at the top"),
        ("- a", "a.yaml: expected keys and values at the top"),
        ("text", "a.yaml: expected keys and values at the top"),
        ("a: 1\nb:\n  c: 2\n  c: 3\na: 2", "a.yaml:4: b.c: duplicate key; first defined at"),
        ("a: {b: 1, 'b': 2}", "a.yaml:1: a.b: duplicate key"),
    ],
)
def test_what_is_no_document(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_every_double_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "a: 1\na: 2\nb: 1\nb: 2\n")
    assert [p.where.rpartition(":")[2] for p in caught.value.problems] == ["2", "4"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    load(tmp_path, "a: 1", "flights.yaml")
    with pytest.raises(ConfigError, match=r"fligths\.yaml: there is no such file") as caught:
        load_document(tmp_path / "fligths.yaml")
    assert caught.value.hint == "did you mean 'flights.yaml'?"
    with pytest.raises(ConfigError) as caught:
        load_document(tmp_path / "nowhere" / "a.yaml")
    assert "conf/pipelines/flights.yaml" in caught.value.hint


def test_a_folder_and_bytes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, not a file"):
        load_document(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"b\.yaml: cannot be read"):
        load_document(tmp_path / "b.yaml")


def test_merging_mappings(tmp_path: Path) -> None:
    lower = load(tmp_path, "a: {x: 1, y: [1, 2]}\nb: 1\n", "lower.yaml")
    upper = load(tmp_path, "a:\n  y: [3]\n  z: 4\nc: 5\n", "upper.yaml")
    merged = merge(lower, upper)
    assert merged.values == {"a": {"x": 1, "y": [3], "z": 4}, "b": 1, "c": 5}
    assert merged.location(("a", "x")) == f"{tmp_path}/lower.yaml:1"
    assert merged.location(("a", "y")) == f"{tmp_path}/upper.yaml:2"
    assert merged.location(("missing",)) == f"{tmp_path}/lower.yaml:1"


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (["a.x=5"], {"a": {"x": 5, "y": [{"k": 1}, {"k": 2}]}}),
        (["a.x=1e-2"], {"a": {"x": 0.01, "y": [{"k": 1}, {"k": 2}]}}),
        (["a.x=b=c"], {"a": {"x": "b=c", "y": [{"k": 1}, {"k": 2}]}}),
        (["a.x="], {"a": {"x": None, "y": [{"k": 1}, {"k": 2}]}}),
        (["a={z: 1}"], {"a": {"z": 1}}),
        (["a.y.1.k=[3]"], {"a": {"x": 1, "y": [{"k": 1}, {"k": [3]}]}}),
        (["b.c.d=1"], {"a": {"x": 1, "y": [{"k": 1}, {"k": 2}]}, "b": {"c": {"d": 1}}}),
        (["a.x=5", "a.x=6"], {"a": {"x": 6, "y": [{"k": 1}, {"k": 2}]}}),
    ],
)
def test_settings(settings: list[str], values: dict[str, Any], tmp_path: Path) -> None:
    lower = load(tmp_path, "a:\n  x: 1\n  y: [{k: 1}, {k: 2}]\n")
    assert apply_settings(settings, lower).values == values
    assert lower.values == {"a": {"x": 1, "y": [{"k": 1}, {"k": 2}]}}


def test_a_setting_is_its_own_place(tmp_path: Path) -> None:
    document = apply_settings(["a={b: {c: 1}}"], load(tmp_path, "a:\n  b:\n    c: 2\nd: 3\n"))
    assert document.location(("a", "b", "c")) == "--set a"
    assert document.location(("d",)).endswith(":4")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("a.x", "--set a.x: expected KEY=VALUE, such as train.epochs=5"),
        ("=5", "--set =5: expected KEY=VALUE"),
        ("a..x=5", "--set a..x=5: expected KEY=VALUE"),
        ("a.x=[1", "--set a.x:1: not YAML: "),
        ("a.x={b: 1, b: 2}", "--set a.x:1: b: duplicate key"),
        ("a.y.7.k=1", "--set a.y.7.k: there is no item '7'; expected a number from 0 to 1"),
        ("a.y.k=1", "--set a.y.k: there is no item 'k'; expected a number from 0 to 1"),
    ],
)
def test_bad_settings(setting: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        apply_settings([setting], load(tmp_path, "a: {x: 1, y: [{k: 1}, {k: 2}]}"))
    assert str(caught.value).startswith(message)

"""The typed sections: defaults that make sense, frozen values, a schema for editors."""

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from millrace.config import Config, load_product
from millrace.config.sections.ingest import HashSplit, TimeSplit
from millrace.config.sections.train import METRICS, Features, Gate
from millrace.config.yaml.document import load_document
from millrace.features.spec import Task
from tests.millrace.products import write_product


def test_values_of_a_file(tmp_path: Path) -> None:
    config = load_product(write_product(tmp_path)).config
    assert config.train.learning_rate == 0.01
    assert config.ingest.key == ("city", "started")
    assert isinstance(config.ingest.split, HashSplit)
    assert config.ingest.steps[1].join is not None
    assert config.ingest.steps[1].join.on == {"city": "name"}
    assert config.features.inputs["city"].kind == "category"
    assert config.score.split is None


def test_a_key_named_on_needs_no_quotes(tmp_path: Path) -> None:
    """YAML 1.1 would read it as true."""
    config = load_product(write_product(tmp_path, ("on: {city: name}", "on:\n          city: name"))).config
    assert config.ingest.steps[1].join is not None


def test_a_time_split_takes_dates_without_quotes(tmp_path: Path) -> None:
    split = "{by: time, column: started, validation_from: 2013-10-20, test_from: 2013-11-20T12:00:00+01:00}"
    config = load_product(write_product(tmp_path, ("{by: hash, validation: 0.1, test: 0.1}", split))).config
    assert isinstance(config.ingest.split, TimeSplit)
    assert config.ingest.split.validation_from == "2013-10-20"


def test_nothing_can_be_changed(tmp_path: Path) -> None:
    config = load_product(write_product(tmp_path)).config
    with pytest.raises(ValidationError, match="frozen"):
        config.train.epochs = 3
    with pytest.raises(ValidationError, match="frozen"):
        config.product = "x"


@pytest.mark.parametrize("gate", [{"min": 0.5}, {"max": 0}, {"vs_previous": -0.1}, {"min": 0.5, "max": 0.5}])
def test_gates(gate: dict[str, float]) -> None:
    assert Gate.model_validate(gate).model_dump(exclude_none=True) == gate


def test_every_task_has_metrics() -> None:
    assert set(METRICS) == set(get_args(Task))
    assert all(METRICS.values())


def test_every_key_is_described() -> None:
    """The docstring under a field is what an editor shows."""
    schema = Config.model_json_schema(by_alias=True)
    assert json.loads(json.dumps(schema)) == schema
    fields = [
        (name, key, field)
        for name, section in {**schema["$defs"], "Config": schema}.items()
        for key, field in section.get("properties", {}).items()
    ]
    assert len(fields) > 60
    sections_and_tags = {
        "ingest",
        "contract",
        "features",
        "train",
        "evaluate",
        "score",
        "spark",
        "store",
        "ranks",
        "serve",
        "transfer",
        "as",
        "by",
    }
    assert [(n, k) for n, k, f in fields if "description" not in f and k not in sections_and_tags] == []


def test_the_schema_takes_every_shipped_product() -> None:
    import jsonschema

    schema = Config.model_json_schema(by_alias=True)
    for path in (Path(__file__).parents[4] / "conf" / "pipelines").glob("*.yaml"):
        jsonschema.validate(load_document(path).values, schema)


def test_every_section_refuses_unknown_keys() -> None:
    def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
        from millrace.config.yaml.problems import _models_of

        below = {m for f in model.model_fields.values() for m in _models_of(f.annotation)}
        return {model}.union(*(sections(m) for m in below))

    found = sections(Config)
    assert len(found) > 15
    for section in found:
        assert section.model_config["extra"] == "forbid"
        assert section.model_config["frozen"]


def test_the_schema_takes_a_label_by_name_or_with_settings() -> None:
    import jsonschema

    schema = Features.model_json_schema(by_alias=True)
    for label in ("late", {"column": "late", "log": True, "missing": "leave_out"}):
        section = {"label": label, "inputs": {"x": {"as": "numeric"}}}
        jsonschema.validate(section, schema)
        assert Features.model_validate(section).label.column == "late"

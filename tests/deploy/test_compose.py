"""docker-compose.yml is valid and complete, and limits, checks and restarts every service."""

import graphlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipelines.hadoop.service import SERVICES
from tests.deploy.conftest import ROOT, resolve, variables_of

SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
NAMES = {
    *(f"datanode-{number}" for number in (1, 2, 3)), "namenode", "resourcemanager", "nodemanager", "spark-master",
    "spark-worker-1", "spark-worker-2", "api", "scheduler",
}  # fmt: skip


def test_it_fits_the_schema_of_compose(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [("comand", ["x"]), ("healthcheck", {"tset": ["CMD", "x"]}), ("depends_on", {"x": {"condition": "healthy"}})],
)
def test_the_schema_rejects_unknown_keys(key: str, value: object, compose: dict[str, Any]) -> None:
    invalid = {**compose, "services": {"api": {**compose["services"]["api"], key: value}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(invalid, SCHEMA)


def test_variables_and_their_file_agree(raw: dict[str, Any], dotenv: dict[str, str | None]) -> None:
    assert variables_of(raw) == dotenv.keys() - {"COMPOSE_PROJECT_NAME"}
    assert all(dotenv.values())
    assert [name for name in dotenv if re.search("PASS|SECRET|TOKEN|CREDENTIAL|_KEY", name)] == []


def test_variables_are_filled_in() -> None:
    assert resolve(["a${X}b", "${Y:-d}", "$$X", 1], {"X": "x"}) == ["axb", "d", "$X", 1]
    assert variables_of({"a": ["${X}", {"b": "$Y"}], "c": "$$Z"}) == {"X", "Y"}
    with pytest.raises(AssertionError, match=r"\$\{NO\} is not in"):
        resolve("${NO}", {})


def test_all_services_are_defined(compose: dict[str, Any]) -> None:
    assert compose["services"].keys() == NAMES
    commands = {name: each["command"] for name, each in compose["services"].items()}
    assert {command[-1] for command in commands.values() if "pipelines.hadoop.service" in command} == set(SERVICES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_service(name: str, compose: dict[str, Any]) -> None:
    service = compose["services"][name]
    limits = service["deploy"]["resources"]["limits"]
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert service["init"] is True
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert check.keys() >= {"interval", "timeout", "retries", "start_period"}
    if "pipelines.hadoop.service" in service["command"]:
        assert check["test"][1:] == [*service["command"][:-1], "check", service["command"][-1]]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert all(isinstance(value, str) for value in service["environment"].values())
    assert service["pull_policy"] == "never"


@pytest.mark.case("D3")
def test_no_service_wants_more_cores_than_a_machine_has(compose: dict[str, Any]) -> None:
    """The engine refuses a limit above the machine's number of CPUs. One core is the least that a machine has."""
    for name, service in compose["services"].items():
        resources = service["deploy"]["resources"]
        wanted = [service.get("cpus"), *(each.get("cpus") for each in resources.values())]
        assert all(float(cpus) <= 1 for cpus in wanted if cpus is not None), name
        assert "cpuset" not in service


@pytest.mark.case("D5")
def test_each_image_is_built_once(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    built = [each["image"] for each in services if "build" in each]
    assert sorted(built) == sorted({each["image"] for each in services})
    files = [each["build"]["dockerfile"] for each in services if "build" in each]
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "deploy").glob("Dockerfile.*")} == set(files)


def test_services_wait_for_healthy_dependencies(compose: dict[str, Any]) -> None:
    dependencies = {name: each.get("depends_on", {}) for name, each in compose["services"].items()}
    order = list(graphlib.TopologicalSorter(dependencies).static_order())  # raises an error for a cycle
    assert set(order) == NAMES
    assert all(how == {"condition": "service_healthy"} for each in dependencies.values() for how in each.values())
    assert {f"datanode-{number}" for number in (1, 2, 3)} <= dependencies["api"].keys() & dependencies[
        "scheduler"
    ].keys()


def test_data_are_in_volumes_of_one_service(compose: dict[str, Any]) -> None:
    used = [v.partition(":")[0] for each in compose["services"].values() for v in each["volumes"] if v[0] != "."]
    assert sorted(used) == sorted(compose["volumes"])
    for name in ("namenode", "datanode-1", "datanode-2", "datanode-3"):
        assert f"{name}:/hadoop/data" in compose["services"][name]["volumes"]


def test_copies_of_a_service_differ_only_in_their_volumes(compose: dict[str, Any]) -> None:
    for kind in ("datanode", "spark-worker"):
        copies = [{**each, "volumes": 0} for name, each in compose["services"].items() if name.startswith(f"{kind}-")]
        assert len(copies) > 1
        assert all(copy == copies[0] for copy in copies)


def test_container_ports_are_those_of_the_services(compose: dict[str, Any]) -> None:
    for name, each in compose["services"].items():
        inside = {port.rpartition(":")[2] for port in each.get("ports", [])}
        if inside and name in SERVICES:
            assert inside == {SERVICES[name].address({}).rpartition(":")[2]}
            assert SERVICES[name].address({}).startswith(f"http://{name}:")

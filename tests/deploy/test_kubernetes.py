"""The manifests and the profile for Kubernetes: what Spark 4.2 and the service need."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.config import load_product
from pipelines.jobs.remote import UPLOADS
from tests.deploy.conftest import ROOT
from tests.millrace.products import write_product

FOLDER = ROOT / "deploy" / "kubernetes"
SPARK: dict[tuple[str, str], set[str]] = {
    ("", "pods"): {"get", "list", "watch", "create", "patch", "delete", "deletecollection"},
    ("", "services"): {"get", "create", "patch", "delete", "deletecollection"},
    ("", "configmaps"): {"get", "create", "patch", "delete", "deletecollection"},
    ("", "persistentvolumeclaims"): {"list", "create", "delete", "deletecollection"},
    ("networking.k8s.io", "networkpolicies"): {"create", "patch"},
}
"""What drivers of Spark 4.2 need; the rights with which all stages ran on Kubernetes 1.34 include it."""


def objects(name: str) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.safe_load_all((FOLDER / name).read_text())}


@pytest.mark.case("K3")
def test_drivers_may_do_what_spark_asks_for() -> None:
    found = objects("access.yaml")
    allowed: dict[tuple[str, str], set[str]] = {}
    for rule in found["Role"]["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                allowed.setdefault((group, resource), set()).update(rule["verbs"])
    assert {key: verbs - allowed.get(key, set()) for key, verbs in SPARK.items()} == {key: set() for key in SPARK}
    account = found["ServiceAccount"]["metadata"]
    assert found["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", **account}]
    assert found["RoleBinding"]["roleRef"]["name"] == found["Role"]["metadata"]["name"]
    conf = yaml.safe_load((FOLDER / "profile.yaml").read_text())["spark"]["conf"]
    assert conf["spark.kubernetes.namespace"] == account["namespace"]
    assert conf["spark.kubernetes.authenticate.driver.serviceAccountName"] == account["name"]


@pytest.mark.case("K4")
def test_the_profile_is_valid_and_fits_a_small_cluster(tmp_path: Path) -> None:
    product = load_product(write_product(tmp_path), profile=str(FOLDER / "profile.yaml"))
    conf = product.config.spark.conf
    asked = [conf["spark.kubernetes.driver.request.cores"]]
    asked += [conf["spark.kubernetes.executor.request.cores"]] * int(conf["spark.executor.instances"])
    assert sum(int(str(cores).removesuffix("m")) for cores in asked) <= 1500
    assert int(conf["spark.executor.instances"]) >= product.config.ranks.world_size
    assert str(conf[UPLOADS]).startswith("hdfs://")


@pytest.mark.case("K2")
def test_the_service_gets_no_variables_of_other_services() -> None:
    pod = objects("service.yaml")["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"

"""Writes profiles for a cluster on this machine: the shipped ones with its addresses."""

from pathlib import Path
from typing import Any

import yaml

from pipelines.hadoop.service import CONF, spark_home

SHIPPED = CONF.parent / "profiles"


def write_profiles(folder: Path, hdfs: str, webhdfs: str, spark_master: str | None, *, yarn: bool) -> None:
    """Write ``outside.yaml``, and ``yarn.yaml`` and ``standalone.yaml`` if the cluster has what each needs.

    Args:
        folder: Created if it does not exist.
        hdfs: URI of the file system.
        webhdfs: The NameNode's address over HTTP.
        spark_master: URL of the standalone master.
        yarn: Whether there is a ResourceManager.
    """
    folder.mkdir(exist_ok=True)
    transfer: dict[str, Any] = {"url": webhdfs, "root": "/millrace"}
    inside: dict[str, Any] = {"store": {"root": f"{hdfs}/millrace"}, "transfer": transfer}
    # For a machine outside the cluster: it works locally, and transfers files to and from the cluster.
    _write(folder / "outside.yaml", SHIPPED / "local.yaml", {"transfer": transfer}, {})
    if yarn:
        # All containers run on this machine, which has Spark's jars: do not copy them to HDFS for every job.
        conf = {"spark.yarn.jars": f"local:{spark_home()}/jars/*"}
        _write(folder / "yarn.yaml", SHIPPED / "yarn.yaml", inside, {"conf": conf})
    if spark_master:
        _write(folder / "standalone.yaml", SHIPPED / "standalone.yaml", inside, {"master": spark_master})


def _write(target: Path, shipped: Path, sections: dict[str, Any], spark: dict[str, Any]) -> None:
    profile: dict[str, Any] = yaml.safe_load(shipped.read_text()) | sections
    conf = {**profile["spark"].get("conf", {}), **spark.pop("conf", {})}
    profile["spark"] |= {**spark, "conf": conf}
    target.write_text(f"# Written by `millrace hadoop up` from {shipped}.\n{yaml.safe_dump(profile)}")

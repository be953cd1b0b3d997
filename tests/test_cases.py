"""Faults that were found once: each has at least one test that is marked with its id."""

import re
from pathlib import Path
from typing import Final

CASES: Final = {
    "A": "two JSON objects on one line: only the first was read",
    "B": "JSON with single quotes: keys were not compared, all values became null",
    "C": "decimals with a comma: the comma was dropped",
    "D": "timestamps of the year 1: an exception in the driver",
    "E": "202401 as a date: the year 202401",
    "F1": "a CSV column called text: exit 70",
    "F4": "the refusal named neither column nor type, and kept no rejects",
    "F7": "the hint for a date as an input was wrong",
    "F8": "hints and messages of ingest, config check and tables show that were wrong or unclear",
    "F9": "a store root that cannot be used: exit 70 or 75 after Spark's start",
    "G": "epoch milliseconds as a timestamp: read as seconds",
    "H": "a time without a date as a timestamp: the day of the run",
    "I": "123d as a double: 123.0",
    "J": "a CSV column called text: exit 70",
    "K": "a header with names that differ in case only: exit 70",
    "M": "a header with a name that occurs twice: the message did not say so",
    "N": "the reason of a rejected boolean named no column",
    "O": "a date with text behind it, or without a day: accepted",
    "P": "Parquet's unsigned integers and nanoseconds could not be declared",
    "Q": "columns whose names are no identifiers could not be read",
    "AC": "decimals and floats were rounded silently",
    "B6": "two members of a zip with one name: the last was read twice",
    "B19": "two runs at once: the one that removes old folders could fail",
    "B20": "the limit of unpacked bytes counted for each member of a zip",
    "B1": "a metric that is NaN passed every gate; missing labels of the test split were not seen",
    "B2": "a timestamp as a number: measured in seconds, fed in microseconds",
    "B3": "metrics by slice depended on the number of ranks",
    "B4": "rows of an unknown class, and ties, counted in another way for model, baseline and served class",
    "B5": "score run again after log retention reported another day's rows",
    "B7": "a damaged file beyond the memory budget: exit 75",
    "B8": "a mistake in a builder: exit 75, retried",
    "B9": "BatchNormalization could not be trained on two ranks",
    "B10": "a weight without a gradient: training failed",
    "B11": "an input that the table does not have yet: exit 70",
    "B12": "a damaged newest model stopped every later training and scoring",
    "B13": "the default width of an embedding had no bound",
    "B14": "a cross with too many combinations: wrong indices, or no memory",
    "B15": "the memory budget was not kept",
    "B16": "one silent connection kept every rank waiting",
    "B17": "an event that could not be handled lost all later ones",
    "B18": "a value beyond float32 made its whole column NaN",
    "B21": "clients that sent their bodies slowly denied a model to all others",
    "B22": "the cache of routes kept what clients invented",
    "B23": "two threads changed the states of versions",
    "B24": "disk was never given back: models from HDFS, copies of foreign versions",
    "B25": "loads held all threads, gone clients were computed for, a worker's pause kept others waiting, files stayed",
    "D1": "a NameNode with blocks and the DataNodes waited for each other at every second start",
    "D2": "the service ended while there was no model",
    "D3": "containers wanted more CPUs than the machine has",
    "D4": "a cache folder that cannot be written, in YARN's containers and for users without a home",
    "D5": "Compose built each image several times",
    "D6": "a change of any script built Horovod again",
    "D7": "files in the images that nothing needs",
    "K1": "the image did not know the words with which Spark starts pods",
    "K2": "variables that Kubernetes injects took the place of ours",
    "K3": "the rights that drivers in Kubernetes need were not documented",
    "K4": "each pod in Kubernetes asked for a whole CPU",
    "K5": "files that Spark uploaded for a driver in Kubernetes were never removed",
    "K6": "on Kubernetes a stage was silent, and the hint named YARN",
    "S": "no setting for CORS, preflights got 400",
    "S5": "a model that could not be loaded ended the server at its start",
    "S6": "upper-case letters in paths, and versions above 10^18, were refused",
    "F2": "the training loss shown was up to twice the true one",
    "F3": "the learning rate reached 0 half way if an epoch had one step",
    "R": "V2's content_type base64 was ignored: the text of the base64 was predicted for",
    "S1": "outputs without one row per row of the inputs: the model was refused",
    "S2": "numbers beyond a float's precision or range were refused for models of other systems",
    "S3": "a graph's error with bytes that are not UTF-8: 500",
    "S4": "the types that models show and the protocols named were not the same",
    "F5": "a SavedModel of an older Keras could not be served, and was called damaged",
    "F6": "Ctrl-C in training: exit 75",
}


def test_every_case_has_a_test() -> None:
    marked: set[str] = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        for ids in re.findall(r"mark\.case\(([^)]*)\)", path.read_text(encoding="utf-8")):
            marked |= set(re.findall(r'"(\w+)"', ids))
    assert sorted(CASES.keys() - marked) == []
    assert sorted(marked - CASES.keys()) == []

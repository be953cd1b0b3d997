"""The section `schedule`: each mistake is one line, with its place and what is allowed."""

from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.config.sections.schedule import Entry
from millrace.errors import ConfigError
from tests.millrace.products import PRODUCT

DAILY = """\
schedule:
  daily:
    cron: 30 2 * * *
    timezone: Europe/Paris
    stages: [ingest, score]
    deadline_s: 600
    retries: {max_attempts: 3, wait_s: 10, max_wait_s: 60}
    catch_up: all
"""


def write(folder: Path, section: str) -> Path:
    path = folder / "trips.yaml"
    path.write_text(PRODUCT + section)
    return path


def test_an_entry(tmp_path: Path) -> None:
    entry = load_product(write(tmp_path, DAILY)).config.schedule["daily"]
    assert (entry.stages, entry.max_active, entry.retries.max_attempts) == (("ingest", "score"), 1, 3)
    least = Entry(cron="0 0 * * *", stages=("score",))
    assert (least.timezone, least.catch_up, least.deadline_s) == ("UTC", "latest", 14_400)
    assert load_product(write(tmp_path, "")).config.schedule == {}


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message"),
    [
        ("30 2 * * *", "30 24 * * *", 3, "daily.cron", "found '30 24 * * *'; bad hour, expected minute hour day"),
        ("30 2 * * *", "30 2 * *", 3, "daily.cron", "found '30 2 * *'; expected minute hour day month weekday"),
        ("Europe/Paris", "Europe/Pari", 4, "daily.timezone", "found 'Europe/Pari'; did you mean 'Europe/Paris'?"),
        ("Europe/Paris", "../etc", 4, "daily.timezone", "found '../etc'; expected a name such as Europe/Paris or UTC"),
        ("ingest, score", "ingest, scor", 5, "daily.stages.1", "found 'scor'; did you mean 'score'?"),
        ("ingest, score", "score, ingest", 2, "daily", "stages: expected each once, in the order ingest, train, score"),
        ("ingest, score", "score, score", 2, "daily", "stages: expected each once"),
        ("[ingest, score]", "[]", 5, "daily.stages", "found (); expected at least 1 of them"),
        ("[ingest, score]", "score", 5, "daily.stages", "found 'score'; expected a list"),
        ("catch_up: all", "catch_up: al", 8, "daily.catch_up", "found 'al'; did you mean 'all'?"),
        ("catch_up: all", "max_active: 2", 8, "daily.max_active", "found 2; expected 1"),
        ("catch_up: all", "misfire: 2", 8, "daily.misfire", "unknown key 'misfire'; expected one of: catch_up, cron"),
        ("wait_s: 10, max_wait_s: 60", "wait_s: 61, max_wait_s: 60", 7, "daily.retries", "max_wait_s is less than"),
        ("    cron: 30 2 * * *\n", "", 2, "daily.cron", "'cron' is missing; it has no default"),
        ("  daily:", "  Daily run:", 2, "Daily run", "expected lower-case letters, digits"),
    ],
)
def test_a_mistake(old: str, new: str, line: int, key: str, message: str, tmp_path: Path) -> None:
    assert DAILY.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        load_product(write(tmp_path, DAILY.replace(old, new)))
    (problem,) = caught.value.problems
    assert problem.where.endswith(f":{len(PRODUCT.splitlines()) + line}")
    assert problem.key == f"schedule.{key}"
    assert message in str(problem)


@pytest.mark.parametrize(
    "section", ["schedule: {cron: 0 6 * * *, stages: [score]}\n", "schedule:\n  - {cron: 0 6 * * *, stages: [score]}\n"]
)
def test_an_entry_without_a_name(section: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"schedule: .*an entry has no name; expected a name, such as 'daily:'"):
        load_product(write(tmp_path, section))

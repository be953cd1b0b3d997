"""The lines of docs/serving.md and the README, asked of a model with the inputs that they name."""

import json
import re
import shlex
from pathlib import Path

import httpx
import pytest

from millrace.config import load_product
from millrace.config.sections.serve import Serve, ServedModel
from millrace.features.spec import Category, Dtype, Feature
from millrace.models.store import ModelStore
from millrace.section import Section
from millrace.storage import Store
from serve.servables.manager import ServableManager
from serve.server.app import Application
from tests.serve import models
from tests.serve.client import listening

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:8501"
DTYPES: dict[str, Dtype] = {
    "distance": "int64",
    "day_of_year": "int64",
    "wind_dir": "int64",
    "wind_speed": "float64",
    "temp": "float64",
    "pressure": "float64",
    "time_hour": "timestamp",
}
"""Of the columns of airtime; the others are strings."""

pytestmark = pytest.mark.tf


def commands(page: str) -> list[list[str]]:
    """The words of every curl line, which may be several lines long."""
    found, begun = [], ""
    for line in (ROOT / page).read_text().splitlines():
        if not begun and not re.match(r"    curl http", line):
            continue
        begun += line + "\n"
        try:
            found.append(shlex.split(begun, comments=True))
        except ValueError:  # a quote is still open
            continue
        begun = ""
    assert not begun
    return found


@pytest.mark.parametrize("section", [Serve, ServedModel])
def test_the_page_lists_every_setting_with_its_default(section: type[Section]) -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    for name, field in section.model_fields.items():
        row = re.search(rf"^\|[^|]*`{name}`[^|]*\|([^|]*)\|", table, re.MULTILINE)
        assert row, f"{section.__name__}.{name} is not in a table of docs/serving.md"
        default = field.get_default(call_default_factory=True)
        shown = (
            "none" if default is None else json.dumps(default) if isinstance(default, (bool, dict)) else str(default)
        )
        written = [part.strip() for part in row[1].split(",")]
        known = float(written[0]) == default if type(default) is float else shown in written
        assert known or (name == "latency_target_s" and section is ServedModel), (name, written, shown)


def test_every_line_is_answered(tmp_path: Path) -> None:
    config = load_product(ROOT / "conf" / "pipelines" / "airtime.yaml").config
    required = {"distance", "origin", "dest"}
    inputs = tuple(
        Feature(name=name, dtype=DTYPES.get(name, "string"), nullable=name not in required, transform=Category())
        for name in config.features.inputs
    )
    store = ModelStore(Store(str(tmp_path)))
    models.publish(store, "airtime", "regression", inputs)
    manager = ServableManager(store, models.served("airtime"))
    manager.load()
    asked = [words for page in ("docs/serving.md", "README.md") for words in commands(page) if ADDRESS in words[1]]
    assert len(asked) > 8
    with listening(Application(manager, Serve())) as address, httpx.Client() as client:
        for words in asked:
            url, body = words[1].replace(ADDRESS, f"http://{address}"), None
            headers = {"content-type": "application/x-www-form-urlencoded"}  # curl's own for a body
            for option, value in zip(words[2::2], words[3::2], strict=True):
                if option == "-H":
                    headers |= dict([value.split(": ")])
                else:
                    assert option == "-d"
                    body = value
            answer = client.request("GET" if body is None else "POST", url, content=body, headers=headers)
            assert answer.status_code == 200, (words, answer.text)

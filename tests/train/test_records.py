"""The epochs of a run are kept while it runs, and whether a run repeats another."""

import json
from dataclasses import replace

import pytest

from millrace.config import Product, load_product
from millrace.storage import Store
from millrace.tables.versions import TableVersion
from train.records import EpochLog, RunFolder
from train.stage import commit_key


def test_epochs_are_written_at_most_once_a_second_and_at_the_end(store: Store) -> None:
    steps: list[int] = []
    folder = RunFolder(store, ("runs", "p", "run-1", "train"))

    def written() -> list[int]:
        return [json.loads(line)["epoch"] for line in store.read(*folder.parts, "metrics.jsonl").splitlines()]

    with EpochLog(folder, 4, steps.append) as log:
        for epoch in range(1, 51):
            log.receive({"event": "step", "step": 4})
            log.receive({"event": "epoch", "epoch": epoch, "loss": 1.0, "val_loss": None, "best_epoch": 1})
        assert 1 <= len(written()) < 50
    assert written() == list(range(1, 51))
    assert steps == list(range(4, 204, 4))


def test_the_same_settings_on_other_rows_are_another_run(product: Product, table: TableVersion) -> None:
    """Also if the table was removed and written anew, so that the versions start again."""
    key = commit_key(product.config, table)
    first, *others = table.files
    assert commit_key(product.config, table) == key
    other = replace(table, files=(replace(first, rows=first.rows + 1), *others))
    assert commit_key(product.config, other) != key
    path = product.folder / "shapes.yaml"
    assert commit_key(load_product(path, settings=["train.seed=9"]).config, table) != key


def test_epochs_that_cannot_be_written_do_not_end_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("full")

    with EpochLog(RunFolder(store, ("runs", "p", "run-1", "train")), 4, lambda _: None) as log:
        for epoch in (1, 2):
            log.receive({"event": "epoch", "epoch": epoch, "loss": 1.0, "val_loss": None, "best_epoch": 1})
        monkeypatch.setattr(Store, "put", fail)
    assert "the last epochs are not in metrics.jsonl: full" in caplog.text

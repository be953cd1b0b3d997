"""Prints tables: the stages of a run, and the content of the store."""

import sys
from collections.abc import Sequence
from typing import Any, Final

from millrace.config.load import find_store_root
from millrace.errors import ArtifactNotFound, InputMissing, MillraceError
from millrace.features.spec import Label
from millrace.models.manifest import ModelDamaged
from millrace.models.store import ModelStore
from millrace.runs import RunRecord
from millrace.storage import Store
from millrace.tables.rows import first_rows
from millrace.tables.versions import CLEAN, REJECTS, TableVersion, find_table
from pipelines.commands.output import print_if_piped, print_table
from pipelines.commands.show_foreign import show_foreign
from serve.servables.signatures import TensorInfo

MAX_COLUMNS: Final = 8
"""A row with more columns than these is printed as a list."""


def show_stages(records: Sequence[RunRecord]) -> None:
    """Print what each stage of a run did."""
    rows = [(r.stage, r.outcome, r.seconds, r.rows_in, r.rows_out, r.rejected, r.filtered, r.version) for r in records]
    print_table(
        "stages",
        ("stage", "outcome", "seconds", "rows in", "rows out", "rejected", "filtered", "version"),
        rows,
    )


def show_metrics(metrics: dict[str, dict[str, float]]) -> None:
    """Print the metrics of the model, the baseline and the previous version."""
    columns = [who for who in ("model", "baseline", "previous") if metrics.get(who)]
    rows = [
        (name, *(f"{metrics[c][name]:.4f}" if name in metrics[c] else "" for c in columns)) for name in metrics["model"]
    ]
    print_table("test split", ("metric", *columns), rows)


def _store(root: str | None, profile: str) -> Store:
    store = Store(root or find_store_root(profile))
    if not store.exists():
        raise InputMissing(f"there is no store at {store.root}", hint="name it with --store, or run: millrace run FILE")
    return store


def list_models(root: str | None, profile: str) -> None:
    """Print every model with its versions."""
    models = ModelStore(_store(root, profile))
    entries: list[dict[str, Any]] = []
    for name in models.names():
        versions = models.versions(name)
        try:
            if models.is_foreign(name, versions[-1]):
                entries.append({"name": name, "versions": versions, "foreign": True})
                continue
            manifest = models.open(name).manifest
        except MillraceError as error:  # a file, or no permission: the other models are listed all the same
            reason = error.reason if isinstance(error, ModelDamaged) else str(error)
            entries.append({"name": name, "versions": versions, "damaged": reason})
            continue
        entries.append(
            {
                "name": name,
                "versions": versions,
                "created": manifest.created,
                "description": manifest.description,
            }
        )
    rows = [
        (
            e["name"],
            ", ".join(map(str, e["versions"])),
            e.get("created"),
            _description(e),
        )
        for e in entries
    ]
    print_table(f"models in {models.store.root}", ("name", "versions", "newest created", "description"), rows)
    print_if_piped({"models": entries})


def _description(entry: dict[str, Any]) -> str:
    if "foreign" in entry:
        return f"written by another system; served with serve.models: {{{entry['name']}: {{allow_foreign: true}}}}"
    return str(entry.get("description", entry.get("damaged")))


def show_model(name: str, version: int | None, root: str | None, profile: str) -> None:
    """Print a model version: its inputs, metrics and lineage; of another system's model, its signatures and files."""
    models = ModelStore(_store(root, profile))
    newest = version or (models.versions(name) or [0])[-1]
    if models.is_foreign(name, newest):
        show_foreign(models, name, newest)
        return
    manifest = models.open(name, version).manifest
    inputs = [TensorInfo(f.name, f.tensor_dtype, (-1,), f) for f in manifest.features.inputs]
    outputs = [TensorInfo(output, dtype, None) for output, dtype in manifest.outputs.items()]
    rows = [
        (f.name, f.dtype, i.datatype, "may be null" if f.nullable else "required", f.transform.kind)
        for f, i in zip(manifest.features.inputs, inputs, strict=True)
    ]
    print_table(
        f"{manifest.name} version {manifest.version}: inputs",
        ("name", "type", "datatype", "null", "transform"),
        rows,
    )
    meanings = [(o.name, o.dtype, o.datatype, _meaning(o.name, manifest.features.label)) for o in outputs]
    print_table("outputs", ("name", "type", "datatype", "meaning"), meanings)
    show_metrics({who: _numbers(manifest.metrics.get(who)) for who in ("model", "baseline", "previous")})
    lineage = manifest.lineage
    made = [
        ("created", manifest.created),
        ("from", f"{lineage.table} version {lineage.table_version}"),
        ("run", lineage.run_id),
        ("training", _training(manifest.metrics)),
        ("parent", lineage.parent),
        ("digest", manifest.digest),
    ]
    print_table("lineage", ("what", "value"), made)
    datatypes = {"inputs": {i.name: i.datatype for i in inputs}, "outputs": {o.name: o.datatype for o in outputs}}
    print_if_piped({**manifest.model_dump(mode="json", by_alias=True), "datatypes": datatypes})


def _training(metrics: dict[str, Any]) -> str:
    """How long a model was trained; empty for a model that was published without it."""
    schedule = metrics.get("schedule")
    if not schedule:
        return ""
    epochs = f"{schedule['epochs_run']} of at most {schedule['epochs']} epochs, the best is {metrics['best_epoch']}"
    return f"{epochs}; {schedule['steps']} steps an epoch, {schedule['batch_size']} rows a step"


def _meaning(output: str, label: Label) -> str:
    """What an output of a model says about its label."""
    classes = ", ".join(repr(value) for value in label.classes)
    meanings = {
        "probability": f"that {label.name} is {label.classes[-1]!r}" if label.classes else "",
        "probabilities": f"that {label.name} is {classes}, in this order",
        "class": f"the most probable of {classes}",
        "prediction": f"of {label.name}",
    }
    return meanings.get(output, "")


def _numbers(metrics: dict[str, Any] | None) -> dict[str, float]:
    return {k: v for k, v in (metrics or {}).items() if isinstance(v, float)}


def list_tables(root: str | None, profile: str) -> None:
    """Print every table with its newest version."""
    store = _store(root, profile)
    # A run that was refused or killed leaves a folder without a version.
    names = [(p, t) for p in store.names("tables") for t in store.names("tables", p)]
    found = [find_table(store, p, t) for p, t in names if store.exists("tables", p, t, "_delta_log")]
    rows = [(t.name, t.version, t.rows_of(), len(t.files), f"{t.committed:%Y-%m-%d %H:%M}") for t in found]
    print_table(f"tables in {store.root}", ("name", "version", "rows", "files", "committed"), rows)
    print_if_piped({"tables": [{"name": t.name, "version": t.version, "rows": t.rows_of()} for t in found]})


def show_table(name: str, version: int | None, root: str | None, profile: str, *, rows: int = 0) -> None:
    """Print a table version, and some of its rows."""
    product, slash, table = name.partition("/")
    if not slash:
        raise ArtifactNotFound(kind="table", name=name, hint="name it as product/table, such as flights/clean")
    store = _store(root, profile)
    if (
        table == REJECTS
        and not store.exists("tables", product, REJECTS)
        and store.exists("tables", product, CLEAN, "_delta_log")
    ):
        sys.stderr.write(f"{name}: no row was ever rejected\n")
        print_if_piped({"name": name, "version": None, "rows": 0})
        return
    found = find_table(store, product, table, version)
    print_table(f"{found.name} version {found.version}: columns", ("name", "type"), found.columns.items())
    print_table("rows", ("split", "rows"), _rows_by_split(found))
    sample = first_rows(found, rows)
    _print_rows(sample)
    print_if_piped(
        {
            "name": found.name,
            "version": found.version,
            "rows": found.rows_of(),
            "columns": found.columns,
            "commit": found.commit,
            **({"sample": sample} if rows else {}),
            "files": [f.path.rpartition("/")[2] for f in found.files],
        }
    )


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table, or as lists where they are wide."""
    if rows and len(rows[0]) <= MAX_COLUMNS:
        print_table("example rows", tuple(rows[0]), [tuple(row.values()) for row in rows])
        return
    for number, row in enumerate(rows, start=1):
        print_table(f"row {number}", ("name", "value"), list(row.items()))


def _rows_by_split(table: TableVersion) -> list[tuple[str, int]]:
    splits = sorted({f.partition["split"] for f in table.files if "split" in f.partition})
    return [(split, table.rows_of(split)) for split in splits] + [("all", table.rows_of())]

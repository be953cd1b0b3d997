"""Prints a model version that another system wrote: its signatures and its files."""

from typing import Any

from millrace.models.manifest import ModelDamaged
from millrace.models.store import SAVED_MODEL, ModelStore
from millrace.storage import mapped_errors
from pipelines.commands.output import print_if_piped, print_table


def show_foreign(models: ModelStore, name: str, version: int) -> None:
    """Print the signatures and the files of a version that another system wrote.

    Raises:
        ModelDamaged: Its graph cannot be read.
        StorageError: The store cannot be read.
    """
    from serve.servables.functions.runtime import import_tensorflow
    from serve.servables.signatures import parse_signatures

    import_tensorflow()  # its log lines are switched off; only its format of a graph is used
    store, folder = models.store, models.store.uri("models", name, str(version))
    try:
        signatures = parse_signatures(store.read("models", name, str(version), SAVED_MODEL))
    except ValueError as error:
        raise ModelDamaged(folder, str(error), hint="copy the SavedModel into the store again") from error
    with mapped_errors("model version", f"{name}/{version}"):
        files = [(path, store.files.size(f"{folder}/{path}")) for path in store.files.walk(folder)]
    described: dict[str, Any] = {}
    for key, signature in signatures.items():
        sides = {"inputs": signature.inputs, "outputs": signature.outputs}
        described[key] = {side: [info.as_dict() for info in infos.values()] for side, infos in sides.items()}
        rows = [
            (tensor["name"], side.removesuffix("s"), tensor["datatype"], tensor["shape"])
            for side, tensors in described[key].items()
            for tensor in tensors
        ]
        print_table(f"{name} version {version}, signature {key}", ("name", "", "datatype", "shape"), rows)
        described[key]["method"] = signature.method
    print_table("files", ("file", "bytes"), [*files, ("all", sum(size for _, size in files))])
    origin = [("written by", "another system"), ("served", f"with serve.models: {{{name}: {{allow_foreign: true}}}}")]
    print_table("origin", ("what", "value"), origin)
    print_if_piped(
        {
            "name": name,
            "version": version,
            "foreign": True,
            "signatures": described,
            "files": [{"path": path, "size": size} for path, size in files],
        }
    )

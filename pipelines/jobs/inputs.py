"""Checks before Spark starts that what a run needs is there and can be used."""

from millrace.config import Product
from millrace.config.inputs import check_readable
from millrace.models.store import ModelStore
from millrace.storage import Store
from millrace.tables.versions import CLEAN, find_table


def check_inputs(names: tuple[str, ...], product: Product, store: Store, *, allow_empty: bool = False) -> None:
    """Check the inputs before Spark starts.

    Raises:
        InputMissing: A file of a used source is missing, or there is no table yet.
        ConfigError: The store or a file cannot be used.
    """
    store.exists()
    if names[0] == "ingest":
        store.check_writable()
        ingest = product.config.ingest
        for name in ingest.used_sources:
            # Files of an incremental source may be moved away after they were ingested.
            if name != ingest.base or not (allow_empty or product.config.sources[name].incremental):
                check_readable(product.source_files(name))
    else:
        find_table(store, product.config.product, CLEAN)
        store.check_writable()
    if names[0] == "score":
        ModelStore(store).open(product.config.product)

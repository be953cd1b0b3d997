"""Run the benchmarks (``make bench``) and print each result with its reference and its goal.

``python -m benchmarks quality`` runs one part.
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from benchmarks.figures import Figure
from millrace.logs import configure_logging

PARTS = ("quality", "defaults", "scoring", "ingest")
"""Parts of ``make bench``. ``serving`` runs only by name, because it needs other servers."""


def main() -> None:
    """Run the named parts, or all of them."""
    configure_logging()
    names = sys.argv[1:] or list(PARTS)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        for name in names:
            if name == "quality":
                from benchmarks.quality import measure
            elif name == "defaults":
                from benchmarks.defaults import measure
            elif name == "serving":
                from benchmarks.serving.measure import measure
            elif name == "ingest":
                from benchmarks.ingest import measure
            else:
                from benchmarks.scoring import measure
            figures += measure(Path(folder))
    table = Table(title="benchmarks", title_justify="left", show_edge=False)
    for column in ("measurement", "result", "compared with", "goal", "reached"):
        table.add_column(column)
    for figure in figures:
        table.add_row(figure.name, figure.got, figure.reference, figure.goal, "yes" if figure.reached else "NO")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()

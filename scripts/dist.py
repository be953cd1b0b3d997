"""Build dist/millrace.zip for --py-files of spark-submit; the same sources give the same bytes."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ingest", "millrace", "pipelines", "serve", "train")
SUFFIXES = {".css", ".html", ".js", ".json", ".py", ".sql", ".typed"}


def sources(root: Path) -> list[Path]:
    """Return the files that belong in the archive, in a fixed order."""
    found = (path for package in PACKAGES for path in (root / package).rglob("*"))
    return sorted(path for path in found if path.is_file() and path.suffix in SUFFIXES)


def build(root: Path, target: Path) -> None:
    """Write the archive atomically: a reader sees the old file or the complete new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.partial")
    with zipfile.ZipFile(staged, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sources(root):
            name = path.relative_to(root).as_posix()
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    staged.replace(target)


if __name__ == "__main__":
    build(ROOT, Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "millrace.zip")

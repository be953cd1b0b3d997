"""Versions from constraints.txt, and the cache folder for downloads and builds, which all checkouts use."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def pinned(package: str) -> str:
    """Return the version that constraints.txt pins for a package."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    match = re.search(rf"^{re.escape(package)}==(\S+)$", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"millrace: constraints.txt does not pin {package}")
    return match.group(1)


def cache_dir(kind: str) -> Path:
    """Return the folder for one kind of cached file; create it if it does not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("MILLRACE_CACHE") or Path(base, "millrace")) / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()

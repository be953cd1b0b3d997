"""Install jars from a list with digests; Spark's own Ivy downloads each jar once into the cache."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pins import ROOT, cache_dir


def spark_home() -> Path:
    """Return the folder of the installed pyspark, without importing it."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SystemExit("millrace: pyspark is not installed in this environment")
    return Path(spec.origin).parent


def wanted_jars(listed: str) -> dict[str, str]:
    """Return the coordinates in a list file, each with its SHA-256."""
    lines = (ROOT / "scripts" / listed).read_text(encoding="utf-8").splitlines()
    return dict(line.split() for line in lines if line and not line.startswith("#"))


def file_name(coordinate: str) -> str:
    """Return the file name that Ivy gives a jar, by the pattern in `fetch`."""
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def is_intact(jar: Path, sha256: str) -> bool:
    """Return whether a jar exists and has the expected content."""
    return jar.is_file() and hashlib.sha256(jar.read_bytes()).hexdigest() == sha256


def fetch(coordinate: str, sha256: str, folder: Path, home: Path) -> None:
    """Download one jar with Spark's own Ivy, check its digest, and move it into the cache."""
    print(f"millrace: downloading {coordinate} (once)", flush=True)
    java_home = os.environ.get("JAVA_HOME")
    java = Path(java_home, "bin", "java") if java_home else Path("java")
    ivy = next((home / "jars").glob("ivy-*.jar"))
    with tempfile.TemporaryDirectory(dir=folder) as staging:
        pattern = f"{staging}/[artifact]-[revision].[ext]"
        command = [str(java), "-jar", str(ivy), "-cache", str(cache_dir("ivy"))]
        command += ["-dependency", *coordinate.split(":"), "-confs", "master", "-types", "jar"]
        command += ["-notransitive", "-retrieve", pattern]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        jar = Path(staging, file_name(coordinate))
        if not is_intact(jar, sha256):
            print(done.stdout[-3000:], done.stderr[-1000:], sep="\n", file=sys.stderr)
            raise SystemExit(f"millrace: the download of {coordinate} failed or is damaged; see Ivy's report above")
        jar.replace(folder / jar.name)


def copy(source: Path, target: Path) -> None:
    """Copy a file atomically: a reader sees the old file or the complete new one."""
    staged = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, staged)
    staged.replace(target)


def install_jars(listed: str, folder: Path) -> None:
    """Install the listed jars in a folder, and remove those of an earlier list; other files in the folder stay.

    Args:
        listed: Name of a list file in this folder, with a coordinate and a digest in each line.
        folder: Target folder; created if it does not exist.
    """
    cache, names = cache_dir("jars"), list[str]()
    folder.mkdir(parents=True, exist_ok=True)
    for coordinate, sha256 in wanted_jars(listed).items():
        name = file_name(coordinate)
        if not is_intact(cache / name, sha256):
            fetch(coordinate, sha256, cache, spark_home())
        copy(cache / name, folder / name)
        names.append(name)
    record = folder.with_name(f"millrace-{folder.name}.txt")
    before = record.read_text(encoding="utf-8").split() if record.exists() else []
    for name in set(before) - set(names):
        (folder / name).unlink(missing_ok=True)
    record.write_text("\n".join(names) + "\n", encoding="utf-8")

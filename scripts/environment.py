"""Build dist/environment.tar.gz for --archives of spark-submit: the Python packages of drivers and ranks.

Command-line arguments name further packages to install. The environment is created new, for two reasons: venv-pack
refuses an environment with an editable package, and a copy of `.venv` would send tests and linters to every node. The
archive does not contain Spark's jars, because executors get them from the cluster.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import venv_pack
from horovod_wheel import key
from pins import ROOT, cache_dir

BUILD = ROOT / "build" / "environment"
TARGET = ROOT / "dist" / "environment.tar.gz"
EXTRAS = "spark,train,serve"
LEFT_OUT = ("*/pyspark/jars/*", "*/tensorflow/include/*", "*/site-packages/pip/*", "*/__pycache__/*")
FASTEST = 1
"""Compression level. Higher levels take minutes, and native libraries hardly get smaller."""


def build(packages: list[str], folder: Path = BUILD, target: Path = TARGET) -> None:
    """Write the archive atomically: a reader sees the old file or the complete new one."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wheels = cache_dir("wheels") / key()
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "install", "--no-compile"]
    pip += ["-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "pip", "setuptools", "wheel"], check=True)
    options = ("--no-build-isolation", "--find-links", str(wheels))
    subprocess.run([*pip, *options, f"{ROOT}[{EXTRAS}]", *packages], check=True)
    for left in ("lib", *(found.name for found in (ROOT / "build").glob("bdist.*"))):  # left by setuptools
        shutil.rmtree(ROOT / "build" / left, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    staged = target.with_name(f".partial-{target.name}")
    environment = venv_pack.Env(str(folder))
    for pattern in LEFT_OUT:
        environment = environment.exclude(pattern)
    environment.pack(output=str(staged), format="tar.gz", compress_level=FASTEST, force=True)
    staged.replace(target)
    shutil.rmtree(folder)


if __name__ == "__main__":
    build(sys.argv[1:])
    print(f"millrace: {TARGET.relative_to(ROOT)}, {TARGET.stat().st_size / 1e6:.0f} MB", flush=True)

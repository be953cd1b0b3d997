"""Build dist/environment.tar.gz, the --archives of spark-submit: what drivers and ranks import, without dev tools.

Packages of the user's own may follow on the command line. The environment is made afresh: venv-pack refuses one with
an editable package, and a copy of `.venv` would carry tests and linters to every node. Spark's jars are left out:
executors get them from the cluster.
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
"""Libraries of machine code hardly shrink further, and take minutes to."""


def build(packages: list[str], folder: Path = BUILD, target: Path = TARGET) -> None:
    """Write the archive; a reader sees the old one or the new one, never a part."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wheels = cache_dir("wheels") / key()
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "install", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "pip", "setuptools", "wheel"], check=True)
    options = ("--no-build-isolation", "--find-links", str(wheels))
    subprocess.run([*pip, *options, f"{ROOT}[{EXTRAS}]", *packages], check=True)
    for left in ("lib", *(found.name for found in (ROOT / "build").glob("bdist.*"))):  # by setuptools
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

"""Install Horovod from a wheel that is built once for each TensorFlow, Python and platform."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from pins import ROOT, cache_dir, pinned

BUILD_NEEDS = "tensorflow-cpu cmake cloudpickle packaging psutil pyyaml setuptools wheel".split()
BUILD_FLAGS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_CPU_OPERATIONS": "GLOO",
}


def key() -> str:
    """Return the name of the build: its versions of Horovod and TensorFlow, Python and platform."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    versions = f"horovod-{pinned('horovod')}-tensorflow_cpu-{pinned('tensorflow-cpu')}"
    return f"{versions}-{python}-{sysconfig.get_platform()}"


def pip(*args: str, **env_more: str) -> None:
    """Run the pip of this environment; details go to ``setup.log``."""
    log = Path(sys.prefix, "setup.log")
    command = [sys.executable, "-m", "pip", "--quiet", "--log", str(log), *args]
    bin_dir = Path(sys.executable).parent
    path = f"{bin_dir}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | BUILD_FLAGS | env_more | {"PATH": path}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        env.pop(name, None)
    if subprocess.run(command, env=env, check=False).returncode != 0:
        raise SystemExit(f"millrace: pip {args[0]} failed; see {log}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two checkouts do not build the same wheel at the same time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(folder: Path) -> None:
    """Build the wheel, then rename its folder into the cache, so that the cache never holds a partial build."""
    print(f"millrace: building {folder.name} (once, about 3 minutes)", flush=True)
    constraints = str(ROOT / "constraints.txt")
    pip("install", "--no-compile", "--no-build-isolation", "-c", constraints, *BUILD_NEEDS)
    staging = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "tmp").mkdir(parents=True)
    options = ("--no-build-isolation", "--no-deps", "--no-cache-dir")
    where = ("--wheel-dir", str(staging / "wheel"))
    pip("wheel", *options, *where, f"horovod=={pinned('horovod')}", TMPDIR=str(staging / "tmp"))
    pip("uninstall", "--yes", "cmake")
    (staging / "wheel").rename(folder)
    shutil.rmtree(staging)


def main() -> None:
    """Build the wheel if it is not in the cache, then install it."""
    folder = cache_dir("wheels") / key()
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            build(folder)
    requirement = f"horovod=={pinned('horovod')}"
    options = ("--no-index", "--find-links", str(folder), "--no-deps", "--force-reinstall")
    pip("install", *options, requirement)


if __name__ == "__main__":
    main()

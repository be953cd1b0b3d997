"""Replaces ``${env.NAME:-default}`` in Hadoop's configuration files, for clients that cannot."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_VARIABLE: Final = re.compile(r"\$\{env\.(\w+)(?::-([^}]*))?\}")


def render_conf(source: Path, target: Path, env: Mapping[str, str]) -> None:
    """Write a copy of a configuration folder with all variables replaced.

    Daemons replace the variables themselves. Some clients cannot: hdfs-native does not know variables, and YARN's
    containers have a different environment.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        (target / path.name).write_text(fill(path.read_text(), env))


def fill(text: str, env: Mapping[str, str]) -> str:
    """Replace the variables of a text; a variable without value and default stays."""
    return _VARIABLE.sub(lambda found: env.get(found[1], found[0] if found[2] is None else found[2]), text)


def main() -> None:
    """Write the configuration for clients into the folder given as argument."""
    from pipelines.hadoop.service import CONF

    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        sys.exit("usage: conf FOLDER")
    render_conf(CONF, Path(sys.argv[1]), os.environ)


if __name__ == "__main__":
    main()

"""Put the jars of Hadoop's daemons where `millrace hadoop` finds them in this environment."""

import sys
from pathlib import Path

from jars import install_jars


def main() -> None:
    """Fill ``share/hadoop`` of this environment."""
    install_jars("hadoop-jars.txt", Path(sys.prefix, "share", "hadoop"))


if __name__ == "__main__":
    main()

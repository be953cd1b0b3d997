"""Install the jars of the Hadoop daemons in this environment, where `millrace hadoop` looks for them."""

import sys
from pathlib import Path

from jars import install_jars


def main() -> None:
    """Install the jars in ``share/hadoop`` of this environment."""
    install_jars("hadoop-jars.txt", Path(sys.prefix, "share", "hadoop"))


if __name__ == "__main__":
    main()

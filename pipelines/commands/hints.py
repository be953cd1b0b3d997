"""Commands in hints: they work when they are run as printed."""

import shlex
from collections.abc import Sequence


def command_line(*words: object, **options: object) -> str:
    """Return a command of Millrace for a shell, with the options that the caller was given.

    Args:
        words: The command and its arguments.
        options: By name, without hyphens. None: not given. A list: given several times.
    """
    line = ["millrace", *map(str, words)]
    for name, value in options.items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        line += [part for each in values if each is not None for part in (f"--{name}", str(each))]
    return shlex.join(line)

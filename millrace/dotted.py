"""Dotted paths of user functions: checks them without an import, and imports them when a job needs them."""

import ast
import difflib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import pkgutil
import sysconfig
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from pydantic import BaseModel

from millrace.errors import ConfigError

PROJECT: Final = ("millrace", "pipelines", "ingest", "train", "serve")
"""The project's packages; all other modules that are not installed are a user's."""
ENGINES: Final = frozenset({"tensorflow", "keras", "horovod", "pyspark", "tf_keras"})
"""Packages that take seconds to import."""


def suggestion(word: str, known: Collection[str]) -> str:
    """Return ``did you mean 'x'?`` if a known word is similar, else the known words."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    if len(known) == 1:
        return f"expected {next(iter(known))}"
    return f"expected one of: {', '.join(sorted(known)[:40])}" if known else "no value is available"


def find_function(path: str) -> tuple[str, str] | None:
    """Look for ``module:function`` in the module's source; only its parent packages are imported.

    Returns:
        None if it exists, else what was found and what is allowed.
    """
    module, _, function = path.partition(":")
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        try:
            spec = importlib.util.find_spec(name)
        except Exception as error:  # find_spec imports the parent packages, which may raise anything
            return f"'{name}' cannot be imported: {type(error).__name__}: {error}", "fix the module"
        if spec is None:
            return f"there is no module '{name}'", _near_module(parts[: depth - 1], parts[depth - 1])
    if spec is None or spec.origin is None:
        return f"'{module}' is a folder, not a module", "name a file in it, such as folder.file:function"
    return _find_in_source(spec, function) if spec.origin.endswith(".py") else None


def _find_in_source(spec: importlib.machinery.ModuleSpec, function: str) -> tuple[str, str] | None:
    # The loader and not the file, because under spark-submit the module may be in a zip.
    source = spec.loader.get_source(spec.name) if isinstance(spec.loader, importlib.abc.InspectLoader) else None
    if source is None:
        return None
    try:
        names = set(_defined(ast.parse(source).body))
    except SyntaxError as error:
        return f"'{spec.name}' has a syntax error in line {error.lineno}", "fix the module"
    if names & {function, "*", "__getattr__"}:
        return None
    return f"module '{spec.name}' has no function '{function}'", suggestion(function, names)


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that a module's statements define, also those under `if` and `try`."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _defined(n for n in ast.walk(node) if isinstance(n, ast.stmt) and n is not node)


def _near_module(parents: list[str], missing: str) -> str:
    if not parents:
        near = difflib.get_close_matches(missing, {info.name for info in pkgutil.iter_modules()}, 1, cutoff=0.75)
        return f"did you mean '{near[0]}'?" if near else "it must be importable from the working folder or installed"
    parent = importlib.util.find_spec(".".join(parents))
    folders = list(parent.submodule_search_locations or []) if parent else []
    names = {info.name for info in pkgutil.iter_modules(folders)}
    return suggestion(missing, names)


def load_options(path: str) -> type[BaseModel] | None:
    """Return the class ``Options`` in a function's module, which describes the function's options.

    Returns:
        None if there is no such class, or if its module imports an engine.
    """
    module = path.partition(":")[0]
    spec = importlib.util.find_spec(module)
    source = spec.loader.get_source(module) if spec and isinstance(spec.loader, importlib.abc.InspectLoader) else None
    body = ast.parse(source or "").body
    if "Options" not in _defined(body) or not ENGINES.isdisjoint(_imported(body)):
        return None
    found = getattr(importlib.import_module(module), "Options", None)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _imported(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the packages that a module's statements import."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def load_function(path: str) -> Callable[..., Any]:
    """Import the function of a dotted path.

    Raises:
        ConfigError: The module cannot be imported, or has no such function.
    """
    module, _, name = path.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{path}: {error}", hint="the module must be importable where the job runs") from error
    return function


def digest_of_module(path: str) -> str:
    """Return the SHA-256 of the source of a dotted path's module; empty for the project's own modules.

    A change of a user's function changes the result. A new release of the project must not repeat finished work.
    """
    module = path.partition(":")[0]
    if module.partition(".")[0] in PROJECT:
        return ""
    spec = importlib.util.find_spec(module)
    if spec is None or not isinstance(spec.loader, importlib.abc.InspectLoader):
        return ""
    return hashlib.sha256((spec.loader.get_source(module) or "").encode()).hexdigest()


def place_in_user_code(error: BaseException) -> str:
    """Return ``file:line in function`` of the innermost call in a user's own code that raised; empty if there is none.

    Code of the project, of Python and of installed packages is not a user's, and neither is compiled code.
    """
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in PROJECT and file.endswith(".py") and not file.startswith(installed):
            return f"{file}:{line} in {frame.f_code.co_name}"
    return ""

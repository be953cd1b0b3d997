"""Reads a product file, a profile and overrides into one checked, frozen configuration."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from millrace.config.inputs import find_inputs
from millrace.config.sections.product import Config
from millrace.config.sections.profile import StoreSection, Transfer
from millrace.config.yaml.document import Document, load_document, merge, overrides
from millrace.config.yaml.problems import problems_of
from millrace.dotted import suggestion
from millrace.errors import ConfigError, Problem
from millrace.retry import NO_RETRY, RetryPolicy
from millrace.section import Section
from millrace.storage import Entry, check_root

SectionT = TypeVar("SectionT", bound=Section)
PROFILE_SECTIONS = frozenset({"spark", "store", "ranks", "serve", "transfer"})


@dataclass(frozen=True)
class Product:
    """A checked configuration and the file that it came from.

    Attributes:
        config: The whole typed tree.
        folder: Where the product file lies; relative source paths start here.
    """

    config: Config
    folder: Path

    def source_files(self, name: str, retry: RetryPolicy = NO_RETRY) -> list[Entry]:
        """The files of a source, in a fixed order; none where its rows come from a database.

        Raises:
            InputMissing: A path names no file, or there is no such package.
        """
        return find_inputs(self.config.sources[name], self.folder, f"sources.{name}.path", retry)


def find_profile(name: str, product: Path) -> Path | None:
    """A profile by path, or by name in ``profiles/`` beside the product file's folder or under ``conf/`` here."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folders = [product.parent.parent / "profiles", Path("conf/profiles")]
    found = next((f / f"{name}.yaml" for f in folders if (f / f"{name}.yaml").is_file()), None)
    if found is None and name != "local":
        names = {p.stem for folder in folders if folder.is_dir() for p in folder.glob("*.yaml")} | {"local"}
        raise ConfigError(f"--profile {name}: there is no such profile; {suggestion(name, names)}")
    return found


def load_product(
    path: Path, *, profile: str = "local", settings: list[str] | None = None, thorough: bool = True
) -> Product:
    """Read and check everything that can be known from the files.

    Args:
        path: The product file.
        profile: Name or path of a profile.
        settings: ``key=value`` overrides; they win over the profile, which wins over the product file.
        thorough: Check what data and models are made by, too. Who serves a model need not have its sources, nor the
            functions of its users.

    Raises:
        ConfigError: One problem for each mistake, all of them at once.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # user functions are looked up in the working folder, as pytest does
    document = load_document(path)
    profile_path = find_profile(profile, path)
    if profile_path:
        document = merge(document, _load_profile(profile_path))
    document = overrides(settings or [], document)
    try:
        # As JSON, since only there strictness, which refuses '5' for 5, allows a list for a tuple.
        config = Config.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        raise ConfigError(problems_of(error, Config, document)) from None
    problems = _check_making(config, document) if thorough else []
    try:
        check_root(config.store.root)
    except ConfigError as error:
        place = document.place(("store", "root"))
        problems.append(Problem(place, "store.root", f"found '{config.store.root}'", error.hint))
    if problems:
        raise ConfigError(problems)
    return Product(config, path.absolute().parent)


def _check_making(config: Config, document: Document) -> list[Problem]:
    # Not above: a service need not keep a parser of SQL in memory.
    from millrace.config.checks.builder import check_builder
    from millrace.config.checks.columns import check_columns
    from millrace.config.checks.expectations import check_expectations
    from millrace.config.checks.reader_options import check_options
    from millrace.config.inputs import check_sources

    return [
        *check_options(config, document),
        *check_columns(config, document),
        *check_expectations(config, document),
        *check_builder(config, document),
        *check_sources(config, document),
    ]


def _load_profile(path: Path) -> Document:
    profile = load_document(path)
    problems = [
        Problem(
            profile.place((key,)),
            key,
            "a profile says only where a product runs",
            "it belongs in the product file" if key in Config.model_fields else suggestion(key, PROFILE_SECTIONS),
        )
        for key in profile.values
        if key not in PROFILE_SECTIONS
    ]
    if problems:
        raise ConfigError(problems)
    return profile


def find_store_root(profile: str) -> str:
    """The store's root that a profile names, for commands that need no product."""
    return _section(profile, "store", StoreSection).root


def find_transfer(profile: str, **settings: str | int | None) -> Transfer:
    """How a profile reaches HDFS from outside, for commands that need no product.

    Args:
        profile: Name or path of a profile.
        settings: What a command's options say instead; None where they say nothing.
    """
    return _section(profile, "transfer", Transfer, {k: v for k, v in settings.items() if v is not None})


def _section(profile: str, name: str, kind: type[SectionT], settings: dict[str, str | int] | None = None) -> SectionT:
    path = find_profile(profile, Path("conf/pipelines/any.yaml"))
    document = _load_profile(path) if path else None
    values = (document.values.get(name) if document else None) or {}
    try:
        return kind.model_validate({**values, **(settings or {})})
    except (ValidationError, TypeError) as error:
        said = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": "expected keys below it"}
        key = ".".join(map(str, (name, *said["loc"])))
        raise ConfigError(f"{path or profile}: {key}: {said['msg']}") from None

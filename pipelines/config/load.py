"""Reads a product file, a profile and overrides into one checked, frozen configuration."""

import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from pipelines.config.checks import check_columns
from pipelines.config.document import Document, load_document, merge, overrides
from pipelines.config.dotted import suggestion
from pipelines.config.expectations import check_expectations
from pipelines.config.problems import problems_of
from pipelines.config.sections import Config, StoreSection
from pipelines.errors import ConfigError, InputMissing, Problem
from pipelines.storage import local_path

PACKAGE_SCHEME = "package://"
PROFILE_SECTIONS = frozenset({"spark", "store", "ranks", "serve"})


@dataclass(frozen=True)
class Product:
    """A checked configuration and the file that it came from.

    Attributes:
        config: The whole typed tree.
        folder: Where the product file lies; relative source paths start here.
    """

    config: Config
    folder: Path

    def source_path(self, name: str) -> Path:
        """The local file of a source.

        Raises:
            InputMissing: There is no such file, or no such package.
        """
        return resolve_path(self.config.sources[name].path, self.folder, f"sources.{name}.path")


def resolve_path(path: str, folder: Path, key: str) -> Path:
    """Find a file given relative to a folder, or inside an installed package."""
    if path.startswith(PACKAGE_SCHEME):
        distribution, _, inside = path.removeprefix(PACKAGE_SCHEME).partition("/")
        try:
            found = Path(str(metadata.distribution(distribution).locate_file(inside)))
        except metadata.PackageNotFoundError:
            raise InputMissing(
                f"{key}: package '{distribution}' is not installed",
                hint=f"pip install {distribution}",
            ) from None
    else:
        found = folder / Path(path.removeprefix("file://")).expanduser()
    if not found.is_file():
        raise InputMissing(f"{key}: there is no file {found}", hint="paths are relative to the product file")
    return found


def find_profile(name: str, product: Path) -> Path | None:
    """A profile by path, or by name in ``profiles/`` beside the product file's folder or under ``conf/`` here."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folders = [product.parent.parent / "profiles", Path("conf/profiles")]
    found = next((f / f"{name}.yaml" for f in folders if (f / f"{name}.yaml").is_file()), None)
    if found is None and name != "local":
        names = {p.stem for folder in folders if folder.is_dir() for p in folder.glob("*.yaml")}
        raise ConfigError(f"--profile {name}: there is no such profile; {suggestion(name, names)}")
    return found


def load_product(path: Path, *, profile: str = "local", settings: list[str] | None = None) -> Product:
    """Read and check everything that can be known from the files.

    Args:
        path: The product file.
        profile: Name or path of a profile.
        settings: ``key=value`` overrides; they win over the profile, which wins over the product file.

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
    problems = check_columns(config, document) + check_expectations(config, document)
    try:
        local_path(config.store.root)
    except ConfigError as error:
        place = document.place(("store", "root"))
        problems.append(Problem(place, "store.root", f"found '{config.store.root}'", error.hint))
    if problems:
        raise ConfigError(problems)
    return Product(config, path.absolute().parent)


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
    path = find_profile(profile, Path("conf/pipelines/any.yaml"))
    document = _load_profile(path) if path else None
    try:
        return StoreSection.model_validate(document.values.get("store", {}) if document else {}).root
    except ValidationError as error:
        raise ConfigError(f"{path}: store: {error.errors()[0]['msg']}") from None

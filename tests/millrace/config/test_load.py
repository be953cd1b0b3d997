"""Product file, profile and settings become one configuration; each error names its own file."""

from pathlib import Path

import pytest

from millrace.config.load import find_profile, find_store_root, load_product
from millrace.errors import ConfigError
from tests.millrace.products import write_product


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No profile but those that a test writes."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def product(tmp_path: Path) -> Path:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    return write_product(folder)


def write_profile(tmp_path: Path, text: str, name: str = "big.yaml") -> Path:
    folder = tmp_path / "profiles"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_without_a_profile(product: Path) -> None:
    config = load_product(product).config
    assert (config.ranks.world_size, config.spark.master) == (2, "local[*,4]")


def test_a_profile_beside_the_products_folder(product: Path, tmp_path: Path) -> None:
    write_profile(tmp_path, "ranks: {world_size: 8}\nspark: {master: yarn}\n")
    config = load_product(product, profile="big").config
    assert (config.ranks.world_size, config.spark.master) == (8, "yarn")


def test_a_profile_by_path(product: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("store: {root: /data}\n")
    assert load_product(product, profile=str(path)).config.store.root == "/data"


def test_a_profile_of_the_working_folder(product: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "profiles"
    folder.mkdir(parents=True)
    (folder / "here.yaml").write_text("store: {root: /here}\n")
    assert find_profile("here", product) == Path("conf/profiles/here.yaml")
    assert load_product(product, profile="here").config.store.root == "/here"
    assert find_store_root("here") == "/here"


def test_settings_win_over_the_profile_which_wins_over_the_product(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    text = "\nspark: {driver_memory: 1g, conf: {a: 1, b: 1, c: 1}}\ntrain:"
    product = write_product(folder, ("\ntrain:", text))
    write_profile(tmp_path, "spark: {conf: {b: 2, c: 2}}")
    spark = load_product(product, profile="big", settings=["spark.conf.c=3"]).config.spark
    assert spark.conf == {"a": 1, "b": 2, "c": 3}
    assert spark.driver_memory == "1g"


def test_an_unknown_profile(product: Path, tmp_path: Path) -> None:
    write_profile(tmp_path, "", "yarn.yaml")
    with pytest.raises(ConfigError, match=r"--profile yran: profile not found; did you mean 'yarn'\?"):
        load_product(product, profile="yran")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such file"):
        load_product(product, profile="nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "place", "key", "allowed"),
    [
        ("spark: {}\ntrain: {epochs: 3}\n", 2, "train", "it belongs in the product file"),
        ("sprak: {}\n", 1, "sprak", "did you mean 'spark'?"),
        ("5: 1\n", 1, "5", "expected one of: ranks, serve, spark, store"),
        ("ranks:\n  world_sise: 2\n", 2, "ranks.world_sise", "did you mean 'world_size'?"),
        ("ranks: {world_size: 0}\n", 1, "ranks.world_size", "expected at least 1"),
        ("ranks: {world_size: 7}\n", 1, "ranks.world_size", "expected one of 1, 2, 3, 4, 5, 6, 8"),
        ("spark: {master: locl}\n", 1, "spark.master", "expected a Spark master"),
        ("spark: {driver_memory: 2}\n", 1, "spark.driver_memory", "expected text in quotes"),
        ("\nstore: {root: 's3://bucket'}\n", 2, "store.root", "use a local path, file:///path or hdfs://"),
    ],
)
def test_a_mistake_in_a_profile(text: str, place: int, key: str, allowed: str, product: Path, tmp_path: Path) -> None:
    profile = write_profile(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_product(product, profile="big")
    (problem,) = caught.value.problems
    assert (problem.where.removeprefix("pipelines/../"), problem.key) == (f"{profile}:{place}", key)
    assert problem.allowed.startswith(allowed)


def test_what_the_product_lacks_is_not_the_profiles_fault(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    product = write_product(folder, ("product: trips\n", ""))
    write_profile(tmp_path, "\n\nranks: {world_size: 3}\n")
    with pytest.raises(ConfigError) as caught:
        load_product(product, profile="big")
    assert [(p.where, p.key) for p in caught.value.problems] == [(f"{product}:1", "product")]


@pytest.mark.parametrize(
    ("setting", "where", "key", "found"),
    [
        ("train.epoch=3", "--set train.epoch", "train.epoch", "unknown key 'epoch'"),
        ("train.epochs=many", "--set train.epochs", "train.epochs", "found 'many'"),
        ("train={task: binry}", "--set train", "train.task", "found 'binry'"),
        ("ingest.base=trip", "--set ingest.base", "ingest.base", "unknown source 'trip'"),
        ("evaluate.slices=[town]", "--set evaluate.slices", "evaluate.slices.0", "unknown column 'town'"),
        ("ingest.steps.0.filter.keep=payd>0", "--set ingest.steps.0.filter.keep", "ingest.steps.0.filter.keep", "unk"),
        ("store.root=s3://a/b", "--set store.root", "store.root", "found 's3://a/b'"),
    ],
)
def test_a_mistake_in_a_setting(setting: str, where: str, key: str, found: str, product: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_product(product, settings=[setting])
    (problem,) = caught.value.problems
    assert (problem.where, problem.key) == (where, key)
    assert problem.found.startswith(found)


def test_the_root_of_the_store_without_a_product(tmp_path: Path) -> None:
    assert find_store_root("local") == "millrace-store"
    bad = write_profile(tmp_path, "store: {rot: x}\n")
    with pytest.raises(ConfigError, match="store"):
        find_store_root(str(bad))


def test_user_functions_are_found_in_the_working_folder(product: Path, tmp_path: Path) -> None:
    (tmp_path / "mr_local_steps.py").write_text("def tidy(df):\n    return df\n")
    load_product(product, settings=["ingest.steps.3={call: {function: 'mr_local_steps:tidy'}}"])


def test_who_serves_need_not_have_what_models_are_made_by(product: Path) -> None:
    text = product.read_text().replace("train.models.tabular:build", "not.here:build")
    assert "not.here" in text
    product.write_text(text)
    with pytest.raises(ConfigError, match="there is no module 'not'"):
        load_product(product)
    assert load_product(product, thorough=False).config.train.model == "not.here:build"
    product.write_text(text.replace("product:", "prodct:"))
    with pytest.raises(ConfigError, match="prodct"):
        load_product(product, thorough=False)

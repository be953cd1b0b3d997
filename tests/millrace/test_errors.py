"""Errors carry what they are about, and their messages stay short."""

from millrace.errors import (
    MAX_EXAMPLES,
    ArtifactExists,
    ArtifactNotFound,
    ConfigError,
    FeatureMismatch,
    MillraceError,
    Problem,
    shorten,
)


def test_shorten_cuts_long_values_only() -> None:
    assert shorten("abc") == "abc"
    assert shorten("x" * 200) == "x" * 200
    assert shorten("x" * 201) == "x" * 199 + "…"
    assert shorten([1, 2], 4) == "[1,…"


def test_a_problem_reads_place_key_found_allowed() -> None:
    problem = Problem("a.yaml:3", "train.epoch", "unknown key 'epoch'", "did you mean 'epochs'?")
    assert str(problem) == "a.yaml:3: train.epoch: unknown key 'epoch'; did you mean 'epochs'?"


def test_a_config_error_keeps_every_problem_and_shows_the_first_twenty() -> None:
    problems = [Problem(f"a.yaml:{n}", "k", "f", "a") for n in range(50)]
    error = ConfigError(problems)
    assert error.problems == tuple(problems)
    assert len(str(error).splitlines()) == MAX_EXAMPLES


def test_a_config_error_of_one_sentence() -> None:
    error = ConfigError("no such profile", hint="make one")
    assert (str(error), error.hint, error.problems) == ("no such profile", "make one", ())


def test_a_mismatch_never_grows_with_the_value() -> None:
    error = FeatureMismatch("city", expected="text", found="y" * 10_000)
    assert len(str(error)) < 300
    assert str(error).startswith("city: expected text, found yyy")
    assert error.found == "y" * 10_000


def test_not_found_names_kind_name_and_version() -> None:
    assert str(ArtifactNotFound(kind="model", name="m")) == "there is no model 'm' in the store"
    error = ArtifactNotFound(kind="model", name="m", version=3, hint="versions: 1, 2")
    assert str(error) == "there is no version 3 of model 'm' in the store"
    assert (error.kind, error.name, error.version, error.hint) == ("model", "m", 3, "versions: 1, 2")


def test_exists_names_what() -> None:
    error = ArtifactExists(kind="folder", name="models/m/1")
    assert str(error) == "folder 'models/m/1' exists already"
    assert isinstance(error, MillraceError)
    assert error.hint == ""

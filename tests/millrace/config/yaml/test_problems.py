"""Every mistake in a product file is one line: file and line, key, what was found, what is allowed."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from millrace.config import load_product
from millrace.errors import ConfigError, Problem
from tests.millrace.products import write_product


@dataclass(frozen=True)
class Mistake:
    """A piece of the product file, what it is replaced with, and the only problem that this makes.

    Attributes:
        at: Text in the line that the problem names.
    """

    old: str
    new: str
    at: str
    key: str
    found: str
    allowed: str


TRAIN = "train:\n  task: binary\n  model: train.models.tabular:build\n  epochs: 2\n  learning_rate: 1e-2\n"
HASH = "{by: hash, validation: 0.1, test: 0.1}"
NULL = "- expect_column_values_to_not_be_null"
BETWEEN = "- expect_column_values_to_be_between"
NOT_NULL_KEY = "contract.expectations.0.expect_column_values_to_not_be_null"
BETWEEN_KEY = "contract.expectations.1.expect_column_values_to_be_between"
SECTION = "expected keys and values"
STEP = "expected exactly one of the keys join, derive, filter, call, drop"
OPTION = "expected text in quotes or true or false or a whole number"

KEYS = [
    Mistake("evaluate:", "evalute:", "evalute", "evalute", "unknown key 'evalute'", "did you mean 'evaluate'?"),
    Mistake("  epochs: 2", "  epoch: 2", "epoch", "train.epoch", "unknown key 'epoch'", "did you mean 'epochs'?"),
    Mistake("options:", "optons:", "optons", "sources.trips.optons", "unknown key 'optons'", "did you mean 'options'?"),
    Mistake("- drop:", "- dorp:", "dorp", "ingest.steps.3.dorp", "unknown key 'dorp'", "did you mean 'drop'?"),
    Mistake("validation:", "valid:", "valid:", "ingest.split.valid", "unknown key 'valid'", "mean 'validation'?"),
    Mistake("min_rows", "minrows", "minrows", "contract.minrows", "unknown key 'minrows'", "did you mean 'min_rows'?"),
    Mistake(
        "as: category, dim",
        "as: category, dims",
        "dims",
        "features.inputs.city.dims",
        "unknown key 'dims'",
        "did you mean 'dim'?",
    ),
    Mistake(
        "as: numeric",
        "as: numeric, dim: 4",
        "dim: 4}\n    started",
        "features.inputs.distance.dim",
        "unknown key 'dim'",
        "expected one of: as, log",
    ),
    Mistake("{min:", "{mn:", "{mn:", "evaluate.gates.auc.mn", "unknown key 'mn'", "did you mean 'min'?"),
    Mistake("], dim: 4", "], din: 4", "din", "features.crosses.0.din", "unknown key 'din'", "did you mean 'dim'?"),
    Mistake("        source: cities\n", "", "join:", "ingest.steps.1.join.source", "'source' is missing", "no default"),
    Mistake("  task: binary\n", "", "train:", "train.task", "'task' is missing", "it has no default"),
    Mistake(TRAIN, "", "product:", "train", "'train' is missing", "it has no default"),
    Mistake("  epochs: 2", "  epochs: 2\n  5: 6", "5: 6", "train.5", "unknown key '5'", "expected one of: batch_size"),
]

VALUES = [
    Mistake("epochs: 2", "epochs: many", "many", "train.epochs", "found 'many'", "expected a whole number"),
    Mistake("epochs: 2", "epochs: '2'", "'2'", "train.epochs", "found '2'", "expected a whole number"),
    Mistake("epochs: 2", "epochs: true", "epochs", "train.epochs", "found true", "expected a whole number"),
    Mistake("epochs: 2", "epochs: 2.5", "epochs", "train.epochs", "found 2.5", "expected a whole number"),
    Mistake("epochs: 2", "epochs: 1e1", "epochs", "train.epochs", "found 10.0", "a whole number, such as 10"),
    Mistake("epochs: 2", "epochs: 0", "epochs", "train.epochs", "found 0", "expected at least 1"),
    Mistake("epochs: 2", "epochs: 20000", "epochs", "train.epochs", "found 20000", "expected at most 10000"),
    Mistake("epochs: 2", "epochs:", "epochs", "train.epochs", "found nothing", "expected a whole number"),
    Mistake("1e-2", "'1e-2'", "1e-2", "train.learning_rate", "found '1e-2'", "expected a number"),
    Mistake("1e-2", ".inf", "inf", "train.learning_rate", "found inf", "expected a finite number"),
    Mistake("1e-2", "0", "rate: 0", "train.learning_rate", "found 0", "expected more than 0"),
    Mistake("min: 0.5", "min: .nan", "nan", "evaluate.gates.auc.min", "found nan", "expected a finite number"),
    Mistake("{min: 0.5}", "{}", "auc", "evaluate.gates.auc", "found no keys", "expected min, max or vs_previous"),
    Mistake("min: 0.5", "min: 2, max: 1", "auc", "evaluate.gates.auc", "keys min, max", "no value is at least min"),
    Mistake("product: trips", "product: 12", "12", "product", "found 12", "expected text in quotes"),
    Mistake("product: trips", "product: My Trips", "My", "product", "found 'My Trips'", "lower-case letters, digits"),
    Mistake("slices: [city]", "slices: city", "slices", "evaluate.slices", "found 'city'", "a list, such as [a, b]"),
    *(
        Mistake(
            "    distance: {", f"    {name}: {{", name, f"features.inputs.{name}", f"'{name}'", f"{{{other}: {name}}}"
        )
        for name, other in (("yield", "yield_"), ("self", "self_"), ("_from", "from_"), ("__x", "x"), ("___", "column"))
    ),
    Mistake("drop: [id]", "drop:", "drop", "ingest.steps.3", "found keys drop", STEP),
    Mistake("    - drop", "      drop", "derive:", "ingest.steps.2", "found keys derive, drop", STEP),
    Mistake("drop: [id]", "derive: [a]", "[a]", "ingest.steps.3.derive", "found ['a']", SECTION),
    Mistake("people / distance", "1", "per_km", "ingest.steps.2.derive.per_km", "found 1", "expected text in quotes"),
    Mistake(TRAIN, "train:\n", "train:", "train", "found nothing", SECTION),
    Mistake("hour: int\n", "hour: integr\n", "integr", "sources.trips.columns.hour", "'integr'", "did you mean 'int'?"),
    Mistake(
        "hour: int\n", "a b: int\n", "a b", "sources.trips.columns.a b", "found 'a b'", "letters, digits and _, such"
    ),
    Mistake("binary\n", "binry\n", "binry", "train.task", "found 'binry'", "did you mean 'binary'?"),
    Mistake(
        "as: numeric", "as: numerc", "numerc", "features.inputs.distance.as", "'numerc'", "did you mean 'numeric'?"
    ),
    Mistake(
        "as: numeric",
        "log: true",
        "log",
        "features.inputs.distance.as",
        "'as' is missing",
        "one of: category, cyclic, numeric",
    ),
    Mistake(
        "as: numeric", "as: numeric, log: yes", "yes", "features.inputs.distance.log", "found 'yes'", "true or false"
    ),
    Mistake("{as: numeric}", "numeric", "distance: num", "features.inputs.distance", "found 'numeric'", SECTION),
    Mistake("by: hash", "by: hsah", "hsah", "ingest.split.by", "found 'hsah'", "did you mean 'hash'?"),
    Mistake("by: hash, ", "", "validation:", "ingest.split.by", "'by' is missing", "expected one of: hash, time"),
    Mistake("test: 0.1", "test: 0.95", "0.95", "ingest.split", "found keys by", "leave nothing to train on"),
    Mistake("nullValue: NA", "nullValue: 0.5", "0.5", "sources.trips.options.nullValue", "found 0.5", OPTION),
    Mistake(
        "[city, people], dim", "[city], dim", "[city], dim", "features.crosses.0.columns", "['city']", "at least 2"
    ),
    Mistake(
        "path: trips.csv", "path: a.csv\n    sha256: abc", "sha", "sources.trips.sha256", "'abc'", "64 hexadecimal"
    ),
]

COLUMNS = [
    Mistake("base: trips", "base: trip", "base", "ingest.base", "unknown source 'trip'", "did you mean 'trips'?"),
    Mistake("source: cities", "source: citys", "citys", "ingest.steps.1.join.source", "'citys'", "mean 'cities'?"),
    Mistake("{city: name}", "{citty: name}", "citty", "ingest.steps.1.join.on.citty", "'citty'", "mean 'city'?"),
    Mistake("{city: name}", "{city: nam}", "nam}", "ingest.steps.1.join.on.city", "'nam'", "did you mean 'name'?"),
    Mistake(
        "{city: name}",
        "{hour: name}",
        "hour: n",
        "ingest.steps.1.join.on.hour",
        "'hour' is a int, 'name' of cities a string",
        "cast",
    ),
    Mistake("{people: people", "{people: peple", "peple", "ingest.steps.1.join.columns.people", "'peple'", "'people'?"),
    Mistake(
        "founded: founded",
        "founded: founded, hour: people",
        "hour: people",
        "ingest.steps.1.join.columns.hour",
        "exists already",
        "another name",
    ),
    Mistake(
        "paid is not", "payd is not", "payd", "ingest.steps.0.filter.keep", "column 'payd'", "did you mean 'paid'?"
    ),
    Mistake("hour > 20", "huor > 20", "huor", "ingest.steps.2.derive.late", "column 'huor'", "did you mean 'hour'?"),
    Mistake(
        "people / d", "trips.people / d", "per_km", "ingest.steps.2.derive.per_km", "column 'trips'", "expected one of"
    ),
    Mistake("people / d", "(people / d", "per_km", "ingest.steps.2.derive.per_km", "not a Spark", "bracket is miss"),
    Mistake(
        "people / distance",
        "select 1",
        "per_km",
        "ingest.steps.2.derive.per_km",
        "not a Spark SQL",
        "not a list or a query",
    ),
    Mistake(
        "people / distance", "1; drop table x", "1;", "ingest.steps.2.derive.per_km", "not a Spark", "error near '1'"
    ),
    Mistake("people / distance", "''", "per_km", "ingest.steps.2.derive.per_km", "not a Spark", "one value"),
    Mistake("drop: [id]", "drop: [idd]", "idd", "ingest.steps.3.drop.0", "unknown column 'idd'", "did you mean 'id'?"),
    Mistake("[city, started]", "[city, start]", "start]", "ingest.key.1", "column 'start'", "did you mean 'started'?"),
    Mistake(
        "[city, started]", "[city, city]", "key", "ingest.key.1", "duplicate column 'city'", "expected each column once"
    ),
    Mistake("[city, started]", "[id]", "key", "ingest.key.0", "unknown column 'id'", "did you mean"),
    Mistake("slices: [city]", "slices: [town]", "town", "evaluate.slices.0", "column 'town'", "expected one of: city"),
    Mistake(
        "{column: late}", "{column: lat}", "lat}", f"{NOT_NULL_KEY}.column", "column 'lat'", "did you mean 'late'?"
    ),
    Mistake("    city: {as", "    citty: {as", "citty", "features.inputs.citty", "column 'citty'", "mean 'city'?"),
    Mistake("label: late", "label: lat", "label", "features.label", "unknown column 'lat'", "did you mean 'late'?"),
    Mistake("label: late", "label: per_kn", "label", "features.label", "'per_kn'", "did you mean 'per_km'?"),
    Mistake(
        "label: late", "label: paid", "label", "features.label", "a double cannot be the label of a binary", "cast"
    ),
    Mistake(
        "label: late", "label: {column: lat}", "label", "features.label", "unknown column 'lat'", "did you mean 'late'?"
    ),
    Mistake("label: late", "label: {columm: late}", "columm", "features.label.columm", "unknown key", "'column'"),
    Mistake(
        "label: late",
        "label: {column: late, log: true}",
        "log",
        "features.label.log",
        "a binary task",
        "only the label",
    ),
    Mistake(
        "task: binary",
        "task: regression\n  class_weights: balanced",
        "class_weights",
        "train.class_weights",
        "for a regression",
        "only classes have weights",
    ),
    Mistake("epochs: 2", "epochs: 2\n  loss: poisson", "poisson", "train.loss", "a binary task", "only a regression"),
    Mistake(
        "    distance: {", "    late: {", "late: {", "features.inputs.late", "'late' is the label", "cannot be an input"
    ),
    Mistake(
        "    distance: {", "    paid: {", "paid: {", "features.inputs.paid", "banned by 'paid'", "known only after"
    ),
    Mistake(
        "[paid]", "[paid, 'dist*']", "distance: {as", "features.inputs.distance", "banned by 'dist*'", "remove it from"
    ),
    Mistake(
        "{as: cyclic, period: day}",
        "{as: cyclic, period: day}\n    founded: {as: cyclic, period: hour}",
        "founded: {as",
        "features.inputs.founded.period",
        "a date is the same at every hour",
        "week or year",
    ),
    Mistake(
        "{as: cyclic, period: day}",
        "{as: cyclic, period: day}\n    founded: {as: category}",
        "founded: {as",
        "features.inputs.founded",
        "a date cannot be a category",
        "as: cyclic",
    ),
    Mistake("[paid]", "[payd]", "payd", "features.banned.0", "'payd' matches no column", "did you mean 'paid'?"),
    Mistake(
        "[city, people]",
        "[city, distance]",
        "distance], dim",
        "features.crosses.0.columns.1",
        "'distance' is not a",
        "city",
    ),
    Mistake("[city, people]", "[city, city]", "[city, city]", "features.crosses.0.columns.1", "duplicate", "once"),
    Mistake(
        "[city, people], dim: 4}",
        "[city, people], dim: 4}\n    - {columns: [city, people], dim: 8}",
        "dim: 8",
        "features.crosses.1",
        "a second cross of city, people",
        "expected each cross once",
    ),
    Mistake(
        "    distance: {as: numeric}",
        "    hour: {as: cyclic, period: dya}",
        "dya",
        "features.inputs.hour.period",
        "found 'dya'",
        "did you mean 'day'?",
    ),
    Mistake(
        "    distance: {as: numeric}",
        "    hour: {as: cyclic, period: 0}",
        "period: 0",
        "features.inputs.hour.period",
        "found 0",
        "expected more than 0",
    ),
    Mistake(
        "    distance: {as: numeric}",
        "    hour: {as: cyclic, period: day}",
        "hour: {",
        "features.inputs.hour.period",
        "period day does not fit type int",
        "a number takes a number",
    ),
    Mistake(
        "period: day",
        "period: 24",
        "24",
        "features.inputs.started.period",
        "period 24",
        "a timestamp or date takes hour",
    ),
    Mistake("{as: numeric}", "{as: category}", "distance: {", "features.inputs.distance", "a double cannot", "numeric"),
    Mistake(
        "    distance: {as: numeric}",
        "    city2: {as: numeric}",
        "city2",
        "features.inputs.city2",
        "unknown column 'city2'",
        "did you mean 'city'?",
    ),
    Mistake("auc: {", "acu: {", "acu", "evaluate.gates.acu", "unknown metric 'acu'", "did you mean 'auc'?"),
    Mistake("hour: int", "hour: int\n      Hour: int", "Hour", "sources.trips.columns.Hour", "the same name", "rename"),
    Mistake(
        "hour: int", "hour: int\n      split: int", "split: i", "sources.trips.columns.split", "ingest adds", "name"
    ),
    Mistake(
        HASH,
        "{by: time, column: hour, validation_from: 2013-01-01, test_from: 2013-02-01}",
        "by: time",
        "ingest.split.column",
        "column 'hour' is a int",
        "expected a timestamp or date",
    ),
    Mistake(
        HASH,
        "{by: time, column: started, validation_from: soon, test_from: 2013-02-01}",
        "by: time",
        "ingest.split",
        "found keys by, column",
        "validation_from is 'soon'; expected a time such as 2013-10-20",
    ),
    Mistake(
        HASH,
        "{by: time, column: started, validation_from: 2013-03-01, test_from: 2013-02-01}",
        "by: time",
        "ingest.split",
        "found keys by, column",
        "validation_from must be before test_from",
    ),
]

CONTRACT = [
    Mistake(
        f"{NULL}:",
        "- expect_column_values_not_null:",
        "not_null:",
        "contract.expectations.0.expect_column_values_not_null",
        "unknown expectation",
        "did you mean 'expect_column_values_to_not_be_null'?",
    ),
    Mistake("min_value:", "min_val:", "min_val", BETWEEN_KEY, "unknown argument 'min_val'", "mean 'min_value'?"),
    Mistake("{column: late}", "{}", NULL, NOT_NULL_KEY, "argument 'column' is missing", "it has no default"),
    Mistake("{column: late}", "", NULL, NOT_NULL_KEY, "found nothing", SECTION),
    Mistake(f"{NULL}: {{column: late}}", NULL, NULL, "contract.expectations.0", "found 'expect_", SECTION),
    Mistake(f"    {BETWEEN}", f"      {BETWEEN[2:]}", NULL, "contract.expectations.0", "found keys", "one expectation"),
    Mistake("max_value: 100", "max_value: [1]", "[1]", BETWEEN_KEY, "argument 'max_value' is [1]", "number or string"),
    Mistake(
        "max_value: 100", "max_value: -1", "max_value", BETWEEN_KEY, "more than max_value -1", "no value is between"
    ),
    Mistake(
        "min_value: 0",
        "min_value: low",
        "min_value",
        f"{BETWEEN_KEY}.min_value",
        "found 'low' for a column of type double",
        "expected a number",
    ),
    Mistake(
        f"{NULL}: {{column: late}}",
        "- expect_column_values_to_match_regex: {column: city, regex: '[A-'}",
        "match_regex",
        "contract.expectations.0.expect_column_values_to_match_regex",
        "argument 'regex' is \"[A-\"",
        "not a regular expression: unterminated character set",
    ),
    Mistake(
        "path: cities.csv", "path: ftp://x/c.csv", "ftp", "sources.cities.path", "found 'ftp://x/c.csv'", "file:///"
    ),
    Mistake("max_value: 100", "mostly: 2", "mostly", BETWEEN_KEY, "argument 'mostly' is 2", "number from 0 to 1"),
    Mistake("max_value: 100", "meta: {}", "meta", BETWEEN_KEY, "unknown argument 'meta'", "expected one of"),
    Mistake("{column: late}", "{column: [late]}", NULL, NOT_NULL_KEY, "argument 'column' is", "expected string"),
]

FUNCTIONS = [
    Mistake("tabular:build", "tabul:build", "tabul:", "train.model", "no module 'train.models.tabul'", "'tabular'?"),
    Mistake(
        "train.models.tabular", "trian.models", "trian", "train.model", "no module 'trian'", "did you mean 'train'?"
    ),
    Mistake("train.models.tabular", "qqzz", "qqzz", "train.model", "no module 'qqzz'", "must be importable"),
    Mistake("tabular:build", "tabular:biuld", "biuld", "train.model", "no function 'biuld'", "did you mean 'build'?"),
    Mistake("tabular:build", "tabular.build", "tabular.", "train.model", "found 'train", "expected module:function"),
    Mistake(
        "drop: [id]", "call: {function: 'qqzz:f'}", "qqzz", "ingest.steps.3.call.function", "no module 'qqzz'", "import"
    ),
    Mistake(
        "drop: [id]",
        "call: {function: 'train.models.tabular:build', drops: [idd]}",
        "idd",
        "ingest.steps.3.call.drops.0",
        "unknown column 'idd'",
        "did you mean 'id'?",
    ),
]


def problems_of(path: Path, settings: list[str] | None = None) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_product(path, settings=settings)
    assert caught.value.problems, str(caught.value)
    return caught.value.problems


def line_of(path: Path, piece: str) -> int:
    before, found, _ = path.read_text().partition(piece)
    assert found, piece
    return before.count("\n") + 1


@pytest.mark.parametrize("mistake", [*KEYS, *VALUES, *COLUMNS, *CONTRACT, *FUNCTIONS], ids=lambda m: m.new or m.old)
def test_a_mistake_is_told(mistake: Mistake, tmp_path: Path) -> None:
    path = write_product(tmp_path, (mistake.old, mistake.new))
    problems = problems_of(path)
    reported = next((p for p in problems if p.key == mistake.key), None)
    assert reported is not None, "\n".join(map(str, problems))
    assert reported.where == f"{path}:{line_of(path, mistake.at)}"
    assert mistake.found in reported.found
    assert mistake.allowed in reported.allowed


@pytest.mark.parametrize(
    ("new", "key", "allowed"),
    [
        ("people: decimal(10,2)", "people", 'within { } a comma ends a value; put the value in quotes, such as "dec'),
        ("people: decimal(10,2)", "2)", "within { } a comma ends a value"),
        ('"Num people": int', "Num people", "from: takes the name in the file"),
        ("people: {type: date, format: yyyy}", "people.format", "did you mean 'pattern'?"),
    ],
)
def test_what_people_write_in_columns(new: str, key: str, allowed: str, tmp_path: Path) -> None:
    problems = problems_of(write_product(tmp_path, ("people: int", new)))
    assert allowed in {problem.key: problem.allowed for problem in problems}[f"sources.cities.columns.{key}"]


def test_several_words_for_null(tmp_path: Path) -> None:
    options = ("path: cities.csv", "path: cities.csv\n    options: {nullValue: [NA, x]}")
    assert "null_values of a column takes more" in problems_of(write_product(tmp_path, options))[0].allowed


def test_a_correct_file_has_no_problem(tmp_path: Path) -> None:
    assert load_product(write_product(tmp_path)).config.product == "trips"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = write_product(tmp_path, ("hour > 20", "huor > 20"), ("[city, started]", "[town]"), ("auc:", "acu:"))
    assert [problem.key for problem in problems_of(path)] == [
        "ingest.steps.2.derive.late",
        "ingest.key.0",
        "evaluate.gates.acu",
    ]


def test_one_wrong_step_is_one_line(tmp_path: Path) -> None:
    """Names that a wrong join would have given are not reported again wherever they are used."""
    assert len(problems_of(write_product(tmp_path, ("source: cities", "source: citys")))) == 1
    assert len(problems_of(write_product(tmp_path, ("{people: people", "{people: peple")))) == 1
    assert len(problems_of(write_product(tmp_path, ("nullValue: NA", "nullValue:")))) == 1


@pytest.mark.parametrize("origin", ["paid", "late"])
def test_a_column_made_from_a_forbidden_one_is_forbidden(origin: str, tmp_path: Path) -> None:
    changes = [("per_km: people / distance", f"middle: {origin} * 2\n        per_km: middle / distance")]
    changes += [("    distance: {as: numeric}", "    per_km: {as: numeric}")]
    (problem,) = problems_of(write_product(tmp_path, *changes))
    assert problem.key == "features.inputs.per_km"
    assert problem.found.startswith(f"column 'per_km' is computed from '{origin}', which is ")


def test_a_metric_of_another_task(tmp_path: Path) -> None:
    changes = [("task: binary", "task: regression"), ("label: late", "label: paid")]
    (problem,) = problems_of(write_product(tmp_path, *changes))
    assert (problem.key, problem.allowed) == ("evaluate.gates.auc", "expected one of: mae, r2, rmse")


def test_a_value_is_quoted_in_short(tmp_path: Path) -> None:
    (problem,) = problems_of(write_product(tmp_path, ("epochs: 2", f"epochs: {'x' * 5000}")))
    assert len(str(problem)) < 300

"""Parses the SQL expressions of a product file, and finds unknown functions and functions that change their result.

``spark_functions.json`` lists Spark's functions; ``scripts/spark_functions.py`` makes it from Spark itself.
"""

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from millrace.dotted import suggestion

NOT_SQL: Final = "not a Spark SQL expression"
_SYNTAX: Final = frozenset({
    "cast", "try_cast", "extract", "over", "filter", "group", "within", "exists", "overlay", "position", "trim",
    "substring", "timestampadd", "timestampdiff", "dateadd", "datediff", "date_diff", "any", "some", "all", "values",
})  # fmt: skip
"""Words that may stand before a bracket and that Spark's grammar knows, not its list of functions."""
_BY_ORDER: Final = (
    exp.First, exp.FirstValue, exp.Last, exp.LastValue, exp.NthValue, exp.AnyValue, exp.ArrayAgg, exp.ArrayUniqueAgg,
    exp.GroupConcat, exp.Mode, exp.ArgMax, exp.ArgMin,
)  # fmt: skip
"""Aggregate functions whose result depends on the order of rows, if there are ties."""
_WITHOUT_ORDER: Final = (exp.ArraySort, exp.ArrayMax, exp.ArrayMin, exp.ArraySize)
"""Functions of an array that give the same result for every order of its elements."""
_SESSION: Final = frozenset({
    "current_catalog", "current_database", "current_path", "current_schema", "current_timezone", "current_user",
    "session_user", "user", "version",
})  # fmt: skip
"""Functions whose result depends on the user, the session or the program, not on the row."""
_CLOCK_WORDS: Final = frozenset({"now", "today", "tomorrow", "yesterday"})
"""Texts that Spark takes for the time of the query, in a literal such as date'today' and in a cast."""
_CLOCKS_WITHOUT_ARGUMENTS: Final = frozenset({"unix_timestamp", "to_unix_timestamp"})
_OPERATORS: Final = {
    "Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "IntDiv": "DIV", "Mod": "%", "And": "AND", "Or": "OR", "Not": "NOT",
    "EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">=", "Like": "LIKE", "RLike": "RLIKE",
    "Between": "BETWEEN", "In": "IN", "NullSafeEQ": "<=>", "Neg": "-",
}  # fmt: skip


@dataclass(frozen=True)
class Mistake:
    """A mistake in an expression: what was found, and what is allowed."""

    found: str
    allowed: str


@dataclass(frozen=True)
class Functions:
    """The functions of a version of Spark.

    Attributes:
        version: The version.
        names: All functions, in lower case.
        changing: Those that give another value each time, or in each run.
    """

    version: str
    names: frozenset[str]
    changing: frozenset[str]


@functools.cache
def spark_functions() -> Functions:
    """Read the list that is shipped with this package."""
    text = resources.files(__package__).joinpath("spark_functions.json").read_text(encoding="utf-8")
    values = json.loads(text)
    return Functions(values["version"], frozenset(values["names"]), frozenset(values["changing"]))


def parse(expression: str) -> exp.Expr | Mistake:
    """Parse an expression that gives one value for a row."""
    try:
        # In brackets, as ingest uses it, because a statement is not a valid expression.
        tree = sqlglot.parse_one(f"({expression}\n)", dialect="spark")
    except SqlglotError as error:
        return Mistake(NOT_SQL, _in_words(error, expression))
    except (ValueError, IndexError):  # of the parser, for functions such as map
        return Mistake(NOT_SQL, "expected another number of arguments of a function")
    if isinstance(tree, exp.Tuple) or tree.find(exp.Query):
        return Mistake(NOT_SQL, "expected one value, not a list or a query")
    return tree


def check_functions(expression: str) -> list[Mistake]:
    """Find the functions that Spark does not have, and those whose result differs from run to run."""
    functions, mistakes = spark_functions(), []
    tokens = [None, *sqlglot.tokenize(expression, dialect="spark"), None, None]
    for before, token, behind, next_one in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        if token is None:
            break
        name, is_call = token.text.lower(), behind is not None and behind.token_type == TokenType.L_PAREN
        is_empty = is_call and next_one is not None and next_one.token_type == TokenType.R_PAREN
        if (
            (name in functions.changing and (is_call or _is_clock(token)))
            or (name in _CLOCKS_WITHOUT_ARGUMENTS and is_empty)
            or (token.token_type == TokenType.STRING and name in _CLOCK_WORDS and _is_time(before, behind))
        ):
            mistakes.append(
                Mistake(f"{name} gives another value in each run", "use columns only, such as a hash of the key")
            )
        elif name in _SESSION and (is_call or _is_clock(token)):
            mistakes.append(Mistake(f"{name} depends on who runs the job, and where", "write the value itself"))
        elif is_call and token.token_type == TokenType.VAR and name not in functions.names | _SYNTAX:
            mistakes.append(Mistake(f"Spark has no function '{token.text}'", suggestion(name, functions.names)))
    return mistakes


def check_row(expression: str) -> Mistake | None:
    """Find an aggregate function in an expression for one row; in a window it is allowed."""
    tree = parse(expression)
    if isinstance(tree, Mistake):
        return None
    alone = next((call for call in tree.find_all(exp.AggFunc) if not call.find_ancestor(exp.Window)), None)
    if alone is None:
        return None
    return Mistake(f"{alone.sql('spark')} needs many rows", "use an aggregate step, or a window: ... OVER (...)")


def check_aggregate(expression: str) -> Mistake | None:
    """Find an aggregate function whose result depends on the order of rows, or a missing aggregate function."""
    tree = parse(expression)
    if isinstance(tree, Mistake):
        return None
    by_order = next(filter(_uses_order, tree.find_all(*_BY_ORDER)), None)
    if by_order is not None:
        allowed = "use a function that does not, such as min, max or sort_array(collect_set(x))"
        return Mistake(f"{by_order.sql('spark')} depends on the order of rows", allowed)
    if not tree.find(exp.AggFunc, exp.Anonymous, exp.Any):
        return Mistake("no aggregate function", "expected one, such as sum(x) or count(*)")
    return None


def _uses_order(call: exp.Expr) -> bool:
    if isinstance(call, exp.Mode) and str(call.args.get("deterministic")).lower() == "true":
        return False
    is_array = isinstance(call, exp.ArrayAgg | exp.ArrayUniqueAgg)
    return not (is_array and call.find_ancestor(*_WITHOUT_ORDER))


def _is_time(before: Token | None, behind: Token | None) -> bool:
    """Whether a text between two tokens is read as a time: a typed literal, or the operand of a cast."""
    is_literal = before is not None and before.text.lower() in ("date", "timestamp", "timestamp_ntz", "timestamp_ltz")
    return is_literal or (behind is not None and behind.text.lower() in ("as", "::"))


def _is_clock(token: Token) -> bool:
    """Whether the token is a function that SQL writes without brackets, such as current_date."""
    return token.token_type.name.startswith(("CURRENT_", "LOCALTIME"))


def _in_words(error: SqlglotError, expression: str) -> str:
    """The parser's error in the words of SQL, with the place in the expression."""
    if isinstance(error, TokenError):
        return "a quote or a bracket is not closed, or a character does not belong there"
    details = error.errors[0] if isinstance(error, ParseError) and error.errors else {}
    description, near = str(details.get("description", "")), str(details.get("highlight", ""))
    lines = expression.count("\n") + 1
    at_end = details.get("line", 0) > lines
    operator = next((sign for name, sign in _OPERATORS.items() if f".{name}'>" in description), "")
    if operator:
        what = f"a value is missing behind {operator}"
    elif description.startswith("Expected"):
        what = description[0].lower() + description[1:]
    elif description == "Expecting )" and at_end:
        what = "a closing bracket is missing; within { } an expression with a comma must be in quotes"
    else:
        what = f"syntax error near '{near}'" if near and not at_end else "syntax error"
    if at_end or not near:
        return f"{what}, at the end"
    line, column = details["line"], details["col"] - len(near) + 1 - (details["line"] == 1)
    return f"{what}, column {column}" if lines == 1 else f"{what}, line {line}, column {column}"

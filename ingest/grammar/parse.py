"""Turns texts into values by the grammar of their declared types, and says why a text is not a value."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from ingest.grammar import numbers, times
from ingest.spark.columns import SHOWN_VALUE
from millrace.config.sections.columns import FLOATS, INTEGERS, Column

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression

BLANKS: Final = r"[\x00-\x20\x7f]"
"""The characters that Spark's casts remove at both ends of a text."""
_MARK: Final = "\x01"
_BASE64: Final = r"^[A-Za-z0-9+/]*+={0,2}+\z"
_HEX: Final = r"^[0-9A-Fa-f]*+\z"


def text_of(text: "Expression", column: Column) -> "Expression":
    """The text, or null for one of the column's words for null."""
    return F.when(~text.isin(*column.null_values), text) if column.null_values else text


def value_of(text: "Expression", column: Column, has_no_blanks: "Expression | None" = None) -> "Expression":
    """The value of a text; null if the text is null or not of the column's type.

    Args:
        text: The text.
        column: Its declaration.
        has_no_blanks: A condition for texts without a character of `BLANKS`, if it is known; it saves time.
    """
    if column.type in INTEGERS:
        return numbers.integer(text, column, has_no_blanks)
    read = _BY_TYPE.get(column.type.partition("(")[0])
    return read(text, column) if read else text


def mismatch(name: str, column: Column, text: "Expression", value: "Expression", behind: str = "'") -> "Expression":
    """The reason why a text is not a value, with the column's name and the text's first characters.

    Args:
        name: The column.
        column: Its declaration.
        text: The text.
        value: Result of `value_of`.
        behind: What follows the text in the message, with the closing quote.

    Returns:
        Null for a text that is a value, or null.
    """
    what = f"of type {describe(column)}"
    fault = F.lit(f"{behind} is not {what}")
    if column.type in FLOATS:
        number = numbers.floating(text, column.model_copy(update={"exact": False}))
        infinite = text.rlike(numbers.NOT_FINITE_WORDS) | (text.rlike(numbers.pattern_of(column)) & number.isNull())
        rounded = F.when(number.isNotNull(), F.lit(f"{behind} is not exactly {what}")).otherwise(fault)
        fault = F.when(infinite, F.lit(f"{behind} is not a finite number")).otherwise(rounded)
    elif column.exact and column.type != "date":
        rounded = value_of(text, column.model_copy(update={"exact": False}))
        fault = F.when(rounded.isNotNull(), F.lit(f"{behind} is not exactly {what}")).otherwise(fault)
    shown = F.concat(F.lit(f"column '{name}': '"), F.left(text, F.lit(SHOWN_VALUE)), fault)
    return F.when(text.isNotNull() & value.isNull(), shown)


def describe(column: Column) -> str:
    """The type of a column, and how its text is written if that is declared."""
    ways = [*column.pattern] or [f"{column.unit} since 1970"] * bool(column.unit)
    ways += [f"decimal '{column.decimal}'"] * bool(column.decimal)
    ways += [f"thousands '{column.thousands}'"] * bool(column.thousands)
    words = [*column.true_values, *column.false_values]
    ways += [f"true, false, {', '.join(words)}"] * bool(words)
    ways += [str(column.encoding)] * bool(column.encoding)
    return f"{column.type} ({' or '.join(ways)})" if ways else column.type


def find_mismatch(
    columns: Mapping[str, Column], texts: Mapping[str, "Expression"], values: Mapping[str, "Expression"]
) -> "Expression":
    """The number of the first column whose text is not a value; null if all are.

    Only a number, because the code for the reasons of many columns would be too long for Java to compile: reading then
    takes three times as long. See `mark` and `explain`.
    """
    numbered = enumerate(columns.items())
    typed = [(number, name) for number, (name, column) in numbered if column.type != "string"]
    wrong = [F.when(texts[name].isNotNull() & values[name].isNull(), F.lit(number)) for number, name in typed]
    return F.coalesce(*wrong, F.lit(None).cast("int"))


def mark(number: "Expression", texts: Mapping[str, "Expression"]) -> "Expression":
    """A short reason, for `explain`: the number of a column and the start of its text; null without a number."""
    text = F.left(F.element_at(F.array(*texts.values()), number + 1), F.lit(SHOWN_VALUE))
    return F.when(number.isNotNull(), F.concat(F.lit(_MARK), number.cast("string"), F.lit(_MARK), text))


def explain(reason: "Expression", columns: Mapping[str, Column]) -> "Expression":
    """The reason in words: what `mark` wrote becomes a `mismatch`, any other reason stays."""
    parts = F.split(reason, _MARK, 3)
    number, text = F.get(parts, 1), F.get(parts, 2)
    words = reason
    for position, (name, column) in enumerate(columns.items()):
        known = mismatch(name, column, text, value_of(text, column))
        # The start of a long text may be a value.
        other = F.concat(F.lit(f"column '{name}': '"), text, F.lit(f"' is not of type {describe(column)}"))
        words = F.when(number == str(position), F.coalesce(known, other)).otherwise(words)
    return F.when(reason.startswith(_MARK), words).otherwise(reason)


def _boolean(text: "Expression", column: Column) -> "Expression":
    low = F.lower(text)
    is_true, is_false = low == "true", low == "false"
    if column.true_values:
        is_true = is_true | text.isin(*column.true_values)
    if column.false_values:
        is_false = is_false | text.isin(*column.false_values)
    return F.when(is_true, F.lit(True)).when(is_false, F.lit(False))


def _binary(text: "Expression", column: Column) -> "Expression":
    if column.encoding == "base64":
        is_valid = text.rlike(_BASE64) & (F.length(text) % 4 == 0)
        return F.when(is_valid, F.try_to_binary(text, F.lit("base64")))
    if column.encoding == "hex":
        is_valid = text.rlike(_HEX) & (F.length(text) % 2 == 0)
        return F.when(is_valid, F.try_to_binary(text, F.lit("hex")))
    return text.cast("binary")


_BY_TYPE: Final[Mapping[str, Callable[["Expression", Column], "Expression"]]] = {
    **dict.fromkeys(FLOATS, numbers.floating),
    "decimal": numbers.decimal,
    "boolean": _boolean,
    "date": times.day,
    "timestamp": times.moment,
    "binary": _binary,
}

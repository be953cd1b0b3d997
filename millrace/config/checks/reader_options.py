"""The reader options that a source may set, checked by name and value: Spark ignores a misspelt one in silence."""

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from millrace.config.sections.product import Config
from millrace.config.sections.sources import Source
from millrace.config.yaml.document import Document
from millrace.dotted import suggestion
from millrace.errors import Problem

CSV_OPTIONS: Final = (
    "sep", "delimiter", "quote", "escape", "charToEscapeQuoteEscaping", "unescapedQuoteHandling", "header",
    "multiLine", "encoding", "nullValue", "emptyValue", "ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace",
    "dateFormat", "timestampFormat", "locale", "maxColumns", "maxCharsPerColumn",
)  # fmt: skip
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "csv": CSV_OPTIONS,
    "json": ("encoding", "dateFormat", "timestampFormat", "locale", "allowNumericLeadingZeros", "allowSingleQuotes"),
    "text": ("encoding",),
    "jdbc": (
        "fetchsize", "queryTimeout", "sessionInitStatement", "partitionColumn", "lowerBound", "upperBound",
        "numPartitions",
    ),
}  # fmt: skip
"""Options by format; a format that is not here takes none."""
RESERVED: Final = {
    "mode": "malformed rows always go to the table of rejects",
    "columnnameofcorruptrecord": "malformed rows always go to the table of rejects",
    "enforceschema": "the header is always compared with the declared columns",
    "inferschema": "types are declared in columns, never inferred",
    "linesep": "lines end with a line feed, a carriage return or both",
    "comment": "a line that is left out could not be accounted for",
}
_FLAGS: Final = frozenset({
    "header", "multiLine", "ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace", "allowNumericLeadingZeros",
    "allowSingleQuotes",
})  # fmt: skip
_CHARACTERS: Final = frozenset({"sep", "quote", "escape", "charToEscapeQuoteEscaping"})
_NUMBERS: Final = frozenset({"maxColumns", "maxCharsPerColumn", "fetchsize", "queryTimeout", "numPartitions"})
_QUOTE_HANDLING: Final = (
    "STOP_AT_CLOSING_QUOTE", "BACK_TO_DELIMITER", "STOP_AT_DELIMITER", "SKIP_VALUE", "RAISE_ERROR",
)  # fmt: skip


@dataclass(frozen=True)
class ReaderOptions:
    """What ingest itself has to know of a source's options.

    Attributes:
        spark: Options that Spark parses a line with.
        header: Whether each file starts with a header line.
        multi_line: Whether a value may hold line breaks.
        encoding: Name of the text's encoding.
        separator: What stands between fields.
        quote: What stands around a field; may be nothing.
        trims: Whether blanks around fields do not count.
    """

    spark: dict[str, str]
    header: bool
    multi_line: bool
    encoding: str
    separator: str
    quote: str
    trims: bool

    @property
    def is_utf8(self) -> bool:
        """Whether Spark can read the bytes as they are."""
        return codecs.lookup(self.encoding).name in ("utf-8", "ascii")


def read_options(source: Source) -> ReaderOptions:
    """What a source's options mean; `check_options` has found nothing wrong with them."""
    canonical = _canonical(source.format)
    given = {canonical[option.lower()]: _text(value) for option, value in source.options.items()}
    if source.format != "csv":
        encoding = given.pop("encoding", "utf-8")
        return ReaderOptions(given, False, False, encoding, separator="", quote="", trims=False)
    separator = _character(given.get("sep", ","))
    quote = given.get("quote", '"')
    header, multi_line = given.pop("header", "true"), given.pop("multiLine", "false")
    return ReaderOptions(
        encoding=given.pop("encoding", "utf-8"),
        # Spark's default escape is a backslash: it would read the quotes which nearly everybody doubles as they stand.
        spark={"escape": quote, **given, "sep": separator},
        header=header == "true",
        multi_line=multi_line == "true",
        separator=separator,
        quote=quote,
        trims=given.get("ignoreLeadingWhiteSpace") == "true",
    )


def check_options(config: Config, document: Document) -> list[Problem]:
    """Unknown and reserved options, and values that cannot be."""
    problems = []
    for name, source in config.sources.items():
        for option, found, allowed in find_mistakes(source.options, source.format):
            path = ("sources", name, "options", option)
            problems.append(Problem(document.place(path), ".".join(path), found, allowed))
    return problems


def _canonical(format_name: str) -> dict[str, str]:
    names = {name.lower(): name for name in KNOWN.get(format_name, ())}
    return names | ({"delimiter": "sep"} if format_name == "csv" else {})


def find_mistakes(options: Mapping[str, str | bool | int], format_name: str = "csv") -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong: the option as it was written, what was found, what is allowed."""
    written: dict[str, str] = {}
    canonical, known = _canonical(format_name), KNOWN.get(format_name, ())
    for option, value in options.items():
        key = option.lower()
        if key in RESERVED:
            yield option, f"option '{option}' is not yours to set", RESERVED[key]
        elif key not in canonical:
            allowed = suggestion(option, known) if known else f"format {format_name} takes no options"
            yield option, f"unknown option '{option}'", allowed
        elif canonical[key] in written:
            yield option, f"'{option}' and '{written[canonical[key]]}' are one option", "leave one of them"
        else:
            written[canonical[key]] = option
            wrong = _allowed(canonical[key], _text(value))
            if wrong:
                yield option, f"found '{_text(value)}'", wrong


def _allowed(option: str, value: str) -> str | None:
    """What an option may be; None where its value is that."""
    if option in _FLAGS and value not in ("true", "false"):
        return "expected true or false"
    if option in _CHARACTERS and len(_character(value)) != 1 and not (option == "quote" and not value):
        return f"expected one character{' or none' if option == 'quote' else ''}"
    if option in _NUMBERS and not value.lstrip("-").isdecimal():
        return "expected a whole number"
    if option == "unescapedQuoteHandling" and value not in _QUOTE_HANDLING:
        return suggestion(value, _QUOTE_HANDLING)
    return None if option != "encoding" or _is_encoding(value) else "expected a text encoding, such as utf-8 or latin-1"


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def _text(value: str | bool | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _character(value: str) -> str:
    return "\t" if value == "\\t" else value

"""Checks names and values of the reader options of sources: Spark silently ignores a misspelled option."""

import codecs
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from millrace.config.sections.patterns import pattern_mistake
from millrace.config.sections.product import Config
from millrace.config.sections.sources import Source
from millrace.config.yaml.document import Document
from millrace.dotted import suggestion
from millrace.errors import Problem

CSV_OPTIONS: Final = (
    "sep", "delimiter", "quote", "escape", "charToEscapeQuoteEscaping", "unescapedQuoteHandling", "header",
    "multiLine", "encoding", "nullValue", "emptyValue", "ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace",
    "dateFormat", "timestampFormat", "maxColumns", "maxCharsPerColumn",
)  # fmt: skip
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "csv": CSV_OPTIONS,
    "json": ("encoding", "dateFormat", "timestampFormat"),
    "text": ("encoding",),
    "jdbc": (
        "fetchsize", "queryTimeout", "sessionInitStatement", "partitionColumn", "lowerBound", "upperBound",
        "numPartitions",
    ),
}  # fmt: skip
"""Allowed options by format; formats that are not listed have none."""
RESERVED: Final = {
    "mode": "malformed rows always go to the rejects table",
    "columnnameofcorruptrecord": "malformed rows always go to the rejects table",
    "enforceschema": "the header is always compared with the declared columns",
    "inferschema": "types are declared in columns, never inferred",
    "linesep": "lines end with a line feed, a carriage return or both",
    "comment": "Millrace counts every line, so none may be skipped",
    "locale": "declare how a column is written: decimal, thousands, pattern",
}
_FLAGS: Final = frozenset({
    "header", "multiLine", "ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace",
})  # fmt: skip
_CHARACTERS: Final = frozenset({"sep", "quote", "escape", "charToEscapeQuoteEscaping"})
_NUMBERS: Final = frozenset({"maxColumns", "maxCharsPerColumn", "fetchsize", "queryTimeout", "numPartitions"})
_QUOTE_HANDLING: Final = (
    "STOP_AT_CLOSING_QUOTE", "BACK_TO_DELIMITER", "STOP_AT_DELIMITER", "SKIP_VALUE", "RAISE_ERROR",
)  # fmt: skip


@dataclass(frozen=True)
class ReaderOptions:
    """The options of a source, as ingest uses them.

    Attributes:
        spark: Options for Spark's parser.
        header: Whether each file starts with a header line.
        multi_line: Whether a value may hold line breaks.
        encoding: Name of the text encoding.
        separator: The separator between fields.
        quote: The quote character around a field; may be empty.
        trims: Whether spaces around fields are removed.
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
        """Whether Spark can read the bytes without conversion."""
        return codecs.lookup(self.encoding).name in ("utf-8", "ascii")


def read_options(source: Source) -> ReaderOptions:
    """Read the options of a source, which must have passed `check_options`."""
    canonical = _canonical(source.format)
    options = {canonical[option.lower()]: _text(value) for option, value in source.options.items()}
    if source.format != "csv":
        encoding = options.pop("encoding", "utf-8")
        return ReaderOptions(options, False, False, encoding, separator="", quote="", trims=False)
    separator = _character(options.get("sep", ","))
    quote = options.get("quote", '"')
    header, multi_line = options.pop("header", "true"), options.pop("multiLine", "false")
    return ReaderOptions(
        encoding=options.pop("encoding", "utf-8"),
        # Spark's default escape is a backslash. Most CSV files escape a quote by doubling it.
        spark={"escape": quote, **options, "sep": separator},
        header=header == "true",
        multi_line=multi_line == "true",
        separator=separator,
        quote=quote,
        trims=options.get("ignoreLeadingWhiteSpace") == "true",
    )


def check_options(config: Config, document: Document) -> list[Problem]:
    """Report unknown and reserved options, and invalid values."""
    problems = []
    for name, source in config.sources.items():
        for option, found, allowed in find_mistakes(source.options, source.format):
            path = ("sources", name, "options", option)
            problems.append(Problem(document.location(path), ".".join(path), found, allowed))
    return problems


def _canonical(format_name: str) -> dict[str, str]:
    names = {name.lower(): name for name in KNOWN.get(format_name, ())}
    return names | ({"delimiter": "sep"} if format_name == "csv" else {})


def find_mistakes(options: Mapping[str, str | bool | int], format_name: str = "csv") -> Iterator[tuple[str, str, str]]:
    """Yield each mistake: the option as written, what was found, what is allowed."""
    written: dict[str, str] = {}
    canonical, known = _canonical(format_name), KNOWN.get(format_name, ())
    for option, value in options.items():
        key = option.lower()
        if key in RESERVED:
            yield option, f"option '{option}' cannot be set", RESERVED[key]
        elif key not in canonical:
            allowed = suggestion(option, known) if known else f"format {format_name} takes no options"
            yield option, f"unknown option '{option}'", allowed
        elif canonical[key] in written:
            yield option, f"'{option}' and '{written[canonical[key]]}' are the same option", "remove one of them"
        else:
            written[canonical[key]] = option
            wrong = _allowed(canonical[key], _text(value))
            if wrong:
                yield option, f"found '{_text(value)}'", wrong


def _allowed(option: str, value: str) -> str | None:
    """What is allowed for an option; None if the value is valid."""
    if option in _FLAGS and value not in ("true", "false"):
        return "expected true or false"
    if option in _CHARACTERS and len(_character(value)) != 1 and not (option == "quote" and not value):
        return f"expected one character{' or none' if option == 'quote' else ''}"
    if option in _NUMBERS and not value.lstrip("-").isdecimal():
        return "expected a whole number"
    if option in ("dateFormat", "timestampFormat"):
        return pattern_mistake(value, option.removesuffix("Format")) or None
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

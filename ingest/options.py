"""The reader options that a source may set, checked by name: Spark ignores a misspelt one in silence."""

import codecs
from dataclasses import dataclass
from typing import Final

from ingest.errors import OptionRefused
from pipelines.config.dotted import suggestion
from pipelines.config.sections import Source

KNOWN: Final = (
    "sep", "delimiter", "quote", "escape", "charToEscapeQuoteEscaping", "unescapedQuoteHandling", "header",
    "multiLine", "encoding", "nullValue", "emptyValue", "ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace",
    "dateFormat", "timestampFormat", "locale", "maxColumns", "maxCharsPerColumn",
)  # fmt: skip
_CANONICAL: Final = {name.lower(): name for name in KNOWN}
RESERVED: Final = {
    "mode": "malformed rows always go to the table of rejects",
    "columnnameofcorruptrecord": "malformed rows always go to the table of rejects",
    "enforceschema": "the header is always compared with the declared columns",
    "inferschema": "types are declared in columns, never inferred",
    "linesep": "lines end with a line feed, a carriage return or both",
    "comment": "a line that is left out could not be accounted for",
}


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


def read_options(name: str, source: Source) -> ReaderOptions:
    """Check a source's options.

    Raises:
        OptionRefused: An option is unknown, reserved, or has a value that cannot be.
    """
    given: dict[str, str] = {}
    for option, value in source.options.items():
        key = option.lower()
        if key in RESERVED:
            raise OptionRefused(name, option, reason=f"not yours to set: {RESERVED[key]}")
        if key not in _CANONICAL:
            raise OptionRefused(name, option, reason=f"unknown option; {suggestion(option, KNOWN)}")
        given[_CANONICAL[key]] = str(value).lower() if isinstance(value, bool) else str(value)
    encoding = given.pop("encoding", "utf-8")
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise OptionRefused(name, "encoding", reason=f"unknown encoding '{encoding}'") from None
    header = _flag(name, given, "header", default=True)
    multi_line = _flag(name, given, "multiLine", default=False)
    leading = _flag(name, given, "ignoreLeadingWhiteSpace", default=False, keep=True)
    separator = given.pop("delimiter", None) or given.get("sep", ",")
    separator = "\t" if separator == "\\t" else separator
    if len(separator) != 1:
        raise OptionRefused(name, "sep", reason=f"expected one character, found '{separator}'")
    given["sep"] = separator
    quote = given.get("quote", '"')
    if len(quote) > 1:
        raise OptionRefused(name, "quote", reason=f"expected one character or none, found '{quote}'")
    # Spark's default is a backslash, so that it reads the quotes which nearly everybody writes double as they stand.
    given.setdefault("escape", quote)
    return ReaderOptions(given, header, multi_line, encoding, separator, quote, leading)


def _flag(source: str, given: dict[str, str], option: str, *, default: bool, keep: bool = False) -> bool:
    value = given.get(option, str(default).lower())
    if value not in ("true", "false"):
        raise OptionRefused(source, option, reason=f"expected true or false, found '{value}'")
    if not keep:
        given.pop(option, None)
    return value == "true"

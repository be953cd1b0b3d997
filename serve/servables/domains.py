"""Checks the values of a request against the model's contract and its training data.

The contract is a rule, which can be enforced. The range of the training data is not: a value outside of it is answered
and may be counted, as an early sign of data drift.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from millrace.config.sections.serve import DomainMode
from millrace.errors import shorten
from millrace.features.encoding import INT64_MIN
from millrace.features.spec import Domain, Feature, FeatureSpec, Range
from millrace.features.timestamps import moment_of
from millrace.models.vocabularies import Vocabulary, read_vocabularies

logger = logging.getLogger(__name__)

Kind = Literal["contract", "training"]
Counts = Counter[tuple[str, Kind]]
"""Number of values outside of a domain, by input and kind of domain."""
Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

MAX_WORDS: Final = 100_000
"""A larger vocabulary is not checked: it would take as much memory as the model."""
SHOWN: Final = 10
"""Most values of a domain in a message."""


@dataclass(frozen=True)
class Outside:
    """Values of one input that are outside of a domain.

    Attributes:
        feature: The input.
        kind: "contract": the contract does not allow them. "training": only the training data does not have them.
        rows: A mask over the rows.
    """

    feature: Feature
    kind: Kind
    rows: Mask

    def rule(self, value: Any) -> str:
        """A message: the value, and what the contract allows."""
        allowed = _describe(self.feature, self.feature.domain or Domain())
        return f"is {shorten(_show(self.feature, value), 64)}, the contract of the model's data allows {allowed}"


class Domains:
    """The values that the contract allows for a model's inputs, and those that its training data had.

    Args:
        features: The inputs.
        vocabularies: The values of each category in the training data.
    """

    def __init__(self, features: Sequence[Feature], vocabularies: Mapping[str, Vocabulary] | None = None) -> None:
        self._features = {feature.name: feature for feature in features}
        self._allowed = {f.name: _as_set(f, f.domain.values) for f in features if f.domain and f.domain.values}
        self._observed = {
            name: _as_set(self._features[name], words if isinstance(words, frozenset) else words.to_pylist())
            for name, words in (vocabularies or {}).items()
            if name in self._features and len(words) <= MAX_WORDS
        }
        bounds = {f.name: _tightest(f) for f in features}
        self._bounded = [name for name, (low, high) in bounds.items() if (low, high) != (-np.inf, np.inf)]
        self._low = np.array([[bounds[name][0]] for name in self._bounded])
        self._high = np.array([[bounds[name][1]] for name in self._bounded])
        self._known = {
            name: frozenset.intersection(*(s[name] for s in (self._allowed, self._observed) if name in s))
            for name in self._allowed.keys() | self._observed.keys()
        }

    def outside(self, inputs: Mapping[str, Array]) -> list[Outside]:
        """The values outside of a domain, if any. Missing values are never outside.

        Args:
            inputs: One flat tensor per input, all of the same length.
        """
        found = []
        for name in self._suspects(inputs):
            feature, values = self._features[name], inputs[name]
            present = ~_is_missing(values)
            forbidden = present & ~self._is_allowed(feature, values)
            unobserved = present & ~forbidden & ~self._is_observed(feature, values)
            kinds: tuple[tuple[Kind, Mask], ...] = (("contract", forbidden), ("training", unobserved))
            found += [Outside(feature, kind, rows) for kind, rows in kinds if rows.any()]
        return found

    def _suspects(self, inputs: Mapping[str, Array]) -> list[str]:
        """Inputs that may have values outside: nearly always none. It takes only a few numpy calls."""
        names = [name for name, known in self._known.items() if not known.issuperset(inputs[name].tolist())]
        if self._bounded:
            table = np.empty((len(self._bounded), len(inputs[self._bounded[0]])))
            for line, name in enumerate(self._bounded):
                table[line] = inputs[name]
            # NaN, the missing float, is on neither side. The missing integer is below: its column is a suspect.
            wrong = (table < self._low) | (table > self._high)
            if wrong.any():
                names += [self._bounded[line] for line in np.flatnonzero(wrong.any(axis=1))]
        return list(dict.fromkeys(names))

    def _is_allowed(self, feature: Feature, values: Array) -> Mask:
        domain = feature.domain
        allowed = np.ones(len(values), np.bool_)
        if domain is None:
            return allowed
        if domain.min is not None:
            allowed &= values > domain.min if domain.excludes_min else values >= domain.min
        if domain.max is not None:
            allowed &= values < domain.max if domain.excludes_max else values <= domain.max
        if feature.name in self._allowed:
            allowed &= _is_in(values, self._allowed[feature.name])
        return allowed

    def _is_observed(self, feature: Feature, values: Array) -> Mask:
        if feature.name in self._observed:
            return _is_in(values, self._observed[feature.name])
        if feature.observed is None:
            return np.ones(len(values), np.bool_)
        low, high = _ends(feature.observed)
        return np.asarray((values >= low) & (values <= high))


def read_domains(folder: Path, spec: FeatureSpec | None) -> Domains | None:
    """The domains of a loaded version; None if Millrace did not train it.

    Args:
        folder: The SavedModel on this machine.
        spec: The feature spec of the model, if Millrace trained it.
    """
    if spec is None:
        return None
    vocabularies = read_vocabularies(folder)
    for name, words in (vocabularies or {}).items():
        if len(words) > MAX_WORDS:
            logger.info("input '%s' has %d values in the training data, too many to count others", name, len(words))
    return Domains(spec.inputs, vocabularies)


class DomainGuard:
    """Checks the batches of one loaded version, by the current settings of its model.

    Args:
        domains: The domains of the version.
        mode: Returns the current setting.
        counts: Counts the values outside.
    """

    def __init__(self, domains: Domains, mode: Callable[[], DomainMode], counts: Counts) -> None:
        self._domains = domains
        self._mode = mode
        self._counts = counts

    def check(self, inputs: Mapping[str, Array]) -> tuple[list[Outside], bool]:
        """The values outside, and whether rows with values that the contract forbids are refused."""
        mode = self._mode()
        return ([], False) if mode == "ignore" else (self._domains.outside(inputs), mode == "enforce")

    def count(self, found: Sequence[Outside], answered: Mask | None = None) -> None:
        """Count the values outside. Those of kind "training" count only in rows that are answered."""
        for outside in found:
            rows = outside.rows if answered is None or outside.kind == "contract" else outside.rows & answered
            self._counts[outside.feature.name, outside.kind] += int(np.count_nonzero(rows))


def _as_set(feature: Feature, values: Any) -> frozenset[Any]:
    """The values as they are in tensors, and the missing value."""
    if feature.dtype == "string":
        return frozenset([b"", *(value.encode() for value in values)])
    if feature.tensor_dtype in ("float32", "float64"):
        return frozenset(np.array(values, feature.tensor_dtype).tolist())
    return frozenset([INT64_MIN, *values])


def _is_in(values: Array, known: frozenset[Any]) -> Mask:
    return np.fromiter((value in known for value in values.tolist()), np.bool_, len(values))


def _is_missing(values: Array) -> Mask:
    if values.dtype.kind == "O":
        return np.asarray(values == b"")
    return np.isnan(values) if values.dtype.kind == "f" else np.asarray(values == INT64_MIN)


def _ends(bounds: Range) -> tuple[float, float]:
    return -np.inf if bounds.min is None else bounds.min, np.inf if bounds.max is None else bounds.max


def _tightest(feature: Feature) -> tuple[float, float]:
    """Bounds, included, between which a value is inside of both domains."""
    domain, observed = feature.domain or Domain(), feature.observed or Range()
    low, high = _ends(domain)
    low = float(np.nextafter(low, np.inf)) if domain.excludes_min else float(low)
    high = float(np.nextafter(high, -np.inf)) if domain.excludes_max else float(high)
    return max(low, _ends(observed)[0]), min(high, _ends(observed)[1])


def _describe(feature: Feature, domain: Domain) -> str:
    show, parts = partial(_show, feature), []
    if domain.min is not None:
        parts.append(f"{'more than' if domain.excludes_min else 'at least'} {show(domain.min)}")
    if domain.max is not None:
        parts.append(f"{'less than' if domain.excludes_max else 'at most'} {show(domain.max)}")
    if domain.values is not None:
        more = ", ..." if len(domain.values) > SHOWN else ""
        parts.append(f"one of {shorten(', '.join(map(show, domain.values[:SHOWN])), 200)}{more}")
    return " and ".join(parts)


def _show(feature: Feature, value: Any) -> str:
    if isinstance(value, bytes):
        return repr(value.decode(errors="replace"))
    if feature.dtype != "timestamp":
        return repr(value.item() if isinstance(value, np.generic) else value)
    try:
        return moment_of(int(value)).isoformat()
    except OverflowError:
        return str(value)

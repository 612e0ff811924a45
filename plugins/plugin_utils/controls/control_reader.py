# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads one mapping of a controls file key by key, so that every mistake is named and no key is left unread."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Union

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import VersionRange

_IDENTIFIER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)
_FIELD = re.compile(r"[a-z][A-Za-z0-9]*(\.[A-Za-z][A-Za-z0-9]*)*", re.ASCII)
_SYSCTL = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+", re.ASCII)
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
_PROOF = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)?", re.ASCII)
_MODE = re.compile(r"0[0-7]{3}", re.ASCII)
_PATH = re.compile(r"/[^\s\0]+")
_CITATIONS: Mapping[str, re.Pattern[str]] = {
    "cis": re.compile(r"[1-5](\.[0-9]+){1,2}", re.ASCII),
    "stig": re.compile(r"V-[0-9]{6}", re.ASCII),
    "nsa": re.compile(r".{3,}"),
    "upstream": re.compile(r"[a-z0-9-]+/[a-z0-9.-]+#[0-9]+", re.ASCII),
}
_SENTENCE = range(8, 241)
_MAX_IDENTIFIER = 64

Scalar = Union[str, int, bool]


class ReaderError(Exception):
    """One sentence that names the key and what is wrong with it."""


class Reader:
    """A mapping whose keys are taken one by one; `finish` refuses those that nobody has taken."""

    def __init__(self, entries: Mapping[str, object], prefix: str) -> None:
        self._entries = entries
        self._prefix = prefix
        self._taken: set[str] = set()

    @classmethod
    def of(cls, entry: object, prefix: str = "") -> Reader:
        if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
            raise ReaderError(f"{prefix or 'it'} must be a mapping")
        return cls(entry, f"{prefix}." if prefix else "")

    def finish(self) -> None:
        unknown = sorted(set(self._entries) - self._taken)
        if unknown:
            raise ReaderError(f"unknown key {', '.join(self._prefix + key for key in unknown)}")

    def has(self, key: str) -> bool:
        return key in self._entries

    def is_mapping(self, key: str) -> bool:
        return isinstance(self._entries.get(key), dict)

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(key, "must be text")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def sentence(self, key: str) -> str:
        value = self.text(key)
        if len(value) not in _SENTENCE or "\n" in value:
            raise self._wrong(key, f"must be one line of {_SENTENCE[0]} to {_SENTENCE[-1]} characters")
        return value

    def optional_sentence(self, key: str) -> str | None:
        return self.sentence(key) if self.has(key) else None

    def boolean(self, key: str) -> bool:
        value = self._take(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "must be true or false")
        return value

    def optional_integer(self, key: str) -> int | None:
        if not self.has(key):
            return None
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "must be a whole number")
        return value

    def identifier(self, key: str) -> str:
        value = self.text(key)
        if not _IDENTIFIER.fullmatch(value) or len(value) > _MAX_IDENTIFIER:
            raise self._wrong(key, f"must be in kebab-case, not {value!r}")
        return value

    def optional_identifier(self, key: str) -> str | None:
        return self.identifier(key) if self.has(key) else None

    def identifiers(self, key: str) -> tuple[str, ...]:
        """A list of flags or control ids; () where the key is not there."""
        return self._all_match(key, "in kebab-case", _IDENTIFIER)

    def settings(self, key: str) -> tuple[str, ...]:
        """A list of flags and configuration fields; () where the key is not there."""
        return self._all_match(key, "flags or fields", _IDENTIFIER, _FIELD)

    def field(self, key: str) -> str | None:
        return self._matching(key, _FIELD, "a dotted path of field names")

    def sysctl(self, key: str) -> str | None:
        return self._matching(key, _SYSCTL, "a dotted sysctl name")

    def account(self, key: str) -> str | None:
        return self._matching(key, _ACCOUNT, "an account name")

    def proof(self, key: str) -> str | None:
        return self._matching(key, _PROOF, "a proof in snake_case, or one/of-its-aspects")

    def mode(self, key: str) -> str | None:
        return self._matching(key, _MODE, "four octal digits in quotes")

    def absolute(self, path: str) -> str:
        if not _PATH.fullmatch(path) or ".." in path.split("/"):
            raise ReaderError(f"{self._prefix}path {path!r} must be absolute, without spaces and without ..")
        return path

    def one_of(self, key: str, choices: Collection[str]) -> str:
        value = self.text(key)
        if value not in choices:
            raise self._wrong(key, f"is {value!r}, must be one of {', '.join(choices)}")
        return value

    def some_texts(self, key: str) -> tuple[str, ...]:
        """A list of different texts, not empty; () where the key is not there."""
        values = self.texts(key)
        if self.has(key) and not values:
            raise self._wrong(key, "must not be an empty list")
        return values

    def below(self, key: str) -> str:
        """A pattern inside a directory; "" where the key is not there."""
        value = self.optional_text(key) or ""
        if value and (not _PATH.fullmatch("/" + value) or ".." in value.split("/")):
            raise self._wrong(key, f"must be a pattern inside the directory, not {value!r}")
        return value

    def texts_or_mappings(self, key: str) -> tuple[str | Reader, ...]:
        """A list of different texts and mappings, not empty."""
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise self._wrong(key, "must be a list of texts and mappings")
        if any(value.count(item) > 1 for item in value):
            raise self._wrong(key, "holds the same entry twice")
        self._unique_texts(key, [item for item in value if not isinstance(item, dict)])
        return tuple(Reader.of(item, f"{self._prefix}{key}") if isinstance(item, dict) else item for item in value)

    def texts(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        """A list of different texts; () where the key is not there."""
        if not self.has(key) and not required:
            return ()
        return self._unique_texts(key, self._take(key))

    def many_of(self, key: str, choices: Collection[str]) -> tuple[str, ...]:
        """A list, perhaps empty, of some of the choices."""
        values = self._unique_texts(key, self._take(key))
        for value in values:
            if value not in choices:
                raise self._wrong(key, f"names {value!r}, known are {', '.join(choices)}")
        return values

    def literal(self, key: str) -> str | int | bool | tuple[str, ...] | None:
        """A text, whole number, boolean or list of texts; None where the key is not there."""
        if not self.has(key):
            return None
        value = self._take(key)
        if isinstance(value, (str, int)):
            return value
        texts = self._unique_texts(key, value)
        if not texts:
            raise self._wrong(key, "must not be an empty list")
        return texts

    def scalars(self, key: str) -> tuple[Scalar, ...]:
        if not self.has(key):
            return ()
        value = self._take(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, (str, int)) for item in value):
            raise self._wrong(key, "must be a list of texts, whole numbers or booleans")
        return tuple(value)

    def pairs(self, key: str) -> tuple[tuple[str, Scalar], ...]:
        """A mapping from text to text, whole number or boolean; () where the key is not there."""
        if not self.has(key):
            return ()
        inner = self.mapping(key)
        found = tuple(inner._scalar_items())
        if not found:
            raise self._wrong(key, "must not be empty")
        return found

    def flag_values(self, key: str) -> tuple[tuple[str, Scalar], ...]:
        """A mapping from flags to values; () where the key is not there."""
        found = self.pairs(key)
        for name, _value in found:
            if not _IDENTIFIER.fullmatch(name):
                raise self._wrong(key, f"must map flags to values, {name!r} is none")
        return found

    def mapping(self, key: str) -> Reader:
        return Reader.of(self._take(key), f"{self._prefix}{key}")

    def mappings(self, key: str) -> tuple[Reader, ...]:
        if not self.has(key):
            return ()
        value = self._take(key)
        if not isinstance(value, list) or not value:
            raise self._wrong(key, "must be a list of mappings")
        return tuple(Reader.of(item, f"{self._prefix}{key}") for item in value)

    def versions(self, key: str) -> VersionRange | None:
        value = self.optional_text(key)
        if value is None:
            return None
        try:
            return VersionRange.parse(value)
        except ValueError as error:
            raise self._wrong(key, str(error)) from error

    def references(self, key: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        inner = self.mapping(key)
        found = []
        for catalogue, pattern in _CITATIONS.items():
            citations = inner.texts(catalogue)
            if inner.has(catalogue) and not citations:
                raise inner._wrong(catalogue, "must not be an empty list")
            wrong = [citation for citation in citations if not pattern.fullmatch(citation)]
            if wrong:
                raise inner._wrong(catalogue, f"holds {wrong[0]!r}, which does not look like one of its ids")
            if citations:
                found.append((catalogue, citations))
        inner.finish()
        return tuple(found)

    def _matching(self, key: str, pattern: re.Pattern[str], what: str) -> str | None:
        value = self.optional_text(key)
        if value is not None and not pattern.fullmatch(value):
            raise self._wrong(key, f"must be {what}, not {value!r}")
        return value

    def _all_match(self, key: str, what: str, *patterns: re.Pattern[str]) -> tuple[str, ...]:
        if not self.has(key):
            return ()
        values = self.texts(key)
        wrong = [value for value in values if not any(pattern.fullmatch(value) for pattern in patterns)]
        if wrong or not values:
            raise self._wrong(key, f"must be {what}, not {wrong[0]!r}" if wrong else "must not be an empty list")
        return values

    def _take(self, key: str) -> object:
        if key not in self._entries:
            raise self._wrong(key, "is missing")
        self._taken.add(key)
        return self._entries[key]

    def _scalar_items(self) -> Iterator[tuple[str, Scalar]]:
        for key in self._entries:
            value = self._take(key)
            if not isinstance(value, (str, int)):
                raise self._wrong(key, "must be text, a whole number or a boolean")
            yield key, value

    def _unique_texts(self, key: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            raise self._wrong(key, "must be a list of texts")
        if len(set(value)) != len(value):
            raise self._wrong(key, "holds the same text twice")
        return tuple(value)

    def _wrong(self, key: str, what: str) -> ReaderError:
        return ReaderError(f"{self._prefix}{key} {what}")

# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of Kubernetes components and of etcd, as their flag parsers read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Types of flags that collect the values of all their occurrences, as the generated data names them.
COLLECTING = frozenset(
    {
        "strings",
        "stringSlice",
        "stringArray",
        "mapStringBool",
        "mapStringString",
        "stringToString",
        "namedCertKey",
        "colonSeparatedMultimapStringString",
    }
)
# Of these, flags that map names to values, like Gate=true.
MAPS = frozenset({"mapStringBool", "mapStringString", "stringToString"})
# Collecting flags whose occurrences are values of their own: joining them by commas would change what they say.
SEPARATE = frozenset({"stringArray", "namedCertKey"})


@dataclass(frozen=True)
class Occurrence:
    """A flag on a command line: where it stands, how many items it takes (2: `--flag value`), and its value."""

    index: int
    width: int
    value: str


@dataclass(frozen=True)
class Argv:
    """A parsed command line. `items[0]` is the program. environment: flags that variables set, where the command line does not."""

    items: tuple[str, ...]
    flags: tuple[tuple[str, Occurrence], ...]
    environment: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, items: Sequence[str], is_bool: Callable[[str], bool | None], single_dash: bool = False) -> Argv:
        """`is_bool` tells whether a flag takes no value of its own (None: not known). etcd also reads `-flag` (single_dash)."""
        found: list[tuple[str, Occurrence]] = []
        index = 1
        while index < len(items):
            item = items[index]
            if item == "--":
                break
            width = 1
            name = flag_name(item, single_dash)
            if name is not None:
                raw, value = _value(items, index, name, is_bool)
                width = raw
                found.append((name, Occurrence(index, width, value)))
            index += width
        return cls(tuple(items), tuple(found))

    def of(self, name: str) -> tuple[Occurrence, ...]:
        """All occurrences of a flag, in order."""
        return tuple(occurrence for other, occurrence in self.flags if other == name)

    def value(self, name: str) -> str | None:
        """The value that counts where a flag holds one: that of the last occurrence, else the environment's."""
        found = self.of(name)
        return found[-1].value if found else self.from_environment(name)

    def from_environment(self, name: str) -> str | None:
        """What a variable sets the flag to; None where none does, or the command line sets it."""
        return None if self.of(name) else dict(self.environment).get(name)

    def values(self, name: str) -> tuple[str, ...]:
        """The values of all occurrences, each split at its commas."""
        given = [occurrence.value for occurrence in self.of(name)] or [self.from_environment(name) or ""]
        return tuple(part for value in given for part in value.split(",") if part)

    def names(self) -> frozenset[str]:
        return frozenset(name for name, _occurrence in self.flags)

    def with_flag(self, name: str, value: str | None) -> tuple[str, ...]:
        """The items with exactly one occurrence, in place of the first or at the end; with none where value is None."""
        found = self.of(name)
        gone = {occurrence.index + offset for occurrence in found for offset in range(occurrence.width)}
        items: list[str] = []
        for index, item in enumerate(self.items):
            if value is not None and found and index == found[0].index:
                items.append(f"--{name}={value}")
            elif index not in gone:
                items.append(item)
        if value is not None and not found:
            items.append(f"--{name}={value}")
        return tuple(items)


def flag_name(item: str, single_dash: bool = False) -> str | None:
    """The flag that an item names, in its canonical spelling (components read `_` as `-`); None where it names none."""
    if item.startswith("--") and len(item) > 2:
        name = item[2:]
    elif single_dash and item.startswith("-") and len(item) > 1:
        name = item[1:]
    else:
        return None
    name = name.partition("=")[0]
    return name if single_dash else name.replace("_", "-")


def _value(items: Sequence[str], index: int, name: str, is_bool: Callable[[str], bool | None]) -> tuple[int, str]:
    """How many items the flag takes, and its value."""
    _flag, equals, value = items[index].partition("=")
    if equals:
        return 1, value
    boolean = is_bool(name)
    following = items[index + 1] if index + 1 < len(items) else None
    if boolean or following is None or (boolean is None and following.startswith("-")):
        return 1, "true"
    return 2, following

# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that kubeadm keeps the kubelet's flags in (an EnvironmentFile of systemd)."""

from __future__ import annotations

import re

from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.documents.argv import flag_name

_LINE = re.compile(r"""(?P<head>\s*[A-Za-z_][A-Za-z0-9_]*=)(?P<quote>["']?)(?P<value>[^"'\\\r\n]*)(?P=quote)(?P<tail>\s*)""")


class EnvFileError(ValueError):
    """The file cannot be edited safely; the text says why."""


def holds(text: str, flag: str) -> bool:
    """Whether a line of the file sets the flag."""
    return any(flag_name(token) == flag for line in text.splitlines() for token in _tokens(line))


def words(text: str) -> list[str]:
    """The words that the lines of the file hold, one after the other."""
    return [token for line in text.splitlines() for token in _tokens(line)]


def without(text: str, flag: str) -> str:
    """The file without the flag and its value. Raises EnvFileError."""
    return "".join(_line_without(line, number, flag) for number, line in enumerate(text.splitlines(keepends=True), start=1))


def _tokens(line: str) -> list[str]:
    if line.lstrip().startswith(("#", ";")):
        return []
    return line.partition("=")[2].replace('"', " ").replace("'", " ").split()


def _line_without(line: str, number: int, flag: str) -> str:
    if not any(flag_name(token) == flag for token in _tokens(line)):
        return line
    found = _LINE.fullmatch(line)
    if not found:
        raise EnvFileError(f"line {number} uses quotes or backslashes in a way that cannot be edited; take --{flag} out by hand")
    kept: list[str] = []
    tokens = found.group("value").split()
    index = 0
    while index < len(tokens):
        if flag_name(tokens[index]) != flag:
            kept.append(tokens[index])
        elif "=" not in tokens[index] and index + 1 < len(tokens) and not tokens[index + 1].startswith("-"):
            index += 1
        index += 1
    return f"{found.group('head')}{found.group('quote')}{' '.join(kept)}{found.group('quote')}{found.group('tail')}"

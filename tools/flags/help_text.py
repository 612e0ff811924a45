# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads flags, types and defaults out of --help texts."""

from __future__ import annotations

import re

# "      --tls-min-version string   Minimum TLS version …", "  -v, --v Level   number …"; booleans have no type.
_PFLAG = re.compile(r"^\s+(?:-\w, )?--([a-zA-Z0-9-]+)(?:\[=[^\]]*\])?(?: (\S+))?(?:\s{2,}(.*))?$")
_PFLAG_DEFAULT = re.compile(r"\(default (\"(?:[^\"\\]|\\.)*\"|\[.*?\]|[^()\s]+(?: [^()\s]+)*)\)")
# "  --listen-peer-urls 'http://localhost:2380'", "  --enable-grpc-gateway".
_ETCD = re.compile(r"^  (?:-\w, )?--([a-z0-9-]+)(?:[ =](\S.*))?$")
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+")
_ZERO = {"bool": "false", "int": "0", "int32": "0", "float": "0", "float32": "0", "duration": "0s", "string": "", "strings": ""}


def parse_pflag(text: str) -> dict[str, list[object]]:
    """Flags of a Kubernetes component: name -> [type, default as a command line holds it]."""
    flags: dict[str, list[object]] = {}
    for name, kind, description in _entries(text):
        if name not in ("help", "version"):
            flags[name] = [kind, _default(kind, description)]
    return flags


def _entries(text: str) -> list[tuple[str, str, str]]:
    """Name, type and the whole description, which may run over several lines."""
    found: list[tuple[str, str, list[str]]] = []
    for line in text.splitlines():
        start = _PFLAG.match(line)
        if start:
            found.append((start.group(1), start.group(2) or "bool", [start.group(3) or ""]))
        elif found and line.startswith(" "):
            found[-1][2].append(line.strip())
    return [(name, kind, " ".join(lines)) for name, kind, lines in found]


def _default(kind: str, description: str) -> str | None:
    # Some descriptions mention other defaults in passing; pflag writes the flag's own behind everything but a deprecation.
    own = description.partition("(DEPRECATED")[0]
    found = _PFLAG_DEFAULT.findall(own)
    if not found:
        return _ZERO.get(kind)
    text: str = found[-1]
    if text.startswith('"') or (text.startswith("[") and kind in ("strings", "stringArray", "ints")):
        return text[1:-1]
    return text


def parse_etcd(text: str) -> dict[str, list[object]]:
    """Flags of etcd: name -> [type, default]. Its help names no types: they follow from the defaults."""
    flags: dict[str, list[object]] = {}
    for line in text.splitlines():
        start = _ETCD.match(line)
        if start:
            default = (start.group(2) or "").strip().strip("'")
            flags[start.group(1)] = [_etcd_type(start.group(2), default), default if start.group(2) else None]
    return flags


def _etcd_type(shown: str | None, default: str) -> str:
    if shown is None:
        return "unknown"
    if default in ("true", "false"):
        return "bool"
    if default.lstrip("-").isdigit():
        return "int"
    return "duration" if _DURATION.fullmatch(default) else "string"

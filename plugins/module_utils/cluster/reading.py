# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of JSON that an apiserver, an etcd or a kubelet sent, by the type that they have to have: what is of another one counts as not there."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import plain


def mapping(value: object, *keys: str) -> dict[str, Any]:
    """The object at some keys below a value; an empty one where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[dict[str, Any]]:
    """The objects in a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: object) -> list[str]:
    """The texts in a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    """A text that is not empty."""
    return value if isinstance(value, str) and value else None


def short(value: object, most: int = 253) -> str | None:
    """A text of one line, as long as a name may be; None for anything else."""
    return value if isinstance(value, str) and 0 < len(value) <= most and not plain.CONTROL.search(value) else None


def string(value: object) -> str | None:
    """A text, an empty one too."""
    return value if isinstance(value, str) else None


def whole(value: object) -> int:
    """A whole number, also one written as text (protobuf's JSON does so for 64 bits); 0 for anything else."""
    if isinstance(value, str):
        return plain.number(value, 1 << 64) or 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def port(value: object, otherwise: int) -> int:
    """A port's number."""
    number = whole(value)
    return number if 0 < number < plain.PORTS else otherwise


def segment(name: str) -> str:
    """A name as one segment of an API path, whatever is in it."""
    return quote(name, safe="") if name not in (".", "..") else "%2E" * len(name)

# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Collects files for an observation: attributes, digests, text of documents, and the certificates in them."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import re
from collections.abc import Iterable
from typing import Any

from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import layout_kubeadm as layout
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.plain import visible
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import secrets
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import x509
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.der import DerError

# What one observation holds at most, whatever lies on the host.
DOCUMENT_LIMIT, DOCUMENTS_LIMIT = 1 << 18, 1 << 23  # bytes of a document, and of all of them
MOST_FILES, MOST_CERTIFICATES, MOST_PROBLEMS = 100_000, 5_000, 500
KEPT = 1 << 25  # bytes of files that are kept to be read again; the others are read anew
CLIENT_CERTIFICATE = re.compile(rb"""client-certificate-data["']?\s*:\s*["']?([A-Za-z0-9+/=]+)""")


class Collection:
    """Files, certificates and problems of one host; every path is looked at once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.files: dict[str, dict[str, Any]] = {}
        self.certificates: dict[str, list[dict[str, Any]]] = {}
        self.problems: list[dict[str, Any]] = []
        self._names = files.Names()
        self._bytes: dict[str, bytes] = {}
        self._kept = self._documents = self._certificates = 0
        self._known: set[tuple[str | None, str]] = set()
        self._ways: dict[str, str | None] = {}

    def problem(self, file: str | None, cause: str, advice: str) -> None:
        """Note what could not be read or makes no sense."""
        shown = None if file is None else file.encode("unicode_escape").decode("ascii")
        if (shown, cause) in self._known or len(self.problems) > MOST_PROBLEMS:
            return
        self._known.add((shown, cause))
        if len(self.problems) == MOST_PROBLEMS:
            shown, cause, advice = None, f"more than {MOST_PROBLEMS} problems, the others are not named", "mend these first"
        self.problems.append({"file": shown, "cause": visible(cause), "advice": advice})

    def describe(self, path: str) -> dict[str, Any]:
        """Attributes of a path, and the SHA-256 of a regular file of up to 1 MiB."""
        if path in self.files:
            return self.files[path]
        if not files.printable(path):
            self.problem(path, "a file name with control characters or bytes that are no UTF-8", "remove the file, or rename it")
            return {"type": "other"}
        if len(self.files) >= MOST_FILES:
            self.problem(None, f"more than {MOST_FILES} files would have to be looked at", "clear the directories that the controls name")
            return {"type": "other"}
        try:
            facts = files.describe(self.host.real(path), self._names)
        except OSError as error:
            self.problem(path, f"cannot be looked at: {error.strerror}", "check the path on the host")
            return {"type": "other"}
        if not files.printable(facts.get("target", "")):
            self.problem(path, "a link to a name with control characters or bytes that are no UTF-8", "remove the link")
            return {"type": "other"}
        self.files[path] = facts
        exposed = self._exposed(os.path.dirname(os.path.dirname(path)))
        if exposed and facts["type"] != "absent":
            facts["exposed"] = exposed
        if facts["type"] == "file" and facts["size"] <= files.LIMIT:
            self._digest(path, facts)
        return facts

    def _exposed(self, folder: str) -> str | None:
        """What on the way to a folder others than root may change; asked once per folder."""
        if folder not in self._ways:
            self._ways[folder] = files.exposed(self.host, folder)
        return self._ways[folder]

    def _digest(self, path: str, facts: dict[str, Any]) -> None:
        data = self._content(path)
        if data is None:
            return
        facts["sha256"] = hashlib.sha256(data).hexdigest()
        if self._kept + len(data) <= KEPT:
            self._bytes[path] = data
            self._kept += len(data)

    def _content(self, path: str) -> bytes | None:
        try:
            return files.read_bytes(self.host.real(path))
        except OSError as error:
            if error.errno not in (errno.EFBIG, errno.ENOENT):  # it grew, or it is gone since
                self.problem(path, f"cannot be read: {error.strerror}", "the program needs to run as root")
            return None

    def below(self, folder: str, patterns: Iterable[str]) -> None:
        """Describe everything below a directory that these patterns match, and what that leads to. The directory's own name is no pattern."""
        for pattern in patterns:
            for path in self.matches(pattern, folder) if files.is_pattern(pattern) else [f"{folder.rstrip('/')}/{pattern}"]:
                self.follow(path)

    def expand(self, patterns: Iterable[str]) -> None:
        """Describe everything that these patterns match; a path without wildcards is described also when it is absent.

        Of a link, what it leads to is described as well; `resolved` in its entry says where that is.
        """
        for pattern in patterns:
            if not pattern.startswith("/"):
                self.problem(pattern, "not an absolute path", "correct the control")
                continue
            for path in self.matches(pattern) if files.is_pattern(pattern) else [pattern]:
                self.follow(path)

    def follow(self, path: str) -> dict[str, Any]:
        """Attributes of a path, and of what it leads to where it is a link."""
        facts = self.describe(path)
        if facts["type"] == "link" and "resolved" not in facts:
            resolved = self.resolve(path)
            self.describe(resolved)
            if files.printable(resolved):  # else it is a problem by now
                facts["resolved"] = resolved
        return facts

    def matches(self, pattern: str, folder: str = "") -> list[str]:
        """Paths below a directory that a pattern matches, none where they are too many. The directory's own name is no pattern."""
        try:
            return list(files.expand(pattern, self.host, folder))
        except files.TooManyFilesError as error:
            self.problem(f"{folder}/{pattern}" if folder else pattern, str(error), "clear the directory, or name fewer files")
            return []

    def read(self, path: str) -> bytes | None:
        """Bytes of a file, a link at the end resolved; None when there is no such file of up to 1 MiB."""
        if self.describe(path)["type"] == "link":
            path = self.resolve(path)
            self.describe(path)
        if path in self._bytes:
            return self._bytes[path]
        return self._content(path) if "sha256" in self.files.get(path, {}) else None

    def resolve(self, path: str) -> str:
        """Where a link leads, on the target."""
        real = os.path.realpath(layout.real_target(self.host, path))
        root = os.path.realpath(self.host.root).rstrip("/")
        return real[len(root) :] if real.startswith(root + "/") else real

    def document(self, path: str) -> str | None:
        """Text of a configuration file, which goes into the observation as well, unless it holds a secret."""
        if self.describe(path)["type"] == "link":
            path = self.resolve(path)
        if "text" in self.describe(path):
            return str(self.files[path]["text"])
        facts = self.files.get(path, {})
        if facts.get("type") == "file" and facts["size"] > DOCUMENT_LIMIT:
            self.problem(path, f"larger than {DOCUMENT_LIMIT} bytes", "a configuration file is not that large; look what it holds")
            return None
        data = self.read(path)
        if data is None or "withheld" in facts:
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self.problem(path, "not UTF-8 text", "correct the file")
            return None
        withheld = secrets.found_in(text)
        if withheld:
            facts["withheld"] = withheld
            return None
        return self._shipped(path, facts, text)

    def _shipped(self, path: str, facts: dict[str, Any], text: str) -> str | None:
        if self._documents + len(text) > DOCUMENTS_LIMIT:
            self.problem(path, f"all documents together are larger than {DOCUMENTS_LIMIT} bytes", "remove drop-ins that nobody needs")
            return None
        self._documents += len(text)
        if facts.get("type") == "file":
            facts["text"] = text
        return text

    def certificate(self, path: str) -> list[dict[str, Any]]:
        """Certificates in a PEM file or a kubeconfig; anything else in the file is not looked at."""
        if path in self.certificates:
            return self.certificates[path]
        data = self.read(path)
        if data is None:
            return []
        try:
            found = x509.certificates(data)
            for embedded in CLIENT_CERTIFICATE.findall(data):
                found += x509.certificates(base64.b64decode(embedded, validate=True))
        except (DerError, binascii.Error) as error:
            self.problem(path, f"a certificate that cannot be read: {error}", "look at it with `openssl x509 -text`, and replace it")
            return []
        if self._certificates + len(found) > MOST_CERTIFICATES:
            self.problem(path, f"more than {MOST_CERTIFICATES} certificates on this host", "clear the directory")
            return []
        self._certificates += len(found)
        if found:
            self.certificates[path] = found
        return found

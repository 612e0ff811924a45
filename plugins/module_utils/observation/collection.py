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
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import x509
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire.der import DerError

# A document with one of these in it is not shipped: keys, kubeconfigs and tokens, encryption keys, a proxy's password in a URL, an
# environment variable whose name says that it holds a secret (and not the place of one).
SECRET = re.compile(
    rb"""PRIVATE\ KEY-----|client-key-data|^\s*["']?token["']?\s*:\s*\S|kind["']?:\s*["']?EncryptionConfiguration|://[^\s/:@"']*:[^\s/@"']+@|
    \b[A-Z0-9_]*(?:SECRET|PASSWORD|PASSWD|TOKEN|PRIVATE_KEY|ACCESS_KEY|API_KEY|CREDENTIAL)[A-Z0-9_]*(?<!_FILE)(?<!_PATH)(?<!_DIR)=["']?[^\s"']""",
    re.MULTILINE | re.VERBOSE,
)
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

    def problem(self, file: str | None, cause: str, advice: str) -> None:
        """Note what could not be read or makes no sense."""
        shown = None if file is None else file.encode("unicode_escape").decode("ascii")
        entry = {"file": shown, "cause": cause, "advice": advice}
        if entry not in self.problems:
            self.problems.append(entry)

    def describe(self, path: str) -> dict[str, Any]:
        """Attributes of a path, and the SHA-256 of a regular file of up to 1 MiB."""
        if path in self.files:
            return self.files[path]
        if not files.printable(path):
            self.problem(path, "a file name with control characters or bytes that are no UTF-8", "remove the file, or rename it")
            return {"type": "other"}
        try:
            facts = files.describe(self.host.real(path), self._names)
        except OSError as error:
            self.problem(path, f"cannot be looked at: {error.strerror}", "check the path on the host")
            return {"type": "other"}
        self.files[path] = facts
        if facts["type"] == "file" and facts["size"] <= files.LIMIT:
            self._digest(path, facts)
        return facts

    def _digest(self, path: str, facts: dict[str, Any]) -> None:
        try:
            self._bytes[path] = files.read_bytes(self.host.real(path))
        except OSError as error:
            if error.errno not in (errno.EFBIG, errno.ENOENT):  # it grew, or it is gone since
                self.problem(path, f"cannot be read: {error.strerror}", "the program needs to run as root")
            return
        facts["sha256"] = hashlib.sha256(self._bytes[path]).hexdigest()

    def expand(self, patterns: Iterable[str]) -> None:
        """Describe everything that these patterns match; a path without wildcards is described also when it is absent."""
        for pattern in patterns:
            if not pattern.startswith("/"):
                self.problem(pattern, "not an absolute path", "correct the control")
                continue
            if not files.is_pattern(pattern):
                self.describe(pattern)
                continue
            for path in self.matches(pattern):
                self.describe(path)

    def matches(self, pattern: str) -> list[str]:
        """Paths that a pattern matches, none where they are too many."""
        try:
            return list(files.expand(pattern, self.host))
        except files.TooManyFilesError as error:
            self.problem(pattern, str(error), "clear the directory, or name fewer files")
            return []

    def read(self, path: str) -> bytes | None:
        """Bytes of a file, a link at the end resolved; None when there is no such file of up to 1 MiB."""
        if self.describe(path)["type"] == "link":
            path = self.resolve(path)
            self.describe(path)
        return self._bytes.get(path)

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
        data = self.read(path)
        facts = self.files.get(path, {})
        if data is None:
            if facts.get("type") == "file" and facts["size"] > files.LIMIT:
                self.problem(path, f"larger than {files.LIMIT} bytes", "a configuration file is not that large; look what it holds")
            return None
        if SECRET.search(data):
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            self.problem(path, "not UTF-8 text", "correct the file")
            return None
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
        if found:
            self.certificates[path] = found
        return found

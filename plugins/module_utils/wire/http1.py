# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP/1.1 over a connected socket, as much as talking to an apiserver, an etcd and a kubelet takes.

`http.client` would do, but importing it costs more than a whole observation of a host.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

MAX_HEAD = 1 << 16
MAX_LINES = 64  # of headers, and of trailers
MAX_BODY = 1 << 26
CHUNK = 1 << 16
ANSWER = 60.0  # seconds; by default no request to an apiserver takes longer
TLS_ALERT = b"\x15\x03"  # what some TLS servers say to plain HTTP before they close


class HttpError(Exception):
    """An answer that is no HTTP, that is cut off, that is too large, or that takes too long."""


class ClosedError(HttpError):
    """The peer ended the connection without an answer."""


class Response(NamedTuple):
    """An answer; header names are in lower case, `reusable` says whether the connection may carry another request."""

    status: int
    headers: dict[str, str]
    body: bytes
    reusable: bool


class Connection:
    """Requests and answers on one socket, one after the other.

    The socket's own time-out holds for each step; a request with its answer takes at most `seconds`, however slowly the peer sends.
    `status` is that of the answer that is being read, None until its status line is there.
    """

    def __init__(self, channel: socket.socket, authority: str, seconds: float = ANSWER) -> None:
        self._channel, self._authority, self._buffer = channel, authority, bytearray()
        self._step, self._seconds, self._deadline = channel.gettimeout(), seconds, time.monotonic() + seconds
        self.status: int | None = None

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a request; raises OSError."""
        fields = {"Host": self._authority, "User-Agent": "ninepaths", **headers}
        if body or method in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        if any(character in line for line in lines for character in "\r\n\0") or " " in target or not all(line.isascii() for line in lines):
            raise HttpError("a request with a line break, a blank or a special character in it")
        self.status, self._deadline = None, time.monotonic() + self._seconds
        self._channel.settimeout(self._step)
        self._channel.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + body)

    def receive(self, limit: int = MAX_BODY) -> Response:
        """Read one answer; raises OSError or HttpError."""
        status, headers = self._head()
        while 100 <= status < 200:
            status, headers = self._head()
        self.status = status
        closes = headers.get("connection", "").lower() == "close"
        if status in (204, 304):
            return Response(status, headers, b"", not closes)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Response(status, headers, self._chunked(limit), not closes)
        if "content-length" in headers:
            return Response(status, headers, self._exactly(_number(headers["content-length"], 10), limit), not closes)
        return Response(status, headers, self._rest(limit), False)

    def _head(self) -> tuple[int, dict[str, str]]:
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        if len(lines) > MAX_LINES + 1:
            raise HttpError(f"more than {MAX_LINES} headers")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or len(words[1]) != 3:
            raise HttpError("the answer is no HTTP")
        pairs = (line.partition(":") for line in lines[1:] if line)
        return _number(words[1], 10), {name.strip().lower(): value.strip() for name, _colon, value in pairs}

    def _receive(self) -> bytes:
        """The next bytes, none at the end; raises HttpError past the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise HttpError(f"no complete answer within {self._seconds:g} s")
        self._channel.settimeout(min(self._step or left, left))
        return self._channel.recv(CHUNK)

    def _more(self) -> None:
        part = self._receive()
        if not part and self.status is None and (not self._buffer or self._buffer.startswith(TLS_ALERT)):
            raise ClosedError("the connection was closed without an answer")
        if not part:
            raise HttpError("the connection was closed in the middle of an answer")
        self._buffer += part

    def _until(self, mark: bytes) -> bytes:
        seen = 0
        while (at := self._buffer.find(mark, seen)) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise HttpError("headers without an end")
            seen = max(0, len(self._buffer) - len(mark))
            self._more()
        if at > MAX_HEAD:
            raise HttpError("headers without an end")
        return self._taken(at, len(mark))

    def _taken(self, size: int, beyond: int = 0) -> bytes:
        """The next bytes of the buffer, and so many that follow them are dropped."""
        with memoryview(self._buffer) as view:
            found = bytes(view[:size])
        del self._buffer[: size + beyond]  # from the front, which moves no bytes
        return found

    def _exactly(self, size: int, limit: int) -> bytes:
        if size > limit:
            raise HttpError(f"an answer of more than {limit} bytes")
        while len(self._buffer) < size:
            part = self._receive()
            if not part:
                raise HttpError("the connection was closed in the middle of an answer")
            self._buffer += part
        return self._taken(size)

    def _chunked(self, limit: int) -> bytes:
        body = bytearray()  # however small the chunks are, only their bytes are kept
        have = 0
        while True:
            size = _number(self._until(b"\r\n").split(b";")[0].decode("latin-1"), 16)
            have += size
            if size == 0:
                for _line in range(MAX_LINES):
                    if not self._until(b"\r\n"):
                        return bytes(body)
                raise HttpError(f"more than {MAX_LINES} trailers")
            if have > limit:
                raise HttpError(f"an answer of more than {limit} bytes")
            body += self._exactly(size + 2, size + 2)[:-2]

    def _rest(self, limit: int) -> bytes:
        while len(self._buffer) <= limit:
            part = self._receive()
            if not part:
                return self._taken(len(self._buffer))
            self._buffer += part
        raise HttpError(f"an answer of more than {limit} bytes")


def _number(text: str, base: int) -> int:
    digits = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    if not 0 < len(text.strip()) <= 12 or not all(character in digits for character in text.strip()):
        raise HttpError("the answer has a number that is none")
    return int(text, base)


def authority(address: str, port: int) -> str:
    """Address and port as a URL has them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first lines that run on a target: an importer for the sources that were sent along, `run`, and the frame around the result.

`bundle.py` sends this file's own source; nothing on the controller calls it. Standard library, Python 3.9 and newer.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

ENVIRONMENT = {"LC_ALL": "C.UTF-8", "HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
NOT_STARTED = 127
TIMED_OUT = 124
TOO_MUCH = 126
OUTPUT_LIMIT = 1 << 24  # bytes


class SentSources:
    """Imports the modules that came with the program, under their names in the collection (a finder and loader of importlib)."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.sources = sources
        self.packages = {name.rsplit(".", depth)[0] for name in sources for depth in range(1, name.count(".") + 1)}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """The import system's question: is this module one of ours?"""
        if fullname in self.sources or fullname in self.packages:
            return importlib.machinery.ModuleSpec(fullname, self, origin=fullname, is_package=fullname in self.packages)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> None:
        """Take the import system's default."""

    def exec_module(self, module: Any) -> None:
        """Run the sent source in the new module; a package has none."""
        source = self.sources.get(module.__name__, "")
        code = compile(source, module.__name__.rpartition(".")[2] + ".py", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - this is an importer


def run(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Any:
    """Start a process without a shell; see `module_utils/run.py` for the contract."""
    from ansible_collections.ninepaths.kubernetes.plugins.module_utils.run import RunResult

    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return RunResult(NOT_STARTED, "", f"{argv[0]}: {error.strerror}")
    try:
        stdout, stderr = _talk(process, stdin, time.monotonic() + timeout)
    except (subprocess.TimeoutExpired, OverflowError) as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, OverflowError):
            return RunResult(TOO_MUCH, "", f"{argv[0]}: more than {OUTPUT_LIMIT} bytes of output, killed")
        return RunResult(TIMED_OUT, "", f"{argv[0]}: no end within {timeout:g} s, killed")
    return RunResult(process.returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))


def _talk(process: Any, stdin: bytes, deadline: float) -> tuple[bytes, bytes]:
    """As `communicate`, but what a process prints takes bounded memory. Raises TimeoutExpired, and OverflowError for too much of it."""
    printed = {process.stdout: bytearray(), process.stderr: bytearray()}
    left = memoryview(stdin)
    with process.stdin, process.stdout, process.stderr, selectors.DefaultSelector() as waiting:
        os.set_blocking(process.stdin.fileno(), False)
        waiting.register(process.stdin, selectors.EVENT_WRITE)
        for pipe in printed:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            seconds = deadline - time.monotonic()
            if seconds <= 0:
                raise subprocess.TimeoutExpired(process.args, seconds)
            for key, _events in waiting.select(seconds):
                if key.fileobj is process.stdin:
                    left = _write(key.fd, left)
                    done = not left
                else:
                    part = os.read(key.fd, 1 << 16)
                    printed[key.fileobj] += part
                    done = not part
                if done:
                    waiting.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
                if sum(map(len, printed.values())) > OUTPUT_LIMIT:
                    raise OverflowError
    process.wait(max(0.0, deadline - time.monotonic()))
    return bytes(printed[process.stdout]), bytes(printed[process.stderr])


def _write(handle: int, data: memoryview) -> memoryview:
    """What is left to be written; nothing to somebody who does not read on."""
    try:
        return data[os.write(handle, data[: 1 << 16]) :] if data else data
    except BlockingIOError:
        return data
    except OSError:
        return data[:0]


def _where(error: BaseException) -> str:
    """Innermost place as file:line in function; a traceback's source lines could show data."""
    traceback, place = error.__traceback__, ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno} in {code.co_name}"
        traceback = traceback.tb_next
    return place


def _message(error: BaseException) -> str:
    """Our own errors say what they mean; of others only what cannot hold a file's content."""
    if type(error).__module__.startswith("ansible_collections."):
        return str(error)
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    return "an error that was not expected"


def execute(sources: Mapping[str, str], entry: str, request: Mapping[str, Any], begin: str, end: str) -> int:
    """Call the entry's `main` and print what it returns (or what went wrong) between the two marker lines."""
    sys.meta_path.insert(0, SentSources(sources))
    code = 0
    try:
        text = json.dumps(importlib.import_module(entry).main(request, run), separators=(",", ":"), allow_nan=False)
    except Exception as error:  # the frame is the only way home; the controller turns this into a failed task
        failure = {"type": type(error).__name__, "message": _message(error), "where": _where(error)}
        text, code = json.dumps({"schema": 1, "error": failure}, separators=(",", ":")), 1
    sys.stdout.write(f"{begin}\n{text}\n{end}\n")
    sys.stdout.flush()
    return code

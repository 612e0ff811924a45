# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Huge input takes bounded memory: each reader is given far more than its limit, and the peak is measured."""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils import transaction
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import TransactionError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation import collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import changes
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.journal import Journal
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.wire import der, http1, strict_json, x509
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils import _yaml
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import bundle, memory, prelude
from fake_hosts import FakeHosts

MIB = 1 << 20
HUGE = 100 * MIB


@contextmanager
def within(limit: int) -> Iterator[None]:
    """What is done here may take so many bytes at most, as Python's allocator counts them."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak / MIB:.1f} MiB"


@pytest.fixture
def huge(root: Path) -> Path:
    """A sparse file of 100 MiB: it takes no disk, and whoever reads it reads 100 MiB."""
    path = root / "huge"
    with path.open("wb") as file:
        file.truncate(HUGE)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def test_the_measure_sees_what_is_read_as_a_whole(huge: Path) -> None:
    with pytest.raises(AssertionError, match="100"), within(10 * MIB):
        huge.read_bytes()


def test_a_huge_file_on_a_node(root: Path, huge: Path) -> None:
    seen = Collection(Host(str(root)))
    with within(8 * MIB):
        assert seen.document("/huge") is None and seen.certificate("/huge") == []
        assert "sha256" not in seen.describe("/huge")
        with pytest.raises(OSError, match="larger than"):
            files.read_bytes(str(huge))
    assert [problem["cause"] for problem in seen.problems] == ["larger than 262144 bytes"]


def test_many_files_of_the_largest_size_that_is_read(root: Path) -> None:
    """Each is within its limit; all together would be hundreds of megabytes."""
    for number in range(80):
        (root / f"{number}.crt").write_bytes(b"x" * MIB)
    seen = Collection(Host(str(root)))
    with within(collection.KEPT + 8 * MIB):
        seen.expand(["/*.crt"])
        assert all("sha256" in entry for entry in seen.files.values()) and seen.read("/79.crt") == b"x" * MIB


def test_many_documents(root: Path) -> None:
    for number in range(60):
        (root / f"{number}.conf").write_text("a" * (collection.DOCUMENT_LIMIT - 1))
    seen = Collection(Host(str(root)))
    for number in range(60):
        seen.document(f"/{number}.conf")
    assert sum(len(entry.get("text", "")) for entry in seen.files.values()) <= collection.DOCUMENTS_LIMIT
    assert any("all documents together" in problem["cause"] for problem in seen.problems)


@pytest.mark.parametrize("what", ["files", "problems", "certificates"])
def test_an_observation_holds_so_much_and_no_more(root: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(collection, f"MOST_{what.upper()}", 3)
    monkeypatch.setattr(x509, "certificates", lambda _data: [{}])
    for number in range(9):
        (root / f"{number}.crt").write_text("x")
    seen = Collection(Host(str(root)))
    for number in range(9):
        seen.certificate(f"/{number}.crt")
        seen.problem(f"/{number}", "cause", "advice")
    assert len({"files": seen.files, "problems": seen.problems, "certificates": seen.certificates}[what]) <= 4
    assert any(f"more than 3 {what}" in problem["cause"] for problem in seen.problems)


def test_directories_without_end(root: Path) -> None:
    (root.joinpath(*["d"] * 70)).mkdir(parents=True)
    seen = Collection(Host(str(root)))
    assert seen.matches("/d/**") == []
    assert "nested deeper" in seen.problems[0]["cause"]


@pytest.mark.parametrize("name", ["job.json", "journal.jsonl"])
def test_a_huge_transaction(root: Path, name: str) -> None:
    bed.make_tree(root)
    directory = bed.lay(root, bed.full_steps(root))
    with (root / directory[1:] / name).open("r+b" if name == "job.json" else "wb") as file:
        file.truncate(HUGE)
    read: Callable[[], Any] = lambda: transaction._read_job(bed.FakeMachine(root), directory)  # noqa: E731
    if name == "journal.jsonl":
        read = lambda: Journal(bed.FakeMachine(root), f"{directory}/{name}")  # noqa: E731
    with within(80 * MIB), pytest.raises((TransactionError, OSError), match="larger than"):
        read()


def test_a_huge_file_in_the_place_of_a_manifest_is_told_from_it(root: Path, huge: Path) -> None:
    """Its digest is made piece by piece."""
    with within(2 * MIB):
        found = changes.look(bed.FakeMachine(root), "/huge")
    assert found.type == "file" and len(str(found.sha256)) == 64


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 1048576\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n", b"\r\n", b"X: "],
    ids=["length", "chunks", "to-the-end", "headers"],
)
def test_a_huge_answer_over_http(head: bytes) -> None:
    ours, theirs = socket.socketpair()
    # Chunks of one byte each are the slowest to read, and as many as there are bytes in the limit.
    filler, limit = (b"1\r\na\r\n" * 20_000, MIB >> 4) if b"chunked" in head else (b"a" * 120_000, MIB)

    def send() -> None:
        try:
            theirs.sendall(b"HTTP/1.1 200 OK\r\n" + head)
            for _piece in range(HUGE // len(filler)):
                theirs.sendall(filler)
        except OSError:
            return
        finally:
            theirs.close()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        with within(8 * MIB), ours:
            try:
                assert len(http1.Connection(ours, "x:1").receive(limit).body) == limit
            except http1.HttpError as error:
                assert "more than" in str(error) or "without an end" in str(error)
    finally:
        thread.join()


@pytest.mark.parametrize("text", ["[" + "{}," * (20 * MIB // 3), "[" * (20 * MIB), '{"a":' * (4 * MIB), "[" + '"",' * (7 * MIB)])
def test_json_that_would_grow(text: str) -> None:
    """Twenty megabytes of it would be more than a gigabyte of objects."""
    with within(2 * MIB), pytest.raises(strict_json.JsonError):
        strict_json.parse(text)


def test_a_huge_answer_of_a_host() -> None:
    answer = f"{bundle.BEGIN}\n" + "x" * HUGE
    with within(MIB), pytest.raises(bundle.ProgramError, match="larger than 64 MiB"):
        bundle.parse(answer)
    lines = "\n" * (60 * MIB)
    with within(2 * MIB), pytest.raises(bundle.ProgramError):
        bundle.parse(lines)


def test_a_huge_document() -> None:
    text = "a: b\n" * (HUGE // 5)
    with within(MIB), pytest.raises(_yaml.YamlError, match="longer than"):
        _yaml.load(text)


def test_a_huge_certificate() -> None:
    data = b"\x30\x83\xff\xff\xff" + b"\0" * HUGE
    with within(MIB), pytest.raises(der.DerError, match="more than"):
        x509.summary(data)


def test_a_program_that_prints_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with within(4 * prelude.OUTPUT_LIMIT):
        done = prelude.run(["/bin/sh", "-c", "yes | head -c 200000000; echo not-reached"], timeout=120)
    assert done.rc == prelude.TOO_MUCH and "more than" in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    ("script", "stdin", "expected"),
    [
        ("cat", b"x" * 300_000, (0, "x" * 300_000, "")),
        ("cat >&2; exit 3", b"y", (3, "", "y")),
        ("exec <&-; echo done", b"z" * 300_000, (0, "done\n", "")),
        ("exec >&- 2>&-; sleep 0.2; exit 7", b"", (7, "", "")),
        ("printf '\\377'", b"", (0, "\ufffd", "")),
    ],
)
def test_a_program_is_given_and_gives_all(script: str, stdin: bytes, expected: tuple[int, str, str]) -> None:
    assert tuple(prelude.run(["/bin/sh", "-c", script], stdin=stdin, timeout=60)) == expected


def test_a_program_that_does_not_end_is_ended() -> None:
    assert prelude.run(["/bin/sh", "-c", "sleep 1000 & sleep 1000"], timeout=0.5).rc == prelude.TIMED_OUT


# Reads what its child prints as Ansible does, under watch; says how it ended and how large it was.
LISTENER = """
import json, resource, subprocess, sys
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import memory
with memory.watched(50 << 20) as exceeded:
    process = subprocess.Popen(["sh", "-c", "yes | head -c 4000000000"], stdout=subprocess.PIPE)
    heard = []
    while True:
        part = process.stdout.read(1 << 16)
        if not part:
            break
        heard.append(part)
    process.wait()
print(json.dumps([exceeded.is_set(), process.returncode, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def test_a_host_that_prints_without_end_is_left(tmp_path: Path) -> None:
    hosts = FakeHosts(tmp_path, {"kube_node": ["w1"]})
    environment = {**os.environ, "PYTHONPATH": str(hosts.collections())}
    done = subprocess.run([sys.executable, "-c", LISTENER], env=environment, capture_output=True, text=True, check=True, timeout=300)
    exceeded, code, peak = json.loads(done.stdout)
    assert exceeded and code == -9
    assert peak * 1024 < 1 << 30, f"{peak / 1024:.0f} MiB of 4 GB that were to come"


def test_a_host_that_answers_is_not_left() -> None:
    with memory.watched() as exceeded:
        subprocess.run(["true"], check=True)
    assert not exceeded.is_set() and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY

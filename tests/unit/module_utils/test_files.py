# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.files import Host


def test_describe_does_not_follow_links(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"12345")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to("target")
    facts = files.describe(str(target), files.Names())
    assert (facts["type"], facts["mode"], facts["size"], facts["uid"]) == ("file", "0640", 5, os.getuid())
    link = files.describe(str(tmp_path / "link"), files.Names())
    assert (link["type"], link["target"]) == ("link", "target")


def test_describe_shows_special_bits_and_kinds(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o1777)
    os.mkfifo(tmp_path / "fifo")
    assert files.describe(str(tmp_path / "d"), files.Names())["mode"] == "1777"
    assert files.describe(str(tmp_path / "fifo"), files.Names())["type"] == "other"
    assert files.describe(str(tmp_path / "gone"), files.Names()) == {"type": "absent"}
    assert files.describe(str(tmp_path / "fifo" / "below"), files.Names()) == {"type": "absent"}


def test_names_of_unknown_numbers_are_numbers() -> None:
    names = files.Names()
    assert (names.owner(0), names.group(0)) == ("root", "root")
    assert (names.owner(2**31 - 7), names.group(2**31 - 7)) == (str(2**31 - 7), str(2**31 - 7))


def test_read_refuses_links_fifos_and_large_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    assert files.read_bytes(str(tmp_path / "file"), 10) == b"x" * 10
    with pytest.raises(OSError) as large:
        files.read_bytes(str(tmp_path / "file"), 9)
    assert large.value.errno == errno.EFBIG
    for name in ("link", "fifo", "."):
        with pytest.raises(OSError) as refused:  # a FIFO without a writer would block an ordinary open
            files.read_bytes(str(tmp_path / name))
        assert refused.value.errno == errno.EINVAL


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    monkeypatch.setattr(files.os, "lstat", os.stat)  # the link came after the first look
    with pytest.raises(OSError) as refused:
        files.read_bytes(str(tmp_path / "link"))
    assert refused.value.errno == errno.ELOOP


def test_read_knows_files_that_say_size_zero() -> None:
    assert files.read_bytes("/proc/self/status").startswith(b"Name:")


def test_sha256_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert files.sha256_of(str(tmp_path / "file")) == hashlib.sha256(b"abc").hexdigest()


@pytest.fixture
def tree(tmp_path: Path) -> Host:
    for path in ("etc/a.yaml", "etc/b.conf", "etc/.hidden.yaml", "etc/sub/c.yaml", "etc/sub/deep/d.yaml", "else/e.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "etc/way-out").symlink_to("../else")
    (tmp_path / "etc/loop").symlink_to(".")
    return Host(str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/etc/a.yaml", ["/etc/a.yaml"]),
        ("/etc/none.yaml", []),
        ("/etc/*.yaml", ["/etc/.hidden.yaml", "/etc/a.yaml"]),
        ("/etc/[ab].*", ["/etc/a.yaml", "/etc/b.conf"]),
        ("/etc/*/c.yaml", ["/etc/sub/c.yaml"]),
        ("/etc/**/*.yaml", ["/etc/.hidden.yaml", "/etc/a.yaml", "/etc/sub/c.yaml", "/etc/sub/deep/d.yaml"]),
        ("/etc/sub/**", ["/etc/sub/c.yaml", "/etc/sub/deep", "/etc/sub/deep/d.yaml"]),
        ("/etc/way-out/e.yaml", ["/etc/way-out/e.yaml"]),
        ("/etc/a.yaml/*", []),
    ],
)
def test_expand(tree: Host, pattern: str, found: list[str]) -> None:
    assert sorted(files.expand(pattern, tree)) == found


def test_expand_stops_at_too_many(tree: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_MATCHES", 3)
    with pytest.raises(files.TooManyFilesError, match=r"/\*\*"):
        list(files.expand("/**", tree))


def test_printable() -> None:
    assert files.printable("/etc/kubernetes/ä b.yaml")
    assert not files.printable("/etc/kubernetes/a\n.yaml")
    assert not files.printable(os.fsdecode(b"/etc/\xff"))

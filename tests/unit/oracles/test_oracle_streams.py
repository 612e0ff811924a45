# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams that are cut: what is asked for again, which lines are missing, and which restart a cut belongs to."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from tests.oracles import restarts, streams
from tests.oracles.restarts import Restart, explain, parse
from tests.oracles.streams import Cut, Stream


def logs(*sessions: list[tuple[str, int]]) -> Stream:
    stream = Stream("logs", "w1")
    for session in sessions:
        numbers: list[int] = []
        for stamp, number in session:
            stream.take(f"{stamp} {number}", numbers)
    return stream


def test_a_log_goes_on_from_its_last_line() -> None:
    stream = Stream("logs", "w1")
    assert not any(word.startswith("--since-time") for word in stream.command())
    stream.take("2026-11-21T21:51:18.067642985Z 7", [])
    assert "--since-time=2026-11-21T21:51:18.067642985Z" in stream.command()


def test_lines_that_come_twice_at_a_seam_are_dropped() -> None:
    stream = logs([("t1", 1), ("t2", 2), ("t3", 3)], [("t2", 2), ("t3", 3), ("t4", 4)])
    assert (stream.numbers, stream.missing, stream.disordered, stream.delivered) == ([1, 2, 3, 4], 0, 0, 6)


def test_a_lost_line_is_missing() -> None:
    assert logs([("t1", 1), ("t2", 2)], [("t5", 5)]).missing == 2


def test_disorder_within_a_session() -> None:
    assert logs([("t1", 1), ("t3", 3)]).disordered == 1
    assert logs([("t1", 1)], [("t9", 9)]).disordered == 0


def test_what_the_kubelet_says_is_no_line() -> None:
    stream = Stream("logs", "w1")
    stream.take("failed to create fsnotify watcher: too many open files", [])
    stream.take("", [])
    assert (len(stream.remarks), stream.delivered) == (2, 0)


# kubectl stands in for itself: a session counts to three and is cut, the next two are refused, then one counts until it is told to stop.
KUBECTL = """
import pathlib, sys, time
tries = pathlib.Path(sys.argv[1])
n = len(tries.read_text()) if tries.exists() else 0
tries.write_text("x" * (n + 1))
if n in (1, 2):
    sys.exit("error: connection refused")
for number in range(1, 4 if n == 0 else 1000):
    print(number, flush=True)
    time.sleep(0.01)
sys.exit("error: unexpected EOF")
"""


def test_a_cut_stream_is_opened_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(streams, "RETRY_S", 0.0)
    stop, stream = threading.Event(), Stream("exec", "w1")
    take = stream.take

    def until_it_is_back(line: str, session: list[int]) -> None:
        take(line, session)
        if stream.cuts and len(session) > 3:
            stop.set()

    monkeypatch.setattr(stream, "take", until_it_is_back)
    streams.keep_open(stream, [sys.executable, "-c", KUBECTL, str(tmp_path / "tries")], stop)
    assert [cut.cause for cut in stream.cuts] == ["error: unexpected EOF"]
    assert stream.refused == 2
    assert stream.cuts[0].back is not None and stream.cuts[0].back >= stream.cuts[0].at


def test_a_cut_that_was_never_mended_says_so() -> None:
    assert Cut(10.0, "gone").as_dict(4.0) == {"at": 6.0, "away_s": None, "cause": "gone"}


JOURNAL = r"""
100.5 cp1 containerd[61]: msg="RunPodSandbox for name:\"kube-apiserver-cp1\"  uid:\"03\"  namespace:\"kube-system\" returns sandbox id \"5a\""
100.6 cp1 containerd[61]: msg="CreateContainer within sandbox \"5a\" for name:\"kube-apiserver\" returns container id \"19\""
100.7 cp1 containerd[61]: msg="StartContainer for \"19\" returns successfully"
101.5 cp1 containerd[61]: msg="RunPodSandbox for name:\"kube-apiserver-cp1\"  uid:\"04\"  namespace:\"molecule\" returns sandbox id \"6a\""
101.6 cp1 containerd[61]: msg="CreateContainer within sandbox \"6a\" for name:\"kube-apiserver\" returns container id \"decoy\""
102.0 cp1 containerd[61]: msg="StopContainer for \"decoy\" with timeout 2 (s)"
103.0 cp1 systemd[1]: Stopping kubelet.service - kubelet: The Kubernetes Node Agent...
103.1 cp1 systemd[1]: kubelet.service: Deactivated successfully.
103.2 cp1 systemd[1]: Stopped kubelet.service - kubelet: The Kubernetes Node Agent.
103.3 cp1 systemd[1]: Started kubelet.service - kubelet: The Kubernetes Node Agent.
110.0 cp1 containerd[61]: msg="StopContainer for \"19\" with timeout 30 (s)"
117.0 cp1 containerd[61]: msg="received container exit event container_id:\"19\"  id:\"19\"  pid:626  exit_status:0"
123.0 cp1 containerd[61]: msg="RunPodSandbox for name:\"kube-apiserver-cp1\"  uid:\"05\"  namespace:\"kube-system\" returns sandbox id \"7a\""
123.1 cp1 containerd[61]: msg="CreateContainer within sandbox \"7a\" for name:\"kube-apiserver\" returns container id \"20\""
123.2 cp1 containerd[61]: msg="StartContainer for \"20\" returns successfully"
130.0 cp1 containerd[61]: msg="received container exit event container_id:\"20\"  id:\"20\"  pid:700  exit_status:1"
"""


def test_what_the_journal_says() -> None:
    assert parse("cp1", JOURNAL.splitlines()) == [
        Restart("cp1", "kubelet", 103.0, 103.1, 103.3),
        Restart("cp1", "kube-apiserver", 110.0, 117.0, 123.2),
        Restart("cp1", "kube-apiserver", 130.0, 130.0, None),
    ]


ROLLS = [
    Restart("w1", "kubelet", 10.0, 10.1, 10.2),
    Restart("cp1", "kubelet", 20.0, 20.1, 20.2),
    Restart("cp1", "kube-apiserver", 30.0, 37.0, 45.0),
    Restart("cp1", "etcd", 50.0, 58.0, 60.0),
    Restart("cp2", "kube-apiserver", 70.0, None, None),
]


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [
        ([10.1, 36.9, 75.0], ["kubelet of w1", "kube-apiserver of cp1", "kube-apiserver of cp2"]),
        ([20.1], [None]),  # the kubelet of another node carries nothing of this stream
        ([55.0], [None]),  # and etcd no stream at all
        ([31.0, 32.0], ["kube-apiserver of cp1", None]),  # once per restart
        ([44.0], [None]),  # long after the old process was gone
    ],
)
def test_which_restart_a_cut_belongs_to(cuts: list[float], expected: list[str | None]) -> None:
    assert [one and str(one) for one in explain(cuts, ROLLS, "w1")] == expected


def test_only_what_is_read_is_fetched() -> None:
    wanted = restarts.LINES.split("|")
    read = [line for line in JOURNAL.splitlines() if line]
    assert all(any(word in line for word in wanted) for line in read)

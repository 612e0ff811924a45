# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One static pod's flags: what is refused, what the job holds, and that its transaction is carried out, told and not repeated."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.ninepaths.kubernetes.plugins.action import static_pod
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import following
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError

SEEN = json.loads((Path(__file__).parents[1] / "fixtures" / "observation-cp1.json").read_text(encoding="utf-8"))
MANIFEST = "/etc/kubernetes/manifests/kube-scheduler.yaml"
END = {"seq": 2, "at": 103.0, "event": "end", "step": "", "message": "committed", "data": {"state": "committed"}}
BEGIN = {"seq": 1, "at": 100.0, "event": "begin", "step": "", "message": "transaction x", "data": {}}
MOUNT = {"name": "extra", "host_path": "/etc/extra", "path": "/etc/extra", "read_only": True, "type": "Directory"}


@pytest.fixture
def act(make, monkeypatch):
    """Run the action against an observation and the transaction's end; returns (result, the requests by entry)."""
    monkeypatch.setattr(following, "RECONNECT_S", 0)
    monkeypatch.setattr(following.bundle, "build", lambda entry, request: b"program")

    def run(seen: dict[str, Any] | None = None, end: Any = END, mode: dict[str, bool] | None = None, **options: Any) -> tuple[dict[str, Any], Any]:
        action = make(static_pod.ActionModule, {}, **(mode or {}))
        action._connection.close = lambda: None
        asked: dict[str, Any] = {}

        def program(entry: str, request: dict[str, Any], _vars: Any) -> dict[str, Any]:
            asked[entry] = request
            if entry == "follow" and isinstance(end, Exception):
                raise end
            answers = {"observe": seen or SEEN, "launch": {}, "follow": {"lines": [BEGIN, end], "offset": 9, "alive": True}}
            return copy.deepcopy(answers[entry])

        action.program = program
        given = {"component": "kube-scheduler", "flags": {}, "absent": [], "mounts": [], "reconnect_s": -1, **options}
        return action.act(given, {"inventory_hostname": "cp1"}), asked

    return run


def content(asked: dict[str, Any]) -> str:
    (change,) = asked["launch"]["job"]["steps"][0]["changes"].values()
    return base64.b64decode(change["file"]["content"]).decode()


def with_manifest(text: str, argv: list[str]) -> dict[str, Any]:
    seen = copy.deepcopy(SEEN)
    seen["files"][MANIFEST].update(text=text, sha256=hashlib.sha256(text.encode()).hexdigest())
    seen["components"]["kube-scheduler"]["argv"] = argv
    return seen


def test_a_flag_is_set_by_a_transaction_and_the_second_time_nothing_happens(act):
    result, asked = act(flags={"v": 2})
    job = asked["launch"]["job"]
    assert (result["changed"], result["state"], result["argv"][-1]) == (True, "committed", "--v=2")
    assert result["messages"] == ["transaction x", "committed"] and result["restarts"] == {"kube-scheduler": 1}
    assert content(asked) == SEEN["files"][MANIFEST]["text"].replace("leader-elect=true\n", "leader-elect=true\n    - --v=2\n")
    assert asked["follow"]["id"] == job["id"] == result["transaction"] and job["run"].startswith(job["lease"]["holder"] + "-")
    again, asked = act(with_manifest(content(asked), result["argv"]), flags={"v": "2"})
    assert (again["changed"], again["argv"], list(asked)) == (False, result["argv"], ["observe"])


def test_a_flag_is_replaced_and_another_removed(act):
    result, asked = act(flags={"bind-address": "127.0.0.2"}, absent=["leader-elect", "v"])
    assert "--bind-address=127.0.0.2" in result["argv"] and "--leader-elect=true" not in result["argv"]
    assert content(asked).count("host: 127.0.0.2") == 3, "the probes follow the address"


def test_the_same_task_twice_in_a_run_makes_two_transactions(act):
    assert act(flags={"v": 2})[0]["transaction"] != act(flags={"v": 2})[0]["transaction"]


def test_a_mount_comes_along(act):
    _result, asked = act(flags={"v": 2}, mounts=[MOUNT])
    (change,) = asked["launch"]["job"]["steps"][0]["changes"].values()
    assert {"host_path": "/etc/extra", "path": "/etc/extra", "read_only": True} in change["mounts"]


def test_check_mode_predicts_and_shows_the_difference(act):
    result, asked = act(mode={"check_mode": True, "diff": True}, flags={"v": 2})
    assert (result["changed"], result["state"], list(asked)) == (True, "predicted", ["observe"])
    assert "+    - --v=2\n" in result["diff"][0]["prepared"]


def test_lists_and_booleans_are_written_as_the_component_reads_them(act):
    result, _asked = act(component="kube-apiserver", flags={"enable-admission-plugins": ["NodeRestriction", "PodSecurity"], "profiling": False})
    assert {"--enable-admission-plugins=NodeRestriction,PodSecurity", "--profiling=false"} <= set(result["argv"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flags": {"leader-elekt": "true"}}, "does not know the flag 'leader-elekt'; is leader-elect meant"),
        ({"flags": {"--leader-elect": True}}, "is leader-elect meant"),
        ({"absent": ["leader-elekt"]}, "does not know the flag"),
        ({"flags": {"v": 2}, "absent": ["v"]}, "both in flags and in absent"),
        ({"flags": {"v": "much"}}, "v must be a number like 2, not 'much'"),
        ({"flags": {"leader-elect": "yes"}}, "must be true or false, not 'yes'"),
        ({"flags": {"leader-elect-lease-duration": "15"}}, "must be a duration like 30s"),
        ({"flags": {"kubeconfig": ["/a", "/b"]}}, "must be text, not a list"),
        ({"flags": {"kubeconfig": "/a\n/b"}}, "must be text"),
        ({"flags": {"v": None}}, "must be a number like 2, not null"),
        ({"component": "kube-apiserver", "flags": {"tls-sni-cert-key": ["/a,/b", "/c,/d"]}}, "cannot be joined"),
        ({"component": "etcd", "flags": {"data-dir": "/srv/etcd"}}, "would start without them"),
        ({"component": "etcd", "absent": ["data-dir"]}, "would start without them"),
        ({"mounts": [{**MOUNT, "name": "No_Name"}]}, "is no name for a volume"),
        ({"mounts": [{**MOUNT, "host_path": "/etc/../root"}]}, "is no plain absolute path"),
        ({"mounts": [{**MOUNT, "path": "/etc/kubernetes/scheduler.conf"}]}, "already mounted"),
    ],
)
def test_what_is_refused_touches_nothing(act, options, message):
    with pytest.raises(ActionError, match=message):
        act(**options)


def test_flags_of_identity_may_be_named_as_they_are(act):
    value = next(item for item in SEEN["components"]["etcd"]["argv"] if item.startswith("--data-dir=")).partition("=")[2]
    assert act(component="etcd", flags={"data-dir": value})[0]["changed"] is False


def broken(change: str) -> dict[str, Any]:
    seen = copy.deepcopy(SEEN)
    if change == "absent":
        del seen["components"]["kube-scheduler"]
    elif change == "stale":
        seen["components"]["kube-scheduler"]["argv"].append("--v=9")
    elif change in ("open", "failed"):
        why = {"cause": "the disk is full", "advice": "make room"}
        seen["journals"] = [{"id": "t9", "run": "r", "state": change, "step": "", "at": 0.0, **why}]
    else:
        seen["problems"] = [{"file": "/x", "cause": "cannot be read", "advice": "look at it"}]
    return seen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("absent", "no static pod kube-scheduler on this host"),
        ("stale", "other arguments than its manifest says"),
        ("open", "transaction t9 has not ended; wait until it has ended, or run ninepaths.kubernetes.observe with recover"),
        ("failed", "transaction t9 could not be undone: the disk is full; make room"),
        ("problem", "cp1: /x: cannot be read; look at it"),
    ],
)
def test_a_host_that_is_not_as_it_should_be_is_left_alone(act, change, message):
    with pytest.raises(ActionError, match=message):
        act(broken(change), flags={"v": 2})


def test_an_undone_transaction_fails_with_cause_advice_and_journal(act):
    undone = {**END, "message": "undone", "data": {"state": "undone", "cause": "it is not ready", "advice": "look at its log"}}
    with pytest.raises(ActionError, match="cp1: it is not ready; everything is as it was before; look at its log") as raised:
        act(end=undone, flags={"v": 2})
    assert raised.value.result["messages"] == ["transaction x", "undone"]
    assert {"state": "undone", "cause": "it is not ready", "advice": "look at its log"}.items() <= raised.value.result.items()


def test_a_connection_that_stays_lost_fails_with_the_transactions_name(act):
    with pytest.raises(ActionError, match="finishes or undoes its transaction by itself") as raised:
        act(end=AnsibleConnectionFailure("cp1: gone"), flags={"v": 2})
    assert raised.value.result["transaction"].endswith("-control-planes")


def test_what_looks_like_a_secret_is_masked(act):
    text = SEEN["files"][MANIFEST]["text"].replace("--leader-elect=true", "--x-password=hunter2hunter2")
    argv = [item.replace("--leader-elect=true", "--x-password=hunter2hunter2") for item in SEEN["components"]["kube-scheduler"]["argv"]]
    result, _asked = act(with_manifest(text, argv), mode={"check_mode": True, "diff": True}, flags={"v": 2})
    assert "hunter2" not in json.dumps(result) and "--x-password=********" in result["argv"]

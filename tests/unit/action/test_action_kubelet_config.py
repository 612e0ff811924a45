# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubelet's configuration file: what is refused, which bytes change, and that a second run has nothing to do."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.action import kubelet_config
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution import following
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.execution.action import ActionError

FIXTURES = Path(__file__).parents[1] / "fixtures"
SEEN = {name: json.loads((FIXTURES / f"observation-{name}.json").read_text(encoding="utf-8")) for name in ("cp1", "w1")}
CONFIG = "/var/lib/kubelet/config.yaml"
TEXT = SEEN["w1"]["files"][CONFIG]["text"]
END = {"seq": 1, "at": 100.0, "event": "end", "step": "", "message": "committed", "data": {"state": "committed"}}


@pytest.fixture
def act(make, monkeypatch):
    """Run the action against an observation; returns (result, the requests by entry)."""
    monkeypatch.setattr(following.bundle, "build", lambda entry, request: b"program")

    def run(seen: dict[str, Any] | None = None, mode: dict[str, bool] | None = None, **options: Any) -> tuple[dict[str, Any], Any]:
        action = make(kubelet_config.ActionModule, {}, **(mode or {}))
        asked: dict[str, Any] = {}

        def program(entry: str, request: dict[str, Any], _vars: Any) -> dict[str, Any]:
            asked[entry] = request
            answers = {"observe": seen or SEEN["w1"], "launch": {}, "follow": {"lines": [END], "offset": 9, "alive": True}}
            return copy.deepcopy(answers[entry])

        action.program = program
        return action.act({"fields": {}, "absent": [], "reconnect_s": 5, **options}, {"inventory_hostname": "w1"}), asked

    return run


def content(asked: dict[str, Any]) -> str:
    (file,) = asked["launch"]["job"]["steps"][0]["files"]
    return base64.b64decode(file["content"]).decode()


def with_text(text: str) -> dict[str, Any]:
    seen = copy.deepcopy(SEEN["w1"])
    seen["files"][CONFIG].update(text=text, sha256=hashlib.sha256(text.encode()).hexdigest())
    return seen


def test_a_field_is_set_kept_and_removed_again(act):
    result, asked = act(fields={"containerLogMaxFiles": 7})
    text = content(asked)
    assert text == TEXT.replace("containerRuntimeEndpoint", "containerLogMaxFiles: 7\ncontainerRuntimeEndpoint")
    assert (result["changed"], result["file"], result["restarts"], result["messages"]) == (True, CONFIG, {"kubelet": 1}, ["committed"])
    assert act(with_text(text), fields={"containerLogMaxFiles": 7})[0]["changed"] is False
    gone, asked = act(with_text(text), absent=["containerLogMaxFiles"])
    assert gone["changed"] and content(asked) == TEXT
    assert act(absent=["containerLogMaxFiles"])[0]["state"] == "nothing-to-do"


def test_a_worker_needs_no_lease_and_a_control_plane_does(act):
    _result, worker = act(fields={"maxPods": 99})
    _result, plane = act(SEEN["cp1"], fields={"maxPods": 99})
    assert worker["launch"]["job"]["lease"] is None and plane["launch"]["job"]["lease"]["holder"]


def test_what_follows_a_map_is_one_key(act):
    result, asked = act(fields={"evictionHard.memory.available": "500Mi", "authentication.webhook.cacheTTL": "2m0s"})
    assert "evictionHard:\n  memory.available: 500Mi\n" in content(asked) and "    cacheTTL: 2m0s\n" in content(asked)
    assert result["changed"]
    again, _asked = act(with_text(content(asked)), fields={"evictionHard": {"memory.available": "500Mi"}})
    assert again["changed"] is False


def test_check_mode_predicts_and_shows_the_difference(act):
    result, asked = act(mode={"check_mode": True, "diff": True}, fields={"maxPods": 99})
    assert (result["changed"], list(asked)) == (True, ["observe"]) and "+maxPods: 99\n" in result["diff"][0]["prepared"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": {"maxPodz": 1}}, "does not know the field 'maxPodz'"),
        ({"absent": ["maxPodz"]}, "does not know the field 'maxPodz'"),
        ({"fields": {"kind": "Pod"}}, "does not know the field 'kind'"),
        ({"fields": {"authentication.anonymous": {"enabled": False}}}, "group of fields; name them one by one"),
        ({"fields": {"maxPods": "99"}}, "maxPods must be a whole number, not '99'"),
        ({"fields": {"maxPods": True}}, "maxPods must be a whole number, not true"),
        ({"fields": {"maxPods": None}}, "maxPods must be a whole number, not null"),
        ({"fields": {"clusterDNS": "10.96.0.10"}}, "clusterDNS must be a list, each of it text, not text"),
        ({"fields": {"maxPods": 1}, "absent": ["maxPods"]}, "named twice"),
        ({"fields": {"evictionHard": {}, "evictionHard.memory.available": "1Mi"}}, "lies in evictionHard"),
        ({"fields": {"serverTLSBootstrap": True}}, "would serve nothing until"),
    ],
)
def test_what_is_refused_touches_nothing(act, options, message):
    with pytest.raises(ActionError, match=message):
        act(**options)


def test_a_signed_certificate_lets_the_bootstrap_be_switched_on(act):
    seen = with_text(TEXT)
    seen["files"]["/var/lib/kubelet/pki/kubelet-server-current.pem"] = {"type": "link", "target": "x"}
    assert act(seen, fields={"serverTLSBootstrap": True})[0]["changed"]


def test_a_dropin_that_wins_is_named(act):
    seen = with_text(TEXT)
    dropin = "/etc/kubernetes/kubelet.conf.d/10.conf"
    seen["kubelet"]["dropins"] = [dropin]
    head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
    seen["files"][dropin] = {**seen["files"][CONFIG], "text": head + "maxPods: 50\n"}
    with pytest.raises(ActionError, match=r"10\.conf: this drop-in sets maxPods too"):
        act(seen, fields={"maxPods": 99})
    assert act(seen, fields={"maxPods": 50})[0]["changed"], "it may say the same"


@pytest.mark.parametrize(("flag", "field", "value"), [("max-pods", "maxPods", 99), ("anonymous-auth", "authentication.anonymous.enabled", False)])
def test_a_flag_that_wins_is_named(act, flag, field, value):
    seen = with_text(TEXT)
    seen["kubelet"]["argv"].append(f"--{flag}=1")
    with pytest.raises(ActionError, match=f"--{flag}, which beats"):
        act(seen, fields={field: value})


def test_without_a_configuration_file_nothing_is_done(act):
    seen = with_text(TEXT)
    seen["kubelet"] = None
    with pytest.raises(ActionError, match="no kubelet runs here with --config"):
        act(seen, fields={"maxPods": 99})

# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running binary judges; what it cannot judge in an empty namespace is not held against the new arguments."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import engine_bed as bed
import pytest
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host.failures import ValidationError
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps import node, pairs, prevalidate
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.steps.prevalidate import Candidate
from tls_material import Authority, Pair

OLD = ["kube-apiserver", "--secure-port=6443"]
MOUNTS = [
    {"host_path": "/etc/kubernetes/pki", "path": "/etc/kubernetes/pki", "read_only": True},
    {"host_path": "/var/log/kubernetes/audit", "path": "/audit", "read_only": False},
]


class Binary(bed.FakeMachine):
    """A binary that answers `--version` and the trial start by its arguments."""

    def __init__(self, root: Path, judge: Callable[[list[str], bool], bed.RunResult]) -> None:
        super().__init__(root)
        self.judge, self.tasks = judge, []  # type: ignore[var-annotated]
        self.limits: list[int] = []

    def systemd(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> bed.RunResult:
        if argv[-1] == "--version":
            return self.judge(list(argv[1:-1]), False)
        assert argv[0] == "timeout" and "--net" in argv and "--mount" in argv and argv[-1] == "sandbox"
        self.tasks.append(json.loads(stdin))
        self.limits.append(int(argv[2]))
        assert timeout > self.limits[-1]
        return self.judge(self.tasks[-1]["argv"][1:], True)


def good(words: list[str], trial: bool) -> bed.RunResult:
    return bed.RunResult(137 if trial else 0, "", "")


def candidate(tmp_path: Path, judge: Any, *new: str, mounts: Any = MOUNTS) -> Candidate:
    for folder in ("etc/kubernetes/pki", "t"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    return Candidate(Binary(tmp_path, judge), "kube-apiserver", [*OLD, *new], OLD, 7, mounts)


def test_a_good_command_line_is_parsed_and_started(tmp_path: Path) -> None:
    one = candidate(tmp_path, good, "--profiling=false")
    assert (
        prevalidate.validate(one, "/t") == "new arguments accepted by the running binary, which ran with them for 3 s in empty namespaces"
    )
    assert one.machine.tasks[0]["executable"] == "/proc/7/exe"  # type: ignore[attr-defined]


def test_a_flag_that_it_does_not_know_is_refused_in_its_own_words(tmp_path: Path) -> None:
    def judge(words: list[str], trial: bool) -> bed.RunResult:
        return (
            bed.RunResult(1, "", "Usage: …\nError: unknown flag: --bind-addressn\n") if "--bind-addressn=1" in words else good(words, trial)
        )

    with pytest.raises(ValidationError, match="refuses its new arguments: Error: unknown flag: --bind-addressn"):
        prevalidate.validate(candidate(tmp_path, judge, "--bind-addressn=1"), "/t")


def test_a_value_that_only_a_start_finds_is_refused(tmp_path: Path) -> None:
    def judge(words: list[str], trial: bool) -> bed.RunResult:
        fault = 'E1121 13:42:04.063033       1 run.go:72] "command failed" err="Cipher suite NOPE not supported"\n'
        return bed.RunResult(1, "", fault) if trial and "--tls-cipher-suites=NOPE" in words else good(words, trial)

    with pytest.raises(ValidationError, match='does not start with its new arguments: "Cipher suite NOPE'):
        prevalidate.validate(candidate(tmp_path, judge, "--tls-cipher-suites=NOPE"), "/t")


def test_an_end_that_the_old_arguments_share_is_no_fault(tmp_path: Path) -> None:
    def judge(words: list[str], trial: bool) -> bed.RunResult:
        number = len(words)
        said = f"E1121 13:42:0{number}.0 {number} run.go:72] unable to load configmap, dial tcp 10.0.0.1:644{number}\n"
        return bed.RunResult(1, "", said) if trial else good(words, trial)

    assert "as far as with its present ones" in prevalidate.validate(candidate(tmp_path, judge, "--profiling=false"), "/t")


def test_the_old_arguments_get_longer_to_come_to_the_same_end(tmp_path: Path) -> None:
    """An etcd that looks for its cluster ends by itself, on a busy machine just before or just after the new one's time is up."""
    said = "discovery failed: cannot fetch cluster info from peer urls\n"
    one = candidate(tmp_path, lambda words, trial: bed.RunResult(1, "", said) if trial else good(words, trial), "--profiling=false")
    assert "as far as with its present ones" in prevalidate.validate(one, "/t")
    new, old = one.machine.limits  # type: ignore[attr-defined]
    assert old > 2 * new


def test_no_namespaces_is_said_and_not_held_against_it(tmp_path: Path) -> None:
    def judge(words: list[str], trial: bool) -> bed.RunResult:
        return bed.RunResult(125, "", "unshare: unshare failed: Operation not permitted") if trial else good(words, trial)

    assert "not possible on this host: unshare: unshare failed" in prevalidate.validate(
        candidate(tmp_path, judge, "--profiling=false"), "/t"
    )


@pytest.mark.parametrize(
    "answer", [bed.RunResult(127, "", "/proc/7/exe: No such file or directory"), bed.RunResult(124, "", "/proc/7/exe: no end within 10 s, killed")]
)
def test_what_did_not_run_has_accepted_nothing(tmp_path: Path, answer: bed.RunResult) -> None:
    verdict = prevalidate.validate(candidate(tmp_path, lambda words, trial: answer, "--x=1"), "/t")
    assert verdict.startswith(f"new arguments could not be judged ({answer.stderr})")
    assert "accepted" not in verdict and "empty namespaces" not in verdict
    assert "accepted" not in prevalidate.validate_kubelet(candidate(tmp_path, lambda words, trial: answer, "--x=1"), "/t")


def test_a_parse_that_was_not_in_time_is_no_refusal(tmp_path: Path) -> None:
    def judge(words: list[str], trial: bool) -> bed.RunResult:
        return bed.RunResult(124, "", "no end within 10 s") if not trial and "--x=1" in words else good(words, trial)

    assert "could not be judged" in prevalidate.validate(candidate(tmp_path, judge, "--x=1"), "/t")


def test_a_binary_that_refuses_its_present_arguments_too_is_not_blamed(tmp_path: Path) -> None:
    said = prevalidate.check_parse(candidate(tmp_path, lambda words, trial: bed.RunResult(1, "", "Error: no"), "--x=1"))
    assert said == "new arguments could not be judged (Error: no)"


def test_a_kubelet_that_says_nothing_has_accepted_nothing(tmp_path: Path) -> None:
    verdict = prevalidate.validate_kubelet(
        candidate(tmp_path, lambda words, trial: bed.RunResult(1 if trial else 0, "", ""), mounts=None), "/t"
    )
    assert "configuration could not be judged" in verdict


def test_a_file_that_is_not_there_or_not_mounted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"/etc/kubernetes/pki/p.yaml does not exist"):
        prevalidate.check_files(candidate(tmp_path, good, "--audit-policy-file=/etc/kubernetes/pki/p.yaml"))
    with pytest.raises(ValidationError, match="lies in no mount of the pod"):
        prevalidate.check_files(candidate(tmp_path, good, "--audit-policy-file=/etc/kubernetes/policy.yaml"))
    (tmp_path / "etc/kubernetes/pki/p.yaml").write_text("")
    prevalidate.check_files(candidate(tmp_path, good, "--audit-policy-file=/etc/kubernetes/pki/p.yaml"))


def test_a_log_that_would_stay_in_the_container_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="lies in no mount"):
        prevalidate.check_files(candidate(tmp_path, good, "--audit-log-path=/var/log/audit.log"))
    with pytest.raises(ValidationError, match="read-only mount"):
        prevalidate.check_files(candidate(tmp_path, good, "--audit-log-path=/etc/kubernetes/pki/audit.log"))
    prevalidate.check_files(candidate(tmp_path, good, "--audit-log-path=/audit/audit.log"))


def test_what_stays_as_it_was_is_not_judged(tmp_path: Path) -> None:
    one = candidate(tmp_path, good)
    one.old = one.argv = [*OLD, "--client-ca-file=/only/in/the/image.crt"]
    prevalidate.check_files(one)


def test_a_path_of_the_pod_is_found_on_the_host(tmp_path: Path) -> None:
    one = candidate(tmp_path, good)
    assert one.place("/audit/x/y.log") == f"{tmp_path}/var/log/kubernetes/audit/x/y.log"
    assert one.place("/auditor/y.log") == f"{tmp_path}/auditor/y.log"


def test_what_a_component_writes_is_a_tmpfs_in_the_trial() -> None:
    argv = ["etcd", "--data-dir=/var/lib/etcd", "--wal-dir=/wal", "--audit-log-path=/var/log/k/audit.log", "--name=/x"]
    assert prevalidate.scratch(argv) == ["/var/lib/etcd", "/var/log/k", "/wal"]


def test_addresses_of_listeners() -> None:
    argv = ["etcd", "--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379", "--x=0.0.0.0", "--y=999.1.1.1", "--z=10.0.0.1"]
    assert prevalidate.addresses(argv) == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ('E1121 1:1:1.1 1 run.go:72] "command failed" err="failed to validate kubelet configuration, error: maxPods -3"', True),
        ('E1121 1:1:1.1 1 run.go:72] "command failed" err="failed to load kubelet config file, path: /x"', True),
        ('E1121 1:1:1.1 1 run.go:72] "command failed" err="failed to run Kubelet: validate service connection: no such file"', False),
    ],
)
def test_a_kubelet_is_judged_by_what_it_says_of_its_configuration(tmp_path: Path, said: str, refused: bool) -> None:
    def judge(words: list[str], trial: bool) -> bed.RunResult:
        return bed.RunResult(1, "", said) if trial else good(words, trial)

    one = candidate(tmp_path, judge, mounts=None)
    if refused:
        with pytest.raises(ValidationError, match="the kubelet refuses its new configuration"):
            prevalidate.validate_kubelet(one, "/t")
    else:
        assert prevalidate.validate_kubelet(one, "/t") == "new arguments accepted by the running binary, its configuration too"


def test_log_lines_are_made_harmless() -> None:
    assert node.harmless('E1121 13:42:04.06       1 run.go:72] "command failed" err="bad"') == '"bad"'
    assert node.harmless('{"level":"fatal","msg":"discovery failed","error":"no","stacktrace":"x"}') == "discovery failed: no"
    assert "aGVsbG8" not in node.harmless("key: aGVsbG8gd29ybGQgdGhpcyBpcyBhIHNlY3JldCBrZXkgdGhhdCBpcyBsb25n")
    assert len(node.harmless("x y" * 1000)) <= 300 and "\x1b" not in node.harmless("\x1b[31mred")


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("Error: dial https://root:hunter2pw@db: refused", "hunter2pw"),
        ("Error: dial https://root:hunter/2pw@db: refused", "2pw"),
        ("error: key /" + "Ab3" * 20, "Ab3Ab3"),
        ("error: key /" + "Ab3" * 16 + "/Ab3", "Ab3Ab3"),
        ("error: key /ab+/" + "Ab3/" * 16, "Ab3/Ab3"),
    ],
)
def test_no_secret_stands_in_a_log_line(said: str, secret: str) -> None:
    assert secret not in node.harmless(said)


def test_a_long_path_stays_readable() -> None:
    path = "/var/lib/kubelet/pods/0ce8b99c-51be-4d42-880b-2eb5a4c51bad/etc-hosts"
    assert path in node.harmless(f"Error: open {path}: no such file")


def test_pairs_that_fit_pass(server_pair: Pair, client_pair: Pair, authority: Authority) -> None:
    ca = authority.pair.certificate_path
    argv = ["etcd", f"--cert-file={server_pair.certificate_path}", f"--key-file={server_pair.key_path}", f"--trusted-ca-file={ca}"]
    pairs.check(
        [*argv, f"--etcd-certfile={client_pair.certificate_path}", f"--etcd-keyfile={client_pair.key_path}", f"--etcd-cafile={ca}"], str
    )


def test_a_key_of_another_certificate_is_found(server_pair: Pair, client_pair: Pair) -> None:
    argv = ["x", f"--tls-cert-file={server_pair.certificate_path}", f"--tls-private-key-file={client_pair.key_path}"]
    with pytest.raises(ValidationError, match="do not fit together"):
        pairs.check(argv, str)


@pytest.mark.parametrize(
    ("trusted", "dialled", "why"),
    [("authority", "other.example", "ostname|match"), ("stranger", "127.0.0.1", "issuer|self.signed")],
)
def test_a_serving_certificate_that_the_kubelet_would_refuse_is_found(
    request: pytest.FixtureRequest, server_pair: Pair, trusted: str, dialled: str, why: str
) -> None:
    argv = ["x", f"--tls-cert-file={server_pair.certificate_path}", f"--tls-private-key-file={server_pair.key_path}"]
    with pytest.raises(ValidationError, match=f"refused by the kubelet.*({why})"):
        pairs.check_server(argv, str, request.getfixturevalue(trusted).pair.pem.decode(), dialled)


def test_a_serving_certificate_that_the_kubelet_accepts_passes(server_pair: Pair, authority: Authority) -> None:
    argv = ["x", f"--tls-cert-file={server_pair.certificate_path}", f"--tls-private-key-file={server_pair.key_path}"]
    pairs.check_server(argv, str, authority.pair.pem.decode(), "127.0.0.1")
    pairs.check_server(["x"], str, authority.pair.pem.decode(), "127.0.0.1")


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_ca_that_did_not_sign_is_found(role: str, server_pair: Pair, client_pair: Pair, stranger: Authority) -> None:
    ca = stranger.pair.certificate_path
    words = {
        "server": [f"--cert-file={server_pair.certificate_path}", f"--key-file={server_pair.key_path}", f"--trusted-ca-file={ca}"],
        "client": [f"--etcd-certfile={client_pair.certificate_path}", f"--etcd-keyfile={client_pair.key_path}", f"--etcd-cafile={ca}"],
    }
    with pytest.raises(ValidationError, match=f"as {role} is not verified"):
        pairs.check(["x", *words[role]], str)


def test_a_ca_file_without_a_certificate_is_found(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(ValidationError, match="holds no usable certificate"):
        pairs.check(["x", f"--client-ca-file={tmp_path}/ca.crt"], str)

# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generated data about flags and fields, its lookup and its generator."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import flags
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.flags import FlagDataError, Known
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.versions import VersionRange, minor_of, order
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tools.flags import data, help_text  # noqa: E402

DATA = flags.load()
STATIC_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")


def test_there_is_data_for_the_supported_minors() -> None:
    assert {"1.31", "1.32", "1.33", "1.34", "1.35", "1.36"} <= set(DATA.minors("kubelet"))
    assert {"3.5", "3.6"} <= set(DATA.minors("etcd"))
    assert list(DATA.minors("kubelet")) == sorted(DATA.minors("kubelet"), key=order)


# Facts from the changelogs, checked against what was read from the binaries.
@pytest.mark.parametrize(
    ("component", "minor", "flag", "expected"),
    [
        ("kube-apiserver", "1.36", "profiling", Known("bool", "true")),
        ("kube-apiserver", "1.36", "anonymous-auth", Known("bool", "true")),
        ("kube-apiserver", "1.36", "kubelet-certificate-authority", Known("string", "")),
        ("kube-apiserver", "1.36", "audit-log-maxage", Known("int", "366")),
        ("kube-apiserver", "1.35", "audit-log-maxage", Known("int", "0")),
        ("kube-apiserver", "1.36", "request-timeout", Known("duration", "1m0s")),
        ("kube-apiserver", "1.36", "oidc-signing-algs", Known("strings", "RS256")),
        ("kube-apiserver", "1.36", "basic-auth-file", None),
        ("kube-apiserver", "1.36", "insecure-port", None),
        ("kube-apiserver", "1.35", "tls-curve-preferences", None),
        ("kube-controller-manager", "1.36", "bind-address", Known("ip", "0.0.0.0")),
        ("kube-controller-manager", "1.36", "terminated-pod-gc-threshold", Known("int32", "12500")),
        ("kube-scheduler", "1.36", "secure-port", Known("int", "10259")),
        ("kubelet", "1.34", "pod-infra-container-image", Known("string", "")),
        ("kubelet", "1.35", "pod-infra-container-image", None),
        ("etcd", "3.6", "tls-min-version", Known("string", "TLS1.2")),
        ("etcd", "3.6", "client-cert-auth", Known("bool", "false")),
        ("etcd", "3.6", "memory-mlock", Known("unknown", None)),
        ("etcd", "3.5", "feature-gates", None),
    ],
)
def test_flags_are_known_as_the_binaries_tell(component: str, minor: str, flag: str, expected: Known | None) -> None:
    assert DATA.flag(component, minor, flag) == expected


@pytest.mark.parametrize(
    ("component", "minor", "field", "expected"),
    [
        ("kubelet", "1.36", "serverTLSBootstrap", Known("bool", False)),
        ("kubelet", "1.36", "authentication.anonymous.enabled", Known("bool", False)),
        ("kubelet", "1.36", "authentication.anonymous", None),
        ("kubelet", "1.36", "streamingConnectionIdleTimeout", Known("duration", "4h0m0s")),
        ("kubelet", "1.36", "tlsCipherSuites", Known("[]string", None)),
        ("kubelet", "1.36", "eventRecordQPS", Known("int", 50)),
        ("kubelet", "1.36", "featureGates.RotateKubeletServerCertificate", Known("bool", None)),
        ("kubelet", "1.36", "readonlyport", None),
        ("kubelet", "1.34", "failCgroupV1", Known("bool", False)),
        ("kubelet", "1.35", "failCgroupV1", Known("bool", True)),
        ("kubelet", "1.35", "tlsCurvePreferences", None),
        ("kubelet", "1.36", "tlsCurvePreferences", Known("[]int", None)),
        ("kube-proxy", "1.36", "metricsBindAddress", Known("string", "127.0.0.1:10249")),
    ],
)
def test_fields_are_known_as_the_types_tell(component: str, minor: str, field: str, expected: Known | None) -> None:
    assert DATA.field(component, minor, field) == expected


@pytest.mark.parametrize("minor", DATA.minors("kubelet"))
@pytest.mark.parametrize("component", STATIC_PODS)
def test_what_kubeadm_writes_the_component_knows(minor: str, component: str) -> None:
    written = DATA.kubeadm(component, minor)
    assert written
    versions = DATA.minors("etcd") if component == "etcd" else (minor,)
    for flag in written:
        assert any(DATA.flag(component, version, flag) for version in versions), flag


def test_kubeadm_s_own_flags() -> None:
    assert {"authorization-mode", "secure-port", "etcd-cafile"} <= DATA.kubeadm("kube-apiserver", "1.36")
    assert "profiling" not in DATA.kubeadm("kube-apiserver", "1.36")
    assert DATA.kubeadm("kube-scheduler", "1.36") == {
        "authentication-kubeconfig", "authorization-kubeconfig", "bind-address", "kubeconfig", "leader-elect",
    }  # fmt: skip


def test_a_minor_without_data_is_an_error_that_says_what_to_do() -> None:
    for ask in (
        lambda: DATA.flag("kube-apiserver", "1.29", "profiling"),
        lambda: DATA.field("kubelet", "1.29", "readOnlyPort"),
        lambda: DATA.kubeadm("etcd", "1.29"),
    ):
        with pytest.raises(FlagDataError, match=r"no data for Kubernetes 1\.29: .*known are 1\.31, .*make flags"):
            ask()
    with pytest.raises(FlagDataError, match=r"no data for etcd 3\.4: .*known are 3\.5"):
        DATA.flag("etcd", "3.4", "auto-tls")


def test_data_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "flags-1.36.json").write_text("{", encoding="utf-8")
    with pytest.raises(FlagDataError, match=r"flags-1\.36\.json: cannot be read: .*make flags"):
        flags.load(tmp_path)
    (tmp_path / "flags-1.36.json").write_text('{"schema": 2, "version": "1.36.4"}', encoding="utf-8")
    with pytest.raises(FlagDataError, match=r"flags-1\.36\.json: has no schema 1"):
        flags.load(tmp_path)


# Versions ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "minor"), [("v1.36.4", "1.36"), ("1.36", "1.36"), ("v1.36.4+k3s1", "1.36"), ("3.6.14", "3.6")])
def test_minor_of_a_version(version: str, minor: str) -> None:
    assert minor_of(version) == minor


@pytest.mark.parametrize("version", ["", "v1", "1.x", "latest", "1.36\n", "v1.36.4\n"])
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        minor_of(version)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_ranges_compare_numbers_and_not_text(first: int, end: int, asked: int) -> None:
    assert (f"1.{asked}" in VersionRange.parse(f">=1.{first},<1.{end}")) == (first <= asked < end)
    assert (f"1.{asked}" in VersionRange.parse(f">=1.{first}")) == (first <= asked)
    assert (f"1.{asked}" in VersionRange.parse(f"<1.{end}")) == (asked < end)


@pytest.mark.parametrize("text", ["", ",", ">=1.32,", ",<1.34", ">1.32", "1.32", ">=1.32<1.34", ">=v1.32"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match="is no range"):
        VersionRange.parse(text)


@pytest.mark.parametrize("text", [">=1.32,<1.34", ">=1.32", "<1.34"])
def test_a_range_prints_as_it_is_written(text: str) -> None:
    assert str(VersionRange.parse(text)) == text


# The generator -------------------------------------------------------------------------------------------------------

PFLAG_HELP = """\
Some words about --nothing in particular.

Secure serving flags:

      --bind-address ip                        The IP address. (default 0.0.0.0)
      --cert-dir string                        The directory. (default "/var/run/kubernetes")
      --feature-gates mapStringBool            Pairs:
                                               APIOne=true|false (BETA - default=true)
                                               --like-this=true|false
      --leader-elect                           Start a leader election. (default true)
      --names strings                          Names. (default [a,b])
      --permit                                 If true, SO_REUSEADDR. [default=false]
      --timeout duration                       A time (default 1m0s) (DEPRECATED: use the file (default 2m0s))
  -v, --v Level                                number for the log level verbosity
      --version version[=true]                 Print version information and quit
  -h, --help                                   help
"""


def test_help_of_kubernetes_is_read() -> None:
    assert help_text.parse_pflag(PFLAG_HELP) == {
        "bind-address": ["ip", "0.0.0.0"],
        "cert-dir": ["string", "/var/run/kubernetes"],
        "feature-gates": ["mapStringBool", None],
        "leader-elect": ["bool", "true"],
        "names": ["strings", "a,b"],
        "permit": ["bool", "false"],
        "timeout": ["duration", "1m0s"],
        "v": ["Level", None],
    }


ETCD_HELP = """\
  etcd --version
    Show the version of etcd.

Member:
  --name 'default'
    Human-readable name, see --data-dir.
  --auto-tls 'false'
    Client TLS using generated certificates.
  --enable-grpc-gateway
    Enable GRPC gateway.
  --snapshot-count '10000'
    Number of transactions.
  --auth-token-ttl 300
    Seconds.
  --raft-read-timeout '5s'
    Time.
  --trusted-ca-file ''
    Path.
"""


def test_help_of_etcd_is_read() -> None:
    assert help_text.parse_etcd(ETCD_HELP) == {
        "name": ["string", "default"],
        "auto-tls": ["bool", "false"],
        "enable-grpc-gateway": ["unknown", None],
        "snapshot-count": ["int", "10000"],
        "auth-token-ttl": ["int", "300"],
        "raft-read-timeout": ["duration", "5s"],
        "trusted-ca-file": ["string", ""],
    }


def test_written_data_is_sorted_json_with_one_entry_per_line(tmp_path: Path) -> None:
    sections = {"flags": {"b": {"y": ["bool", "true"], "x": ["int", None]}, "a": {}}, "fields": {"kubelet": {"z": ["[]string", ["p"]]}}}
    assert data.write(tmp_path / "flags-1.36.json", "1.36.4", sections) == 3
    text = (tmp_path / "flags-1.36.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"schema": 1, "version": "1.36.4", **sections}
    assert '   "x": ["int", null],\n   "y": ["bool", "true"]\n' in text
    assert text.index('"fields"') < text.index('"flags"')


@pytest.mark.parametrize("file", sorted(flags.DATA.glob("flags-*.json")), ids=lambda file: file.name)
def test_committed_data_is_as_the_generator_writes_it(file: Path, tmp_path: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    copy = tmp_path / file.name
    data.write(copy, content["version"], {key: content[key] for key in ("flags", "fields", "kubeadm") if key in content})
    assert copy.read_bytes() == file.read_bytes()
    assert minor_of(content["version"]) in file.name


@pytest.mark.parametrize("path", ["featureGates.AllAlpha", "evictionHard.imagefs.available", "evictionHard.memory.available"])
def test_entries_of_a_map_are_known_by_their_map_even_with_dots(path: str) -> None:
    assert flags.load().field("kubelet", "1.36", path) is not None


def test_a_dotted_name_below_no_map_is_unknown() -> None:
    assert flags.load().field("kubelet", "1.36", "authentication.x509.clientCAfile") is None

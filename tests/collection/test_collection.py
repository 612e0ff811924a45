# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the archive, what is not, and that it works from there."""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path

import pytest
import yaml

from .conftest import ROOT, run

PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
NEEDED = (
    "controls/path1.yml",
    "controls/schema.json",
    "plugins/module_utils/observe.py",
    "plugins/plugin_utils/planning/plan.py",
    "playbooks/harden.yml",
    "COPYING",
    "README.md",
)
# At the top nothing else: a new file of a developer does not get in unseen.
TOP = {
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "COPYING",
    "FILES.json",
    "LICENSES",
    "MANIFEST.json",
    "README.md",
    "SECURITY.md",
    "changelogs",
    "controls",
    "docs",
    "inventories",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}
FORBIDDEN = re.compile(
    r"(^|/)(\.[^/]+|build|tests|molecule|ninepaths-report|__pycache__|kubeconfig|id_(rsa|ed25519)[^/]*)(/|$)|\.(pyc|key|pem|tar\.gz)$"
    r"|^changelogs/(?!changelog\.yaml$)|^docs/(development/|testbed\.md)|^inventories/testbed"
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)\s]+)?\)")
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def names(artifact: Path) -> list[str]:
    with tarfile.open(artifact) as archive:
        return [member.name for member in archive.getmembers() if not member.isdir()]


def test_everything_that_is_needed_is_in_it(artifact):
    found = set(names(artifact))
    assert [name for name in NEEDED if name not in found] == []


def test_nothing_of_a_developer_is_in_it(artifact):
    found = names(artifact)
    assert {name.partition("/")[0] for name in found} == TOP
    assert [name for name in found if FORBIDDEN.search(name)] == []
    with tarfile.open(artifact) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is None or not PRIVATE_KEY.search(content.read()), member.name


def test_links_lead_to_what_is_in_it(artifact):
    """What is not shipped is linked by its address in the repository."""
    found = set(names(artifact))
    with tarfile.open(artifact) as archive:
        pages = {name: archive.extractfile(name).read().decode() for name in found if name.endswith(".md")}
    links = [(page, target) for page, text in pages.items() for target in LINK.findall(text) if "://" not in target]
    assert ("README.md", "docs/harden.md") in links
    aims = {(page, target): os.path.normpath(os.path.join(os.path.dirname(page), target)) for page, target in links}
    folders = {str(parent) for name in found for parent in Path(name).parents}
    assert [link for link, aim in aims.items() if aim not in found | folders] == []


def test_an_address_in_the_repository_leads_to_a_file_of_it():
    """README.md and docs link what is not shipped as `<repository>/blob/main/<path>`."""
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["repository"]
    prefix = re.compile(re.escape(repository) + r"/(?:blob|tree)/main/([^)#\s]+)")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("roles/*/*.md")]
    linked = {path for page in pages for path in prefix.findall(page.read_text(encoding="utf-8"))}
    assert "docs/testbed.md" in linked
    assert [path for path in linked if not (ROOT / path).exists()] == []


def test_the_action_group_names_all_modules():
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]
    modules = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
    assert groups["ninepaths"] == modules, "meta/runtime.yml"


def test_this_version_is_in_the_changelog_with_everything_there_is():
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text(encoding="utf-8"))["releases"]
    assert version in releases and f"v{version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("\\", "")
    told = {entry["name"] for release in releases.values() for entry in release.get("modules", [])}
    assert told == {path.stem for path in (ROOT / "plugins" / "modules").glob("*.py")}


@pytest.mark.parametrize("kind", ["module", "lookup", "role"])
def test_everything_documented_can_be_read_offline(installed, tmp_path, kind):
    done = run(["ansible-doc", "--type", kind, "--list", "--json", "ninepaths.kubernetes"], tmp_path, installed)
    assert done.returncode == 0, done.stderr
    found = {name.rsplit(".", 1)[1] for name in json.loads(done.stdout)}
    folder = ROOT / ("roles" if kind == "role" else f"plugins/{kind}s" if kind == "module" else f"plugins/{kind}")
    assert found == {path.stem for path in folder.iterdir() if not path.name.startswith(("_", "."))}


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_is_found_by_its_full_name(installed, tmp_path, playbook):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all: {children: {kube_control_plane: {hosts: {cp1: }}, etcd: {hosts: {cp1: }}, kube_node: {hosts: {w1: }}}}", encoding="utf-8"
    )
    done = run(["ansible-playbook", "--syntax-check", "-i", str(inventory), f"ninepaths.kubernetes.{playbook}"], tmp_path, installed)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_cluster_that_is_not_there_is_an_error_with_a_report(installed, tmp_path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all: {vars: {ansible_connection: ssh, ansible_ssh_common_args: -o ConnectTimeout=1}, "
        "children: {kube_control_plane: {hosts: {cp1: {ansible_host: 127.0.0.1, ansible_port: 9}}}}}",
        encoding="utf-8",
    )
    done = run(["ansible-playbook", "-i", str(inventory), "ninepaths.kubernetes.audit"], tmp_path, installed)
    assert done.returncode != 0 and "cp1: cannot be reached" in done.stdout
    report = json.loads((tmp_path / "ninepaths-report" / "unknown" / "report.json").read_text(encoding="utf-8"))
    assert [error["host"] for error in report["errors"]] == ["cp1"]


@pytest.mark.parametrize("arguments", [[], ["--limit", "kube_control_plane"]], ids=["all hosts", "limited"])
def test_audit_of_the_bed_from_an_installed_collection(installed, tmp_path, arguments):
    bed = Path(os.environ.get("NINEPATHS_BED", ROOT / ".testbed"))
    if not (bed / "inventory.yml").exists():
        pytest.skip("no bed is up; `make testbed-up` starts one")
    done = run(
        ["ansible-playbook", "-i", str(bed / "inventory.yml"), "ninepaths.kubernetes.audit", "-e", "ninepaths_fail_on=never", *arguments],
        tmp_path,
        installed,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = (tmp_path / "ninepaths-report").glob("*/report*.json")  # of a part of the hosts: report-limited.json
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["mode"] == "audit" and not found["errors"] and any(path["controls"] for path in found["paths"])

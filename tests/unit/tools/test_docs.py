# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The committed pages are what `make docs` makes, and nothing that a control or a variable says is missing from them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls import controls as reading
from ansible_collections.ninepaths.kubernetes.plugins.plugin_utils.controls.settings import PREFIX, Settings

from tools.docs import DOCS, ROOT, controls_page, variables_page
from tools.docs.__main__ import main
from tools.docs.markdown import code, prose, table
from tools.docs.pages import pages

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(text: str) -> set[str]:
    """The anchors that a forge makes of the headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", pages())
def test_committed_page_is_what_the_generator_makes(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], f"docs/{name} is out of date: run `make docs`"


def test_every_control_says_everything() -> None:
    text = pages()["controls.md"]
    for control in reading.load():
        section = text.partition(f"\n### {control.id}\n")[2].partition("\n### ")[0]
        told = [control.title, control.why, control.disruptive, control.held]
        assert all(prose(sentence) in section for sentence in told if sentence), control.id
        named = [*control.needs, *control.requires, *control.conflicts, *control.drops, *control.profiles]
        named += [name for name in (control.family, control.proof, control.merge, control.sets) if name]
        named += [entry for _catalogue, cited in control.references for entry in cited]
        assert [name for name in named if name not in section] == [], control.id


def test_every_merge_is_explained() -> None:
    assert all(f"| `{merge}` |" in pages()["controls.md"] for merge in reading.MERGES)


def test_every_setting_is_described() -> None:
    described = {variable.name for variable in variables_page.read(ROOT / "roles")}
    assert {f"{PREFIX}{field.name}" for field in dataclasses.fields(Settings)} <= described


def test_every_variable_that_a_playbook_or_plugin_names_is_described() -> None:
    described = {variable.name for variable in variables_page.read(ROOT / "roles")}
    internal = {"ninepaths_observed", "ninepaths_seen", "ninepaths_prepare_from", "ninepaths_prepare_for", "ninepaths_prepare_new"}
    # What runs on a target reads no variables.
    patterns = ("playbooks/*.yml", "roles/*/tasks/*.yml", "plugins/action/*.py", "plugins/modules/*.py", "plugins/plugin_utils/*.py")
    files = [file for pattern in patterns for file in ROOT.glob(pattern)]
    named = {name for file in files for name in re.findall(r"\bninepaths_[a-z_]*[a-z]\b", file.read_text(encoding="utf-8"))}
    assert named - internal - {"ninepaths_prelude"} <= described


def test_roles_that_disagree_about_a_variable_are_refused(tmp_path: Path) -> None:
    for role, kind in (("harden", "str"), ("audit", "int")):
        (tmp_path / role / "meta").mkdir(parents=True)
        spec = f"argument_specs: {{main: {{options: {{ninepaths_profile: {{description: one, type: {kind}}}}}}}}}"
        (tmp_path / role / "meta" / "argument_specs.yml").write_text(spec, encoding="utf-8")
    with pytest.raises(variables_page.SpecError, match="ninepaths_profile"):
        variables_page.read(tmp_path)


PAGES = sorted(file for pattern in ("*.md", "docs/**/*.md", "roles/*/*.md") for file in ROOT.glob(pattern) if file.name != "CHANGELOG.md")


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    for target, anchor in LINK.findall(file.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        aim = (file.parent / target).resolve() if target else file
        assert aim.exists(), f"{file.name} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(aim.read_text(encoding="utf-8")), f"{file.name} links to {target}#{anchor}, which does not exist"


def test_check_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.docs.__main__.DOCS", tmp_path)
    assert main(["--check"]) == 1
    assert not list(tmp_path.iterdir())
    assert main([]) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(pages())
    assert main(["--check"]) == 0


def test_text_is_not_taken_for_markup() -> None:
    assert code("a`b") == "`` a`b ``"
    assert prose("max_age <n> *") == "max\\_age &lt;n> \\*"
    assert table(["a"], [["x|y"]])[-1] == "| x\\|y |"


def test_undo_limit_and_unless_are_told() -> None:
    text = controls_page.page(reading.load())
    assert "until [kubelet-verification](#kubelet-verification) holds" in text
    assert "fine where `--anonymous-auth=false`" in text

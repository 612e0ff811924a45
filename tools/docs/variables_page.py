# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/variables.md: an operator's variables, from the roles' argument specifications."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tools.docs.markdown import GENERATED, code, codes, table

# Set by the playbook itself, not by an operator.
_INTERNAL = "ninepaths_prepare_"
_MARKUP = re.compile(r"([VCOM])\(((?:\\.|[^\\)])*)\)")

_INTRODUCTION = """\
They can stand in the inventory (`group_vars/kube_control_plane.yml`, `group_vars/all.yml`), in a file given with `-e @file.yml`, or behind `-e`.
They are read once per run, as the first host of `kube_control_plane` has them; what other hosts have is not looked at. Only `ninepaths_plan` and
`ninepaths_run` belong behind `-e`. A mistake in a variable ends the run before anything is changed.

Without any of them the profile `recommended` is applied to all nine paths."""


# Read by playbooks that no role stands behind.
_PLAYBOOKS: Mapping[str, Mapping[str, Any]] = {
    "ninepaths_run": {
        "type": "str",
        "description": "The run to go back to before, or V(last) for the newest one. Without it the playbook C(rollback) lists the runs that there are.",
    }
}
_ALSO_READ_BY: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    ("ninepaths_node_addresses", "ninepaths_plan", "ninepaths_report_dir", "ninepaths_run"), ("rollback",)
)


@dataclass(frozen=True)
class Variable:
    """One variable, and the roles and playbooks that read it."""

    name: str
    spec: Mapping[str, Any]
    roles: tuple[str, ...]


class SpecError(Exception):
    """Two roles say different things about one variable."""


def read(roles: Path) -> tuple[Variable, ...]:
    """All variables of the roles below a directory, in the order of the specifications. Raises SpecError."""
    found: dict[str, Variable] = {}
    for file in sorted(roles.glob("*/meta/argument_specs.yml"), key=lambda file: (file.parts[-3] != "harden", file)):
        role = file.parts[-3]
        for name, spec in yaml.safe_load(file.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"].items():
            known = found.get(name)
            if known and known.spec != spec:
                raise SpecError(f"{file}: {name} is not described as in the role {known.roles[0]}")
            found[name] = Variable(name, spec, (*(known.roles if known else ()), role))
    found.update({name: Variable(name, spec, ()) for name, spec in _PLAYBOOKS.items()})
    every = (replace(variable, roles=(*variable.roles, *_ALSO_READ_BY.get(variable.name, ()))) for variable in found.values())
    return tuple(variable for variable in every if not variable.name.startswith(_INTERNAL))


def page(variables: Sequence[Variable]) -> str:
    """The whole page."""
    rows = [[_link(variable.name), _type(variable.spec), _default(variable.spec), ", ".join(sorted(variable.roles))] for variable in variables]
    lines = [GENERATED, "", "# Variables", "", _INTRODUCTION, "", *table(["variable", "type", "default", "read by"], rows), ""]
    for variable in variables:
        lines += [f"## {variable.name}", "", *_body(variable.spec), ""]
    return "\n".join(lines).rstrip() + "\n"


def _link(name: str) -> str:
    return f"[{name}](#{name})"


def _body(spec: Mapping[str, Any]) -> list[str]:
    lines = [_text(spec["description"])]
    if spec.get("choices"):
        lines += ["", f"One of {codes(spec['choices'])}."]
    if spec.get("options"):
        rows = [[code(name), "yes" if part.get("required") else "no", _text(part["description"])] for name, part in spec["options"].items()]
        lines += ["", *table(["key", "required", "meaning"], rows)]
    return lines


def _type(spec: Mapping[str, Any]) -> str:
    return f"list of {spec['elements']}" if spec.get("elements") else str(spec["type"])


def _default(spec: Mapping[str, Any]) -> str:
    return code(spec["default"]) if "default" in spec else "-"


def _text(description: str | Sequence[str]) -> str:
    """Ansible's markup as Markdown."""
    sentences = [description] if isinstance(description, str) else description
    return " ".join(_MARKUP.sub(lambda found: code(re.sub(r"\\(.)", r"\1", found[2])), sentence) for sentence in sentences)

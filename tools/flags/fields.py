# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the fields of KubeletConfiguration and KubeProxyConfiguration, and their defaults, by a small Go program."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from tools.flags.programs import GenerateError, run

PROGRAM = Path(__file__).parent / "gofields" / "main.go"


def read_fields(module: Path) -> dict[str, dict[str, list[object]]]:
    """"kubelet" and "kube-proxy" -> dotted path -> [type, default], from the Kubernetes version that a module pins."""
    if not (module / "go.sum").is_file():
        raise GenerateError(f"{module} is no module with a go.sum")
    with tempfile.TemporaryDirectory(prefix="ninepaths-flags-") as name:
        folder = Path(name)
        for file in (module / "go.mod", module / "go.sum", PROGRAM):
            shutil.copy(file, folder)
        # The options of the bed's build, so that what it has compiled is used again.
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
        shown = run(["go", "run", "-trimpath", "-tags", "selinux,notest,grpcnotrace", "."], folder=folder, environment=environment)
    fields: dict[str, dict[str, list[object]]] = json.loads(shown)
    return fields

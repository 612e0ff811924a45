# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as its users get it: built, and installed into an empty path."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(argv: list[str], folder: Path, collections: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a tool that sees only the installed collection and the user's own configuration."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "NINEPATHS_"))}
    clean |= {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_NOCOLOR": "1", **environment}
    return subprocess.run(argv, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built archive."""
    folder = tmp_path_factory.mktemp("build")
    done = run(["ansible-galaxy", "collection", "build", str(ROOT), "--output-path", str(folder)], folder, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("ninepaths-kubernetes-*.tar.gz"))


@pytest.fixture(scope="session")
def installed(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collections path that holds nothing else."""
    folder = tmp_path_factory.mktemp("collections")
    argv = ["ansible-galaxy", "collection", "install", str(artifact), "--offline", "--collections-path", str(folder)]
    done = run(argv, folder, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder

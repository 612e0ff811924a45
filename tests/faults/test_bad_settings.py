# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A setting is wrong

Each is set with the collection's own modules, which share the transaction with a whole run: first what a look at the new command line,
its files and a trial start can tell, then what only the restarted process tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from . import runs, state
from .nodes import Nodes, words
from .scenarios import CONTROL_PLANE, WORKER
from .table import Case, load, parameters

PKI = "/etc/kubernetes/pki/faults"
# Certificates as they go wrong: expired, of a CA that nobody knows, for another name, and a key of another certificate.
MAKE_CERTIFICATES = f"""set -e
mkdir -p {PKI}
cd {PKI}
name=$(sed -n 's#.*server: https://\\(.*\\):6443#\\1#p' /etc/kubernetes/kubelet.conf)
extension() {{ printf 'subjectAltName=%s\\nextendedKeyUsage=serverAuth\\n' "$1"; }}
sign() {{ # name, SAN, CA certificate, CA key, further options
  file=$1 san=$2 ca=$3 ca_key=$4; shift 4
  openssl req -new -newkey rsa:2048 -nodes -keyout $file.key -subj /CN=kube-apiserver -out $file.csr 2>/dev/null
  extension "$san" >$file.ext
  openssl x509 -req -in $file.csr -CA $ca -CAkey $ca_key -set_serial 7$RANDOM -extfile $file.ext -out $file.crt "$@" 2>/dev/null
}}
openssl req -x509 -newkey rsa:2048 -nodes -keyout foreign-ca.key -subj /CN=somebody -days 30 -out foreign-ca.crt 2>/dev/null
sign foreign IP:$name foreign-ca.crt foreign-ca.key -days 30
sign other-name DNS:elsewhere.example ../ca.crt ../ca.key -days 30
sign expired IP:$name ../ca.crt ../ca.key -days 0
sleep 1
"""
REMOVE_CERTIFICATES = f"rm -rf {PKI} /etc/kubernetes/not-mounted.yaml"


@dataclass(frozen=True)
class Setting(Case):
    """Arguments of a module that is asked for something that cannot work, and words that the message has to have."""

    module: str = "static_pod"
    node: str = CONTROL_PLANE
    arguments: Mapping[str, object] = field(default_factory=dict)
    says: tuple[str, ...] = ()


@pytest.fixture(scope="module", autouse=True)
def certificates(nodes: Nodes) -> object:
    """Bad certificates on the nodes, as long as these tests run."""
    copies = nodes.root(CONTROL_PLANE, MAKE_CERTIFICATES + f"echo '{{}}' >/etc/kubernetes/not-mounted.yaml; tar -C {PKI} -c . | base64 -w0")
    nodes.root(WORKER, f"mkdir -p {PKI}; base64 -d <<'END' | tar -C {PKI} -x\n{copies.strip()}\nEND")
    yield
    for node in (CONTROL_PLANE, WORKER):
        nodes.root(node, REMOVE_CERTIFICATES)


ALL = load(Setting, "settings")


@pytest.mark.parametrize("case", parameters(ALL))
def test_setting(nodes: Nodes, case: Setting) -> None:
    before = state.take(nodes)
    known = nodes.transactions(case.node)
    run = runs.task(nodes.bed, case.node, case.module, case.arguments)
    assert run.rc != 0, run.output
    made = [name for name in nodes.transactions(case.node) if name not in known]
    said = run.output + "".join(words(nodes.journal(case.node, name)) for name in made)
    missing = [word for word in (case.node, *case.says) if word not in said]
    assert not missing, f"{missing} not in {said}"
    state.wait_until_quiet(nodes)
    state.wait_until_healthy(nodes)
    assert state.take(nodes) == before

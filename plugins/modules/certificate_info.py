#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates in files of a host, without any library on it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: certificate_info
short_description: Reads certificates in files of a host
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Reads the certificates in PEM files and kubeconfigs with Python's standard library only, so nothing has to be installed on the host.
  - Private keys in the same files are not looked at.
  - C(kubeadm certs check-expiration) knows kubeadm's own files; this module reads any, kubelets' serving certificates for instance.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  paths:
    description:
      - Absolute paths. C(*), C(?) and C([...]) match within a name, C(**) stands for any number of directories.
      - A path without any certificate behind it is an error, a pattern that matches nothing is not.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
---
- name: Read the certificates of this control plane
  ninepaths.kubernetes.certificate_info:
    paths:
      - /etc/kubernetes/pki/**/*.crt
      - /etc/kubernetes/*.conf
      - /var/lib/kubelet/pki/*
  become: true
  register: found

- name: None ends within thirty days
  ansible.builtin.assert:
    that: found.earliest.not_after > now(utc=true).timestamp() + 30 * 86400
    fail_msg: "{{ found.earliest.path }} ends too soon"
"""

RETURN = r"""
---
certificates:
  description: Certificates by path, in the order in which they stand in the file.
  returned: success
  type: dict
  sample:
    /etc/kubernetes/pki/apiserver-kubelet-client.crt:
      - subject: {cn: kube-apiserver-kubelet-client, o: ["kubeadm:cluster-admins"]}
        issuer: CN=kubernetes
        serial: 5d4b8c1e0f3a7b62
        not_before: 1795267200.0
        not_after: 1826803200.0
        dns: []
        ip: []
        sha256: 6a27f6d1c4e0e0f7d4a3c1b8b5c6d9e2f30415263748596a7b8c9d0e1f203142
        key: RSA-2048
        usages: [clientAuth]
        ca: false
earliest:
  description: The certificate that ends first, with its path and its end in seconds since 1970 (UTC); nothing when there is none.
  returned: success
  type: dict
  sample: {path: /etc/kubernetes/pki/apiserver.crt, not_after: 1826803200.0}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.host import files
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.observation.collection import Collection


def main() -> None:
    """Read and report."""
    module = AnsibleModule(argument_spec={"paths": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True)
    seen = Collection(files.Host())
    for asked in module.params["paths"]:
        if not asked.startswith("/"):
            module.fail_json(msg=f"{asked}: not an absolute path")
        pattern = files.is_pattern(asked)
        for path in files.expand(asked, seen.host) if pattern else [asked]:
            if pattern and seen.describe(path)["type"] not in ("file", "link"):
                continue
            if not seen.certificate(path) and not pattern and not seen.problems:
                absent = seen.describe(path)["type"] == "absent"
                module.fail_json(msg=f"{asked} does not exist" if absent else f"{asked}: there is no certificate in it")
    if seen.problems:
        module.fail_json(msg="; ".join(f"{problem['file']}: {problem['cause']}" for problem in seen.problems))
    ends = [(float(found["not_after"]), path) for path, entries in seen.certificates.items() for found in entries]
    result: dict[str, Any] = {"certificates": seen.certificates, "earliest": None}
    if ends:
        result["earliest"] = {"path": min(ends)[1], "not_after": min(ends)[0]}
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()

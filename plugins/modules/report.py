#!/usr/bin/python
# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name; the work is done there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: report
short_description: Reports a run and fails when the cluster deviates, for the playbooks
version_added: 0.1.0
author:
  - ninepaths contributors (@ninepaths)
description:
  - Writes C(report.json), or C(report-limited.json) in a run whose limit leaves hosts out, into the
    cluster's folder below C(ninepaths_report_dir) (default C(ninepaths-report)), and prints the nine paths.
  - Fails when the run met an error, when a host could not be observed, or (see O(fail_on)) when the cluster is not as the profile asks for.
    A control that is held is reported and is no deviation.
extends_documentation_fragment:
  - ninepaths.kubernetes.attributes
  - ninepaths.kubernetes.attributes.action
attributes:
  check_mode:
    support: full
    details: The report is written in check mode as well.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  fail_on:
    description:
      - When to fail for the state of the cluster. A deviation is a control that is not set, or a proof that failed.
      - The default is the variable C(ninepaths_fail_on), and V(deviation) without it.
    type: str
    choices: [deviation, never]
notes:
  - A part of the playbooks C(harden) and C(audit), which call it in their order with the data of one run. It is no stable interface; options
    and return values can change with any release.
seealso:
  - module: ninepaths.kubernetes.plan
"""

EXAMPLES = r"""
---
- name: Report, and leave the judgement to someone else
  ninepaths.kubernetes.report:
    fail_on: never
  delegate_to: localhost
  run_once: true
  register: reported
"""

RETURN = r"""
---
path:
  description: The report that was written.
  returned: always
  type: str
  sample: /srv/ansible/ninepaths-report/prod-1/report.json
deviations:
  description: Controls and proofs that are not as they should be.
  returned: success
  type: list
  elements: str
  sample: [kubelet-anonymous-auth]
errors:
  description: What went wrong in the run, each with host, file, cause and advice.
  returned: success
  type: list
  elements: dict
restarts:
  description: Restarts by component, those that would be in check mode.
  returned: success
  type: dict
  sample: {kubelet: 2}
"""

# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module says about its behaviour. This fragment is private to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    """`extends_documentation_fragment: [ninepaths.kubernetes.attributes]`."""

    DOCUMENTATION = r"""
options: {}
requirements:
  - Python 3.9 or newer on the target, its standard library only.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description: When run twice in a row with the same arguments outside check mode, the second run reports no change.
  platform:
    description: Target operating systems.
    platforms: linux
    support: full
"""

    ACTION = r"""
attributes:
  action:
    description: Has a corresponding action plugin on the controller, so some parts run there.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: none
  become:
    description: Is usable alongside C(become) keywords.
    support: full
"""

# Copyright: ninepaths contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""x"""
from ansible_collections.ninepaths.kubernetes.plugins.module_utils.system_steps import Plain
class Approve(Plain):
    pass
class ConfigMap(Plain):
    pass

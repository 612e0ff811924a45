# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generates plugins/plugin_utils/controls/data/flags-*.json."""

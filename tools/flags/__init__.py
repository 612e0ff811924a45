# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Generates plugins/plugin_utils/data/flags-*.json."""

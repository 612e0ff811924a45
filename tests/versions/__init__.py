# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supported minors of Kubernetes and the oldest Python, each on a real cluster: see __main__.py."""

# Copyright: ninepaths contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a run, a host or the cluster in the middle of a run, on live nodes; docs/reliability.md is made from these tests."""

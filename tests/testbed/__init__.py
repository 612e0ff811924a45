# SPDX-License-Identifier: GPL-3.0-or-later
"""The test bed: podman containers that boot systemd and run containerd, kubelet and kubeadm."""

// SPDX-License-Identifier: GPL-3.0-or-later

// Package tools names the commands that the test bed builds, so that go.sum covers them.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
)

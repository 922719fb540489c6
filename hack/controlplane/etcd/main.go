// SPDX-License-Identifier: Apache-2.0

// Command etcd is the unmodified etcd server, here so that go.mod pins and checks it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}

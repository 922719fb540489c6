// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// kubectl is the name under which this program is kubectl, of the version that go.mod has.
const kubectl = "kubectl"

// becomeKubectl does not return if the program was started as kubectl.
func becomeKubectl() {
	if filepath.Base(os.Args[0]) != kubectl {
		return
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
	os.Exit(0)
}

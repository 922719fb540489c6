// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package framework

import (
	"os/exec"
	"syscall"
)

// dieWithParent keeps a terminal's Ctrl-C from the child, which only Stop and Kill end here.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

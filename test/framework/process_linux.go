// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel end the child with this process, and keeps a terminal's Ctrl-C from it.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

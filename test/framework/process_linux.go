// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel end the child with the process that started it,
// and keeps a terminal's Ctrl-C from it: whoever started it shuts it down in order.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

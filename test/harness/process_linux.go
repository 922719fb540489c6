package harness

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel end the child with the process that started it.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// guard kills the programs that it wraps when this process ends, however it does. envtest cannot set a
// parent-death signal, so a script starts each program and a watcher, which reads a pipe whose only writer is
// this process.
type guard struct {
	dir   string
	alive *os.File
	once  sync.Once
}

func newGuard(dir string) (*guard, error) {
	path := filepath.Join(dir, "alive")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("create the pipe %s: %w", path, err)
	}
	// Opening a pipe for writing alone blocks until there is a reader.
	alive, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pipe %s: %w", path, err)
	}
	return &guard{dir: dir, alive: alive}, nil
}

// close kills the wrapped programs, as this process's end would.
func (g *guard) close() {
	g.once.Do(func() { _ = g.alive.Close() })
}

// guardScript starts the watcher in the program's process group, so that no other group can get the number $$.
// It ignores envtest's SIGTERM to the group. envtest runs --help without a group. The watcher opens the pipe
// for writing first: reading blocks until there is a writer, and this process may have ended.
const guardScript = `#!/bin/sh
if [ "$1" != --help ]; then
	(
		trap '' TERM
		(exec 3<>%[2]s 4<%[2]s 3>&- && read -r end <&4)
		kill -KILL $$
		rm -rf %[3]s || rm -rf %[3]s
	) </dev/null >/dev/null 2>&1 &
fi
exec %[1]s "$@"
`

// wrap writes a script that runs program under the guard, and returns the script's path.
func (g *guard) wrap(program string) (string, error) {
	absolute, err := filepath.Abs(program)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", program, err)
	}
	path := filepath.Join(g.dir, "run", filepath.Base(program))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("create the folder of the scripts: %w", err)
	}
	script := fmt.Sprintf(guardScript, quote(absolute), quote(g.alive.Name()), quote(g.dir))
	// A child forked while the file is open for writing would keep it open, and exec would
	// fail with "text file busy".
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		return "", fmt.Errorf("write the script that runs %s: %w", program, err)
	}
	return path, nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

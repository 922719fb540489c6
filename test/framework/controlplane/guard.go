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

// guard ends the programs it wrapped when the process that holds it ends, even
// by a SIGKILL or a panic in a test. envtest leaves no way to set a parent-death
// signal, so each program is started by a script that first forks a watcher: it
// reads a named pipe whose only writer is this process, and so wakes when this
// process is gone, kills the program and removes the data folder.
type guard struct {
	dir   string
	alive *os.File
	once  sync.Once
}

// newGuard makes the pipe in dir, which the watchers remove with all it holds.
func newGuard(dir string) (*guard, error) {
	path := filepath.Join(dir, "alive")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make the pipe %s: %w", path, err)
	}
	// For reading too: opening a pipe only for writing waits for a reader.
	alive, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pipe %s: %w", path, err)
	}
	return &guard{dir: dir, alive: alive}, nil
}

// close ends what was wrapped, as this process's end would.
func (g *guard) close() {
	g.once.Do(func() { _ = g.alive.Close() })
}

// The watcher is in the program's process group, which envtest makes and sends a
// SIGTERM as a whole, which the watcher outlives; and while it lives the group's
// number, $$, cannot be anybody else's. envtest asks for --help in no such group, so then there is no watcher.
// Opening a pipe to read waits for a writer, of which there is none if this process
// ended already: hence the watcher is a writer itself until it has opened the pipe.
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

// wrap writes the script that runs program under the guard and returns its path.
func (g *guard) wrap(program string) (string, error) {
	absolute, err := filepath.Abs(program)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", program, err)
	}
	path := filepath.Join(g.dir, "run", filepath.Base(program))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("make a folder for scripts: %w", err)
	}
	script := fmt.Sprintf(guardScript, quote(absolute), quote(g.alive.Name()), quote(g.dir))
	// A child forked while the file is open for writing would hold it open, and
	// starting the script would then fail with "text file busy".
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		return "", fmt.Errorf("write the script that runs %s: %w", program, err)
	}
	return path, nil
}

// quote makes s one word of a shell script.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

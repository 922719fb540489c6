// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one of the project's programs, running.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
}

// Start starts a program that logs to log. It ends with Stop, Kill, or, on Linux, with this process.
func Start(binary string, log io.Writer, args ...string) (*Process, error) {
	return StartWith(nil, binary, log, args...)
}

// StartWith is Start with variables, as name=value, beside this process's own.
func StartWith(env []string, binary string, log io.Writer, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	dieWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(binary), err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Ended is closed when the process has ended; Err says how, then.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err returns how the process ended; nil is exit code 0.
func (p *Process) Err() error { return p.err }

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends the process a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop shuts the process down as Kubernetes does, and waits for it to end.
func (p *Process) Stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s did not stop in time: %w", filepath.Base(p.cmd.Path), ctx.Err())
	}
}

// AwaitEnd waits until the process ends by itself, and returns how it ended.
func (p *Process) AwaitEnd(t testing.TB) error {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Timeout):
		p.Kill()
		t.Fatalf("%s does not end", filepath.Base(p.cmd.Path))
	}
	return p.err
}

// Kill ends the process as a node failure does, and waits for it to end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Log keeps what programs log.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// FreeAddresses returns free loopback addresses, with ports that systems do not give to outgoing connections.
func FreeAddresses(n int) ([]string, error) {
	var addresses []string
	for len(addresses) < n {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(18_000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // after all are chosen, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/assets"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

// Tail passes a program's output on to Out and keeps the line that explains its end.
type Tail struct {
	Out io.Writer

	mu        sync.Mutex
	lines     gobuild.Lines
	last      string
	lastError string
}

func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines.Take = func(line string) {
		if line = strings.TrimSpace(line); line == "" {
			return
		}
		t.last = line
		if reportsError(line) {
			t.lastError = line
		}
	}
	_, _ = t.lines.Write(p)
	return t.Out.Write(p)
}

// Reason returns the last line that reports an error, or else the last line.
func (t *Tail) Reason() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lastError != "" {
		return t.lastError
	}
	return t.last
}

// reportsError recognises the errors of klog (E1231 23:59:59.9...), zap (etcd's JSON) and
// cobra, and the first line of a panic.
func reportsError(line string) bool {
	if len(line) > 5 && (line[0] == 'E' || line[0] == 'F') && strings.Trim(line[1:5], "0123456789") == "" {
		return true
	}
	for _, sign := range []string{`"level":"fatal"`, `"level":"error"`, "Error: ", "panic: ", "fatal error: "} {
		if strings.Contains(line, sign) {
			return true
		}
	}
	return false
}

// errPortTaken marks a start that may succeed on other ports.
var errPortTaken = errors.New("a port was taken meanwhile")

// explain adds to err what the programs printed about their failure.
func explain(err error, etcd, api *Tail) error {
	name, reason := assets.APIServer, api.Reason()
	if reason == "" { // kube-apiserver did not start yet
		name, reason = assets.Etcd, etcd.Reason()
	}
	if reason == "" {
		return err
	}
	// The programs report it in no other way.
	if strings.Contains(reason, "address already in use") {
		return fmt.Errorf("%w: %w: %s said: %s", errPortTaken, err, name, reason)
	}
	return fmt.Errorf("%w: %s said: %s", err, name, reason)
}

// syncWriter serialises writes to w. It drops them if w is nil.
type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	if s.w == nil {
		return len(p), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

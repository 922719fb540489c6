package controlplane

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

// tail keeps what explains a program's end: its last line that reports an
// error, or else its last line. What is written goes to out too.
type tail struct {
	out io.Writer

	mu    sync.Mutex
	split gobuild.Lines
	last  string
	worst string
}

// Tail is a Writer for what one program prints: it passes it on, and keeps the line
// that explains the program's end.
type Tail struct{ tail }

// NewTail returns a Tail that passes on to out.
func NewTail(out io.Writer) *Tail { return &Tail{tail{out: out}} }

// Reason is the last line that reports an error, or else the last line.
func (t *Tail) Reason() string { return t.reason() }

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.split.Take = func(line string) {
		if line = strings.TrimSpace(line); line == "" {
			return
		}
		t.last = line
		if reportsError(line) {
			t.worst = line
		}
	}
	_, _ = t.split.Write(p)
	return t.out.Write(p)
}

func (t *tail) reason() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.worst != "" {
		return t.worst
	}
	return t.last
}

// reportsError knows klog's error and fatal lines (E1231 23:59:59.9...), zap's
// JSON ones (etcd), cobra's, and a panic's first.
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

// explain adds what the programs said of their failure to err, on its line.
func explain(err error, etcd, api *tail) error {
	name, reason := apiServerName, api.reason()
	if reason == "" { // it never came to kube-apiserver
		name, reason = etcdName, etcd.reason()
	}
	if reason == "" {
		return err
	}
	// Another program's words are all there is to tell this by.
	if strings.Contains(reason, "address already in use") {
		return fmt.Errorf("%w: %w: %s said: %s", errPortTaken, err, name, reason)
	}
	return fmt.Errorf("%w: %s said: %s", err, name, reason)
}

// shared is a Writer for several goroutines; without w it drops what it gets.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(p []byte) (int, error) {
	if s.w == nil {
		return len(p), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

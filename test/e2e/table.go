// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// row is a step in the table.
type row struct {
	Step    string
	Seconds float64
	// Seen is what the step has found, where that says more than that it was well.
	Seen string
	// Problem is what was wrong; "": nothing.
	Problem string
	// NotRun: a step before it has failed that it needs.
	NotRun bool
}

func (r row) ok() bool { return r.Problem == "" && !r.NotRun }

func (r row) verdict() string {
	if r.ok() {
		return "ok"
	}
	return "NOT OK"
}

// table is what the run has come to.
type table struct {
	Rows []row
	path string // of the file that keeps it; "": none
}

// add adds a row, says so, and keeps the table for the process that prints it.
func (t *table) add(r row) {
	t.Rows = append(t.Rows, r)
	if r.NotRun {
		return
	}
	say("%-6s %4.0f s  %s%s", r.verdict(), r.Seconds, r.Step, after(": ", r.Problem))
	t.keep()
}

func after(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

func (t *table) keep() {
	if t.path == "" {
		return
	}
	b, err := json.Marshal(t.Rows)
	if err == nil {
		err = os.WriteFile(t.path, b, 0o600)
	}
	if err != nil {
		say("the table cannot be kept: %v", err)
	}
}

// read takes over the rows that another process has kept.
func (t *table) read(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the table: %w", err)
	}
	return json.Unmarshal(b, &t.Rows)
}

// timed runs something as a step, which may call Must.
func (t *table) timed(name string, run func() (seen string)) error {
	began, r := time.Now(), row{Step: name}
	err := framework.Try(func() { r.Seen = run() })
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		r.Problem = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	t.add(r)
	return err
}

// passed reports whether there are rows, and all of them are ok.
func (t *table) passed() bool {
	for _, r := range t.Rows {
		if !r.ok() {
			return false
		}
	}
	return len(t.Rows) > 0
}

// print writes the table, and what was wrong below it.
func (t *table) print(out io.Writer, took time.Duration) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "step\tresult\tseconds\tseen")
	failed := 0
	for _, r := range t.Rows {
		seconds, seen := fmt.Sprintf("%.1f", r.Seconds), r.Seen
		if r.NotRun {
			seconds, seen = "-", "not run"
		}
		if !r.ok() {
			failed++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Step, r.verdict(), seconds, seen)
	}
	_ = w.Flush() // standard output that is gone has no reader to tell
	for _, r := range t.Rows {
		if r.Problem != "" {
			fmt.Fprintf(out, "\n%s:\n  %s\n", r.Step, r.Problem)
		}
	}
	fmt.Fprintf(out, "\n%d steps, %d not ok, %.0f s\n", len(t.Rows), failed, took.Seconds())
}

// say writes a line of progress.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "e2e: %s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

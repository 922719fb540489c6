// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

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

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "e2e: %s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

type step struct {
	name string
	// needed: what comes after it makes no sense without it.
	needed bool
	// removes: what it leaves is not what one would look at.
	removes bool
	run     func(context.Context) (seen string)
}

// steps are those of every cluster, in order.
func (w *world) steps() []step {
	all := []step{
		{name: "namespaces that enforce restricted Pod Security", needed: true, run: w.namespaces},
		{name: "teamtalk-dev is ready behind a Service", needed: true, run: w.installTeamTalk},
		{name: "helm install: two operators, two gateways", needed: true, run: w.installChart},
		{name: "the TeamTalkServer is Ready", needed: true, run: w.serverReady},
		{name: "messages are Delivered, each in the store once", needed: true, run: w.first},
		{name: "a message through the gateway", run: w.throughGateway},
		{name: "an announcement in Git is sent once, applied again or not", run: w.announced},
		{name: "a TeamTalkSchedule sends once at its time", run: w.scheduled},
		{name: "a TeamTalkGroup is created, and has the message that waited for it", run: w.grouped},
		{name: "metrics for those who may", run: w.metrics},
		{name: "NetworkPolicies are there", run: w.policies},
		// First, as a leader whose own term has begun in doubt has no clean end for a while.
		{name: "the leader's pod is deleted in order under load, three times", run: w.shut},
		{name: "the next message is delivered after a shutdown: at most 2 s (median)", run: w.within("shut", barShut)},
		{name: "helm upgrade under load: nothing missing, nothing twice", run: w.upgrade},
	}
	if w.kill != nil {
		all = append(all,
			step{name: "the leader is killed (-9) under load: nothing missing, nothing twice", run: w.killed},
			step{name: "kill -9 until the next is delivered: at most 20 s", run: w.within("killed", barKilled)},
		)
	}
	all = append(all,
		step{name: "the leader's pod is deleted with grace period 0 under load", run: w.removed},
		step{name: "the release moves to another namespace under load: nothing twice", run: w.move},
		step{name: "helm uninstall leaves messages and CRDs", removes: true, run: w.uninstall},
	)
	return all
}

// play runs the steps. If the run is to be kept, it waits before removals and after failures until ctx ends.
func (w *world) play(ctx context.Context, t *table, steps []step) {
	broken := false
	for _, s := range steps {
		if w.Keep && ctx.Err() == nil && (s.removes || !t.passed()) {
			say("kept: Ctrl-C removes it")
			<-ctx.Done()
		}
		if broken || ctx.Err() != nil {
			t.add(row{Step: s.name, NotRun: true})
			continue
		}
		err := t.timed(s.name, func() (seen string) {
			err := framework.Try(func() { seen = s.run(ctx) })
			if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
				err = cause // a program of the node has ended, which explains more
			}
			framework.Must(err)
			return seen
		})
		broken = broken || err != nil && s.needed
	}
	t.keep()
}

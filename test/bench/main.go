// SPDX-License-Identifier: Apache-2.0

// Command bench measures how fast the operator is, with real parts all round: a
// kube-apiserver and etcd, the operator as a process with the rights of its role,
// and teamtalk-dev or a TeamTalk of the user's own. What can be a ratio is one,
// of two sides that take turns in the same run, so that a slow machine does not
// matter. docs/benchmarks.md says what each figure means.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// figure is one theme of the bench: what it measures goes into the report.
type figure struct {
	name string
	run  func(ctx context.Context, w *world, r *report) error
	// users and groups are how many of TeamTalk's it takes.
	users, groups int
	// alone: on a control plane of its own, since it leaves too much behind.
	alone bool
	// small: it takes no world.
	small bool
	// paced: teamtalk-dev is as slow as a stock db_proxy, see options.pace.
	paced bool
}

// figures in the order in which they are measured.
var figures = []figure{
	{name: "idle", run: idle, users: 1},
	{name: "order", run: order, groups: 1},
	{name: "writes", run: writes, users: 1},
	{name: "failover", run: failover, users: 1},
	{name: "bulk", run: bulk, users: bulkUsers, paced: true},
	{name: "stream", run: stream, users: streamUsers, paced: true},
	{name: "gateway", run: gateway, users: streamUsers, paced: true},
	{name: "refusals", run: refusals, users: 1},
	{name: "scale", run: scale, users: 1, alone: true},
	{name: "go", run: goBenchmarks, small: true},
}

// run measures what is asked for, prints all of it, and returns an error where
// something could not be measured or misses its bar.
func run(ctx context.Context, getenv func(string) string) error {
	o, err := parse(getenv)
	if err != nil {
		return err
	}
	r := &report{}
	err = measure(ctx, o, r)
	r.print(os.Stdout)
	return errors.Join(err, r.missed())
}

func measure(ctx context.Context, o options, r *report) error {
	var shared *world
	defer func() {
		if shared != nil {
			shared.stop()
		}
	}()
	var errs []error
	for _, f := range o.figures {
		if lack := o.lacks(f); lack != "" {
			say("%s: left out: %s", f.name, lack)
			continue
		}
		if f.small {
			if err := f.run(ctx, nil, r); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
			}
			continue
		}
		latency := o.latencyOf(f)
		if shared != nil && (f.alone || shared.latency != latency) { // two control planes would disturb each other
			shared.stop()
			shared = nil
		}
		w := shared
		if w == nil {
			var err error
			if w, err = newWorld(ctx, o, latency); err != nil {
				return errors.Join(append(errs, err)...)
			}
			if !f.alone {
				shared = w
			}
		}
		began := time.Now()
		say("%s: measuring", f.name)
		err := f.run(ctx, w, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
			say("%s: %v", f.name, err)
			w.sayLog()
		}
		if f.alone || err != nil { // what a failed figure leaves behind must not spoil the next
			w.stop()
			shared = nil
		}
		say("%s: done in %.0f s", f.name, time.Since(began).Seconds())
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// say prints a line of progress.
func say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}

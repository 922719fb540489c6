// SPDX-License-Identifier: Apache-2.0

// Command bench measures how fast the operator is. Nothing is faked: it uses a kube-apiserver and etcd, the operator
// as a process with the rights of its role, and teamtalk-dev or the user's own TeamTalk. Most figures are ratios of
// two sides that take turns in the same run, so that a slow machine does not matter. docs/explanation/benchmarks.md
// explains each figure.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func main() { framework.RunProgram("bench", run) }

// figure is one subject of the bench. Its values are added to the report.
type figure struct {
	name string
	run  func(ctx context.Context, w *world, r *report)
	// users and groups are how many of TeamTalk's it needs.
	users, groups int
	// leads is set if an operator must lead when it begins. tracks is set if it waits for messages, which are deleted
	// at its end.
	leads, tracks bool
	// alone is set if it needs its own control plane, because it leaves too much behind.
	alone bool
	small bool
	// paced is set if teamtalk-dev is as slow as a stock db_proxy, see options.pace.
	paced bool
	// latency is the delay of teamtalk-dev in a figure that is not paced.
	latency time.Duration
	// needsDev is set if only teamtalk-dev has what it needs.
	needsDev bool
}

// figures in the order in which they are measured.
var figures = []figure{
	{name: "idle", run: idle, users: 1, leads: true, tracks: true},
	{name: "order", run: order, groups: 1, leads: true, tracks: true},
	{name: "writes", run: writes, users: 1, leads: true, tracks: true},
	{name: "failover", run: failover, users: 1, tracks: true},
	{name: "handover", run: handover, users: 1, tracks: true},
	{name: "bulk", run: bulk, users: bulkUsers, leads: true, tracks: true, paced: true},
	{name: "stream", run: stream, users: streamUsers, leads: true, tracks: true, paced: true},
	{name: "fairness", run: fairness, users: bulkUsers, leads: true, tracks: true, paced: true},
	{name: "gateway", run: gateway, users: streamUsers, paced: true},
	{name: "record", run: gatewayRecord, users: streamUsers, tracks: true, paced: true},
	{name: "schedules", run: schedules, users: streamUsers, leads: true, tracks: true},
	{name: "groups", run: groupRace, users: besideUsers, groups: devGroups, leads: true, tracks: true,
		latency: groupPace, needsDev: true},
	{name: "reads", run: reads, users: bulkUsers, leads: true, tracks: true, alone: true, needsDev: true},
	{name: "refusals", run: refusals, users: 1, leads: true},
	{name: "scale", run: scale, users: 1, leads: true, alone: true},
	{name: "ttl", run: ttl, users: 1, leads: true, tracks: true, alone: true},
	{name: "go", run: goBenchmarks, small: true},
}

// run measures the requested figures and prints them. It has passed if no value misses its bar.
func run(ctx context.Context) (passed bool, err error) {
	o, err := parse(os.Getenv)
	if err != nil {
		return false, err
	}
	r := &report{}
	err = measure(ctx, o, r)
	r.print(os.Stdout)
	missed := r.missed()
	if missed != nil {
		say("bench: %v", missed)
	}
	return missed == nil, err
}

func measure(ctx context.Context, o options, r *report) error {
	var shared *world // by figures that are neither alone nor small
	stop := func() {
		if shared != nil {
			shared.Stop()
		}
		shared = nil
	}
	defer stop()
	var errs []error
	for _, f := range o.figures {
		if lack := o.lacks(f); lack != "" {
			say("%s: left out: %s", f.name, lack)
			continue
		}
		latency := o.latencyOf(f)
		if shared != nil && (f.alone || shared.latency != latency) { // two control planes would disturb each other
			stop()
		}
		if shared == nil && !f.small {
			var err error
			if shared, err = newWorld(ctx, o, latency); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
		began := time.Now()
		say("%s: measuring", f.name)
		err := framework.Try(func() { f.measure(ctx, shared, r) })
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
			say("%s: %v", f.name, err)
			if shared != nil {
				shared.sayLog()
			}
		}
		if f.alone || err != nil { // the remains of a failed figure must not affect the next
			stop()
		}
		say("%s: done in %.0f s", f.name, time.Since(began).Seconds())
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (f figure) measure(ctx context.Context, w *world, r *report) {
	if f.leads {
		w.lead(ctx)
	}
	if f.tracks {
		w.tracker = w.track(ctx)
		defer func() { w.tracker.stop() }() // a figure may replace it
	}
	f.run(ctx, w, r)
	if f.tracks && !f.alone {
		w.clear(ctx, namespace)
	}
}

func say(format string, args ...any) {
	fmt.Fprintln(os.Stderr, strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
}

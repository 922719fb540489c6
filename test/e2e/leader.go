// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// A leader ends when some of the burst are delivered. If nothing is unfinished then, as on a machine with a
// pause, nothing was shown, and another leader has to end.
const (
	burst, burstSeen = 400, 40
	takeovers        = 5
)

// errIdle: nothing was unfinished when the leader ended.
var errIdle = errors.New("nothing was unfinished when the leader ended: nothing was shown")

// due is when the i-th probe is declared, counted from the leader's end: often at first, for a hand-over, and
// often again when a Lease has run out. Each needs its own pair, because an earlier message may be in doubt.
func due(i int) time.Duration {
	const (
		often, oftenUntil = 100 * time.Millisecond, 15
		seldom, until     = time.Second, oftenUntil + 12
		again             = 300 * time.Millisecond
	)
	return time.Duration(min(i, oftenUntil))*often + time.Duration(min(max(i-oftenUntil, 0),
		until-oftenUntil))*seldom + time.Duration(max(i-until, 0))*again
}

// Bars of the time without a delivery: a killed leader's Lease takes 15 s, and 5 s more are allowed.
const (
	barKilled = 20 * time.Second
	barShut   = 2 * time.Second
)

// leader returns the pod that holds the Lease, and its container. A pod that was killed holds it until it expires.
func (w *world) leader(ctx context.Context) (pod *corev1.Pod, container string) {
	w.await(ctx, "a pod that runs holds the Lease", func() (string, bool) {
		lease := &coordinationv1.Lease{}
		framework.Must(w.admin.Get(ctx, client.ObjectKey{Namespace: system, Name: release}, lease))
		name, _, _ := strings.Cut(ptr.Deref(lease.Spec.HolderIdentity, ""), "_")
		if name == "" {
			return "the Lease has no holder", false
		}
		pod = &corev1.Pod{}
		if err := w.admin.Get(ctx, client.ObjectKey{Namespace: system, Name: name}, pod); err != nil {
			framework.Must(client.IgnoreNotFound(err))
			return fmt.Sprintf("the holder, pod %s, is gone", name), false
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.Name == "operator" && c.State.Running != nil {
				container = c.ContainerID
				return "", true
			}
		}
		return "the holder does not run: " + describe([]corev1.Pod{*pod}), false
	})
	return pod, container
}

// ender ends the leader, in whose pod the container runs.
type ender func(ctx context.Context, leader *corev1.Pod, container string) error

// takeover ends leaders until one had something unfinished.
func (w *world) takeover(ctx context.Context, how, name string, end ender) (seen string) {
	for i := range takeovers {
		err := framework.Try(func() { seen = w.takeoverOnce(ctx, how, fmt.Sprintf("%s-%d", name, i), end) })
		if !errors.Is(err, errIdle) {
			framework.Must(err)
			return seen
		}
	}
	framework.Mustf(errIdle, "%d times", takeovers)
	return ""
}

// takeoverOnce ends the leader in a burst, with a standby ready, and keeps how long nothing was delivered.
func (w *world) takeoverOnce(ctx context.Context, how, name string, end ender) (seen string) {
	w.rolledOut(ctx, system, release)
	pod, container := w.leader(ctx)
	before := w.batch(name)
	stopped, declared := make(chan struct{}), make(chan error, 1)
	go func() { declared <- w.declareAll(ctx, before, burst, stopped) }()
	var at time.Time
	var p progress
	err := framework.Try(func() {
		w.await(ctx, "some messages are delivered", func() (string, bool) {
			p := w.progress(ctx, before)
			return fmt.Sprintf("%d%s", p.delivered, p.waits), p.delivered >= burstSeen && p.open > 0
		})
		at = time.Now()
		framework.Must(end(ctx, pod, container))
		p = w.progress(ctx, before)
	})
	close(stopped)
	framework.Must(errors.Join(err, <-declared))
	if p.open == 0 {
		w.delivered(ctx, before)
		framework.Must(errIdle)
	}
	probes := w.batch(name + "-probe")
	probes.probes = true
	gap := w.probe(ctx, probes, at).Sub(at)
	w.gaps[how] = append(w.gaps[how], gap)
	w.delivered(ctx, before)
	w.delivered(ctx, probes)
	settled := time.Since(at)
	successor, _ := w.leader(ctx)
	return fmt.Sprintf("%d unfinished then; the next delivered after %.1f s, all after %.1f s, by %s; %s",
		p.open, gap.Seconds(), settled.Seconds(), relation(pod, successor), w.count(ctx))
}

func relation(before, after *corev1.Pod) string {
	if before.UID == after.UID {
		return "the same pod, started again"
	}
	return "the other pod"
}

// probe declares messages until one is delivered, and returns when that was seen.
func (w *world) probe(ctx context.Context, b *batch, since time.Time) time.Time {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	framework.Must(framework.Await(ctx, "one of the messages since the leader's end is delivered", framework.Checked(
		func(ctx context.Context) (string, bool) {
			if time.Since(since) >= due(b.size()) {
				framework.Must(w.declare(ctx, b, b.size()))
			}
			p := w.progress(ctx, b)
			return fmt.Sprintf("%d declared%s", b.size(), p.waits), p.delivered > 0
		})))
	return time.Now()
}

// killed: the leader's process is killed, as by kill -9.
func (w *world) killed(ctx context.Context) (seen string) {
	return w.takeover(ctx, "killed", "killed", func(ctx context.Context, _ *corev1.Pod, container string) error {
		return w.kill(ctx, container)
	})
}

// removed: the leader's pod is deleted with no time to end in order.
func (w *world) removed(ctx context.Context) (seen string) {
	return w.takeover(ctx, "removed", "removed", func(ctx context.Context, pod *corev1.Pod, _ string) error {
		return w.admin.Delete(ctx, pod, client.GracePeriodSeconds(0))
	})
}

// shuts is how often a leader is shut down: one time proves little, as it takes a second.
const shuts = 3

// shut: the leader's pod is deleted, and ends in order.
func (w *world) shut(ctx context.Context) (seen string) {
	for i := range shuts {
		seen = w.takeover(ctx, "shut", fmt.Sprintf("shut-%d", i), func(ctx context.Context, pod *corev1.Pod, _ string) error {
			return w.admin.Delete(ctx, pod)
		})
	}
	return fmt.Sprintf("%d times; at last %s", shuts, seen)
}

// within is the step that holds takeovers to their bar, by the median where there were several.
func (w *world) within(how string, bar time.Duration) func(context.Context) string {
	return func(context.Context) (seen string) {
		gaps := slices.Sorted(slices.Values(w.gaps[how]))
		if len(gaps) == 0 {
			framework.Failf("nothing was measured")
		}
		median := gaps[len(gaps)/2]
		seen = fmt.Sprintf("%.1f s", median.Seconds())
		if len(gaps) > 1 {
			seen += fmt.Sprintf(" (%.1f to %.1f s)", gaps[0].Seconds(), gaps[len(gaps)-1].Seconds())
		}
		if median > bar && !w.Report {
			framework.Failf("it took %s, more than %s", seen, bar)
		}
		if median > bar {
			seen += ", over its bar"
		}
		return seen
	}
}

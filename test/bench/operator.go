// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

type operator struct {
	*framework.Process
	health  string
	started time.Time
}

// startOperator starts an operator without waiting for anything.
func (w *world) startOperator() *operator {
	o := &operator{health: framework.MustGet(framework.FreeAddresses(1))[0], started: time.Now()}
	o.Process = framework.MustGet(framework.Start(w.binary, w.log, framework.OperatorArgs(w.kubeconfig, leaseNamespace,
		"--health-probe-bind-address", o.health, "--log-format", "text")...))
	return o
}

// lead makes sure that an operator leads. If it starts one, it returns when its term began.
func (w *world) lead(ctx context.Context) (began time.Time) {
	if w.operator != nil {
		return began
	}
	term := w.nextTerm(ctx)
	w.operator = w.startOperator()
	return term(ctx, w.operator)
}

// retire shuts the leader down, if there is one, and fails unless it marked the Lease as drained.
func (w *world) retire(ctx context.Context) {
	if w.operator == nil {
		return
	}
	err := w.operator.Stop(ctx)
	w.operator = nil
	framework.Mustf(err, "shut the operator down")
	if _, drained := w.lease(ctx).Annotations[leadership.DrainedAnnotation]; !drained {
		framework.Failf("the operator was shut down and has not marked the Lease as drained")
	}
}

func (w *world) lease(ctx context.Context) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{}
	err := w.admin.Get(ctx, client.ObjectKey{Namespace: leaseNamespace, Name: process.Name}, lease)
	framework.Must(client.IgnoreNotFound(err))
	return lease
}

// nextTerm returns a function that waits for the term of another holder. It begins when the Lease has a new holder
// and no drained mark. A leader removes the mark before it sends.
func (w *world) nextTerm(ctx context.Context) (await func(context.Context, *operator) time.Time) {
	before := ptr.Deref(w.lease(ctx).Spec.HolderIdentity, "")
	leases, err := w.admin.Watch(ctx, &coordinationv1.LeaseList{}, client.InNamespace(leaseNamespace))
	framework.Mustf(err, "watch the Lease")
	begun := make(chan time.Time, 1)
	// Events are read when they arrive, as their time is what matters.
	go func() {
		defer leases.Stop()
		for e := range leases.ResultChan() {
			at := time.Now()
			if lease, ok := e.Object.(*coordinationv1.Lease); ok && begins(lease, before) {
				begun <- at
				return
			}
		}
	}()
	return func(ctx context.Context, o *operator) time.Time {
		defer leases.Stop()
		select {
		case at := <-begun:
			return at
		case <-o.Ended():
			framework.Failf("the operator has ended: %w", o.Err())
		case <-time.After(patience):
			framework.Failf("no new leader within %s", patience)
		case <-ctx.Done():
			framework.Must(ctx.Err())
		}
		return time.Time{}
	}
}

// begins reports whether the Lease shows the term of another holder than before.
func begins(lease *coordinationv1.Lease, before string) bool {
	_, drained := lease.Annotations[leadership.DrainedAnnotation]
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	return lease.Name == process.Name && holder != "" && holder != before && !drained
}

func (o *operator) ready(ctx context.Context) {
	// A probe may wait until the caches have synced, so its timeout is short.
	c := http.Client{Timeout: 100 * time.Millisecond}
	until(ctx, "the operator is ready", func(ctx context.Context) bool {
		select {
		case <-o.Ended():
			framework.Failf("it has ended: %w", o.Err())
		default:
		}
		req := framework.MustGet(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.health+"/readyz", nil))
		res, err := c.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == http.StatusOK
	})
}

// memory returns the resident memory, in 10^6 bytes. It needs Linux, like cpu.
func (o *operator) memory() float64 {
	s := framework.MustGet(framework.MustGet(procfs.NewProc(o.Pid())).NewStatus())
	return float64(s.VmRSS) / 1e6
}

// peakMemory returns the highest resident memory so far, in 10^6 bytes. It needs Linux, like cpu.
func (o *operator) peakMemory() float64 {
	s := framework.MustGet(framework.MustGet(procfs.NewProc(o.Pid())).NewStatus())
	return float64(s.VmHWM) / 1e6
}

// cpu returns how much CPU time the operator has taken, in steps of 10 ms.
func (o *operator) cpu() time.Duration { return cpuOf(o.Process) }

func cpuOf(p *framework.Process) time.Duration {
	s := framework.MustGet(framework.MustGet(procfs.NewProc(p.Pid())).Stat())
	return time.Duration(s.CPUTime() * float64(time.Second))
}

func (o *operator) interrupt() { framework.Must(o.Signal(syscall.SIGTERM)) }

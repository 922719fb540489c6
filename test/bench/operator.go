// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// operator is a running operator process.
type operator struct {
	*framework.Process
	health  string
	started time.Time
}

// startOperator starts an operator without waiting for anything.
func (w *world) startOperator() (*operator, error) {
	addresses, err := framework.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	o := &operator{health: addresses[0], started: time.Now()}
	o.Process, err = framework.Start(w.binary, w.log, "--kubeconfig", w.kubeconfig,
		"--leader-election-namespace", leaseNamespace, "--health-probe-bind-address", o.health,
		"--metrics-bind-address", "0", "--log-format", "text")
	return o, err
}

// lead makes sure that an operator leads and is at work.
func (w *world) lead(ctx context.Context) error {
	if w.operator != nil {
		return nil
	}
	term, err := w.nextTerm(ctx)
	if err != nil {
		return err
	}
	if w.operator, err = w.startOperator(); err != nil {
		return err
	}
	_, err = term(ctx, w.operator)
	return err
}

// retire shuts the leader down, if there is one, and makes sure that it said on
// the Lease that it had drained.
func (w *world) retire(ctx context.Context) error {
	if w.operator == nil {
		return nil
	}
	err := w.operator.Stop(ctx)
	w.operator = nil
	if err != nil {
		return fmt.Errorf("shut the operator down: %w", err)
	}
	lease, err := w.lease(ctx)
	if err != nil {
		return err
	}
	if _, drained := lease.Annotations[leadership.DrainedAnnotation]; !drained {
		return errors.New("the operator was shut down and has not marked the Lease as drained")
	}
	return nil
}

func (w *world) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := w.admin.Get(ctx, client.ObjectKey{Namespace: leaseNamespace, Name: process.Name}, lease)
	return lease, client.IgnoreNotFound(err)
}

// nextTerm notes who holds the Lease and watches for another holder's term, which
// begins when the Lease is seen with a new holder and without the mark of a drained
// end: a leader takes that off before it sends. It returns how to wait for it.
func (w *world) nextTerm(ctx context.Context) (await func(context.Context, *operator) (time.Time, error), err error) {
	before, err := w.lease(ctx)
	if err != nil {
		return nil, err
	}
	leases, err := w.admin.Watch(ctx, &coordinationv1.LeaseList{}, client.InNamespace(leaseNamespace))
	if err != nil {
		return nil, fmt.Errorf("watch the Lease: %w", err)
	}
	begun := make(chan time.Time, 1)
	// Read as they come, whenever they are asked for: their time is what matters.
	go func() {
		for e := range leases.ResultChan() {
			at := time.Now()
			if lease, ok := e.Object.(*coordinationv1.Lease); ok && begins(lease, holderOf(before)) {
				begun <- at
				break
			}
		}
		leases.Stop()
	}()
	return func(ctx context.Context, o *operator) (time.Time, error) {
		defer leases.Stop()
		select {
		case at := <-begun:
			return at, nil
		case <-o.Ended():
			return time.Time{}, fmt.Errorf("the operator has ended: %w", o.Err())
		case <-time.After(patience):
			return time.Time{}, fmt.Errorf("no new leader within %s", patience)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}, nil
}

// begins reports whether the Lease shows the term of another holder than before.
func begins(lease *coordinationv1.Lease, before string) bool {
	_, drained := lease.Annotations[leadership.DrainedAnnotation]
	holder := holderOf(lease)
	return lease.Name == process.Name && holder != "" && holder != before && !drained
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// ready waits until the operator says that it is.
func (o *operator) ready(ctx context.Context) error {
	// Each look waits until the caches have synced; a short one sees it at once.
	c := http.Client{Timeout: 100 * time.Millisecond}
	return until(ctx, "the operator is ready", func(ctx context.Context) (bool, error) {
		select {
		case <-o.Ended():
			return false, fmt.Errorf("it has ended: %w", o.Err())
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.health+"/readyz", nil)
		if err != nil {
			return false, err
		}
		res, err := c.Do(req)
		if err != nil {
			return false, nil // not yet
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == http.StatusOK, nil
	})
}

// memory returns the operator's resident memory, now and at its highest, in
// megabytes of 10^6 bytes.
func (o *operator) memory() (now, highest float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.Pid()))
	if err != nil {
		return 0, 0, fmt.Errorf("read the operator's memory (this takes Linux): %w", err)
	}
	now, err = megabytes(string(b), "VmRSS:")
	if err != nil {
		return 0, 0, err
	}
	highest, err = megabytes(string(b), "VmHWM:")
	return now, highest, err
}

// megabytes reads a line such as "VmRSS:  1234 kB", in which kB are 1024 bytes.
func megabytes(status, name string) (float64, error) {
	for line := range strings.Lines(status) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name && fields[2] == "kB" {
			kb, err := strconv.ParseFloat(fields[1], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("read the operator's memory: no %s", name)
}

// clockTicks is what the kernel counts CPU time in, for every process that it
// shows: 1/100 s (USER_HZ, on all of Go's platforms).
const clockTick = 10 * time.Millisecond

// cpu returns how much CPU time the operator has taken.
func (o *operator) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", o.Pid()))
	if err != nil {
		return 0, fmt.Errorf("read the operator's CPU time (this takes Linux): %w", err)
	}
	return cpuTime(string(b))
}

// cpuTime reads utime and stime, the 14th and 15th field. The second, the name in
// parentheses, may have spaces in it.
func cpuTime(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("read the operator's CPU time: too few fields")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the operator's CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// interrupt asks the operator to shut down, as Kubernetes does.
func (o *operator) interrupt() error { return o.Signal(syscall.SIGTERM) }

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// schedulesDue are due in the same minute.
	schedulesDue = 1000
	// scheduleRounds bounds the rounds: each waits for a minute.
	scheduleRounds = 3
	// scheduleLead is how long before that minute the schedules are created, at least.
	scheduleLead = 20 * time.Second
)

// scheduleColumns: the times are until the last message is created.
var scheduleColumns = []column{{"schedules_ratio", 3}, {"schedules_s", 2}, {"schedules_bare_s", 2}}

// schedules compares the messages of 1,000 TeamTalkSchedules that are due in the same minute with a bare client that
// creates as many. The operator delivers both.
func schedules(ctx context.Context, w *world, r *report) {
	limited := w.o.rounds
	w.o.rounds = min(limited, scheduleRounds)
	defer func() { w.o.rounds = limited }()
	r.addMedians(w.rounds(scheduleColumns, func(round int, s sample) {
		inTurn(round, func() {
			s["schedules_s"] = w.schedulesOnce(ctx, fmt.Sprintf("due-%d", round)).Seconds()
		}, func() {
			s["schedules_bare_s"] = w.schedulesBare(ctx, fmt.Sprintf("bare-%d", round)).Seconds()
		})
		s["schedules_ratio"] = s["schedules_s"] / s["schedules_bare_s"]
	}), scheduleColumns)
}

// scheduleAt is the i-th schedule of a batch, which is due at a minute of each hour.
func scheduleAt(b batch, i int, at time.Time) *v1alpha1.TeamTalkSchedule {
	s := &v1alpha1.TeamTalkSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: b.namespace, Name: b.name(i)}}
	s.Spec.Schedule = fmt.Sprintf("%d * * * *", at.UTC().Minute())
	s.Spec.MessageTemplate.Spec = b.message(i).Spec
	return s
}

func (w *world) scheduleBatch(prefix string) batch {
	return batch{namespace: namespace, prefix: prefix, n: schedulesDue, users: w.o.users[:streamUsers]}
}

// schedulesOnce returns how long after their minute the last of all messages was created, by the audit log.
func (w *world) schedulesOnce(ctx context.Context, prefix string) time.Duration {
	b, from := w.scheduleBatch(prefix), w.audit.end()
	at := time.Now().Add(scheduleLead).Truncate(time.Minute).Add(time.Minute)
	names := make([]string, b.n)
	framework.Must(framework.Parallel(ctx, creators, b.n, func(ctx context.Context, i int) {
		s := scheduleAt(b, i, at)
		names[i] = s.ScheduledMessage(at).Name
		framework.Mustf(w.admin.Create(ctx, s), "create a schedule")
	}))
	if late := time.Until(at); late < time.Second {
		framework.Failf("the schedules were created %s before they are due, too late", late)
	}
	var created int
	var last time.Time
	w.untracked(ctx, func() {
		framework.Must(framework.Await(ctx, "all messages are created", framework.Checked(
			func(context.Context) (string, bool) {
				created, last = creations(w.audit.since(from))
				return fmt.Sprintf("%d of %d", created, b.n), created >= b.n
			})))
	})
	w.tracker.await(ctx, names...)
	w.bare.verify(ctx, b.users, 64, b.textsOf)
	err := w.admin.DeleteAllOf(ctx, &v1alpha1.TeamTalkSchedule{}, client.InNamespace(namespace))
	framework.Mustf(err, "delete the schedules")
	w.clear(ctx, namespace)
	return last.Sub(at)
}

// schedulesBare returns how long the bare client takes to create the messages of as many schedules.
func (w *world) schedulesBare(ctx context.Context, prefix string) time.Duration {
	b, at := w.scheduleBatch(prefix), time.Now().Truncate(time.Minute)
	names := make([]string, b.n)
	var took time.Duration
	w.untracked(ctx, func() {
		began := time.Now()
		framework.Must(framework.Parallel(ctx, creators, b.n, func(ctx context.Context, i int) {
			s := scheduleAt(b, i, at)
			s.UID = types.UID(b.name(i))
			m := s.ScheduledMessage(at)
			names[i] = m.Name
			framework.Mustf(w.asBare.Create(ctx, m), "the bare client: create a message")
		}))
		took = time.Since(began)
	})
	w.tracker.await(ctx, names...)
	w.bare.verify(ctx, b.users, 64, b.textsOf)
	w.clear(ctx, namespace)
	return took
}

// untracked runs f without the benchmark's watch of the messages, which would cost the API server as much as f.
func (w *world) untracked(ctx context.Context, f func()) {
	w.tracker.stop()
	f()
	w.tracker = w.track(ctx) // it begins with all messages
}

// creations counts the messages that the operator has created, and says when the API server answered last.
func creations(requests []request) (n int, last time.Time) {
	for _, q := range requests {
		if q.Verb == "create" && q.ObjectRef.Resource == messages && q.ResponseStatus.Code == http.StatusCreated {
			n++
			if q.Answered.After(last) {
				last = q.Answered
			}
		}
	}
	return n, last
}

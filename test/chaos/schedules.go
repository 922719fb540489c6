// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// scheduleScenarios are about TeamTalkSchedules. Each scheduled time has one message, whatever fails in between.
func scheduleScenarios() []scenario {
	return takeovers([]scenario{{
		name: "schedules", run: schedulesDue,
		clause: "kill -9 while missed times are made up for; the next leader is paused past its Lease, and its API " +
			"requests are executed late",
	}})
}

// schedulesDue uses two times of each schedule. The first one is overdue when the operators return. Two older ones
// are also overdue, and must be skipped. A schedule has a different text at each time, and the texts are counted.
func schedulesDue(ctx context.Context, w *world) {
	framework.Must(w.leader.Stop(ctx))
	overdue := time.Now().Truncate(time.Minute)
	next := time.Now().Add(untilNext).Truncate(time.Minute).Add(time.Minute)
	first := w.schedule(ctx, (w.size+1)/2, overdue, next)

	leader := w.start()
	hung := w.hangSome(leader)
	for _, h := range hung {
		framework.Must(h.Await(ctx, hungRequests))
	}
	w.kill(leader)
	leader = w.replace(ctx)
	w.ticked(ctx, first, overdue)
	w.retext(ctx, first)
	if time.Until(next) < time.Second {
		framework.Failf("the machine is too slow: the second time came before the schedules had their second texts")
	}

	late := w.delayCreates(leader)
	framework.Must(late.Await(ctx, lateRequests))
	framework.Must(leader.Signal(syscall.SIGSTOP))
	w.replace(ctx)
	second := w.messages[len(first):]
	w.ticked(ctx, second, next)
	w.settleKept(ctx)
	close(late.released)
	w.await(ctx, "the API server has done what it was asked for late", func() (string, bool) {
		return fmt.Sprintf("%d of %d", late.done.Load(), late.Fired()), int(late.done.Load()) == late.Fired()
	})
	framework.Must(leader.Signal(syscall.SIGCONT))
	w.ended(ctx, leader)
	w.settleKept(ctx)
}

const (
	// untilNext is at least the time until all overdue messages are created: 15 s for the Lease of a dead leader, and
	// the delay of a busy machine.
	untilNext = 45 * time.Second
	// hungRequests of each kind hang, and lateRequests are executed late. Both are fewer than the controller makes at
	// a time.
	hungRequests, lateRequests = 4, 8
)

// kept reports whether the schedule keeps the message after its delivery.
func (m *message) kept() bool { return m.want == delivered }

// schedule creates n schedules in the state of an operator that ended three minutes before the time overdue.
func (w *world) schedule(ctx context.Context, n int, overdue, next time.Time) []*message {
	var minutes []string
	for _, at := range []time.Time{overdue.Add(-2 * time.Minute), overdue.Add(-time.Minute), overdue, next} {
		minutes = append(minutes, fmt.Sprint(at.UTC().Minute()))
	}
	w.deal = func(m *message) {
		if m.number%2 == 0 {
			m.want = expired
		}
	}
	all := w.more(n)
	w.deal = nil
	w.each(ctx, all, func(ctx context.Context, m *message) {
		o := w.scheduleOf(m)
		o.Spec.Schedule = strings.Join(minutes, ",") + " * * * *"
		o.Spec.StartingDeadlineSeconds = new(int64(600))
		if !m.kept() {
			o.Spec.SuccessfulHistoryLimit = new(int32(0))
		}
		o.Spec.MessageTemplate.Spec = w.object(m).Spec
		framework.Must(w.cluster.admin.Create(ctx, o))
		o.Status.HandledUntil = new(metav1.NewTime(overdue.Add(-3 * time.Minute)))
		o.Status.HandledSchedule = o.Spec.Schedule + " "
		framework.Must(w.cluster.admin.Status().Update(ctx, o))
	})
	return all
}

// scheduleOf returns the schedule of a message of the first time.
func (w *world) scheduleOf(m *message) *v1alpha1.TeamTalkSchedule {
	return &v1alpha1.TeamTalkSchedule{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: m.name}}
}

// retext gives the schedules of messages other texts. These count as further messages to the same recipients.
func (w *world) retext(ctx context.Context, first []*message) {
	for i, m := range w.more(len(first)) {
		m.to, m.want, m.name = first[i].to, first[i].want, first[i].name
		if !m.kept() {
			m.again = 1 // it may be created late
		}
	}
	w.each(ctx, w.messages[len(first):], func(ctx context.Context, m *message) {
		framework.Must(framework.MergePatch(ctx, w.cluster.admin, w.scheduleOf(m),
			`{"spec":{"messageTemplate":{"spec":{"content":{"text":%q}}}}}`, w.text(m.number)))
	})
}

// messageCreate and scheduleStatus match the writes of the controller of schedules.
func messageCreate(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/teamtalkmessages")
}

func scheduleStatus(r *http.Request) bool {
	return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/teamtalkschedules/")
}

// executed executes a request, although its client may not wait for the answer.
func executed(r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
}

// hangSome makes requests hang: some creations before they are executed, some afterwards, and some records of
// creations.
func (w *world) hangSome(o *operator) (all []*apiproxy.Armed) {
	after := func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
		executed(r, next)
		apiproxy.Hang(rw, r, next)
	}
	for _, rule := range []apiproxy.Rule{
		{Match: messageCreate, Every: 3, Count: hungRequests, Do: apiproxy.Hang},
		{Match: messageCreate, Every: 3, Count: hungRequests, Do: after},
		{Match: scheduleStatus, Count: hungRequests, Do: apiproxy.Hang},
	} {
		armed := o.api.Add(rule)
		w.counts(armed.Fired)
		all = append(all, armed)
	}
	return all
}

// lateCreates has creations that the API server executes only when they are released.
type lateCreates struct {
	*apiproxy.Armed
	released chan struct{}
	done     atomic.Int64
}

func (w *world) delayCreates(o *operator) *lateCreates {
	late := &lateCreates{released: make(chan struct{})}
	late.Armed = o.api.Add(apiproxy.Rule{Match: messageCreate, Count: lateRequests,
		Do: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
			select {
			case <-late.released:
				executed(r, next)
				late.done.Add(1)
			case <-r.Context().Done():
			}
			panic(http.ErrAbortHandler)
		}})
	w.counts(late.Fired)
	return late
}

// ticked waits until each schedule has recorded the creation of the message of a time. It finds the messages that are
// kept.
func (w *world) ticked(ctx context.Context, all []*message, at time.Time) {
	w.await(ctx, "all messages of "+at.Format(time.TimeOnly)+" are created", func() (string, bool) {
		list := &v1alpha1.TeamTalkScheduleList{}
		framework.Must(w.cluster.admin.List(ctx, list, client.InNamespace(w.namespace)))
		n := 0
		for i := range list.Items {
			if last := list.Items[i].Status.LastScheduleTime; last != nil && last.Time.Equal(at) {
				n++
			}
		}
		return fmt.Sprintf("%d of %d", n, len(all)), n == len(all)
	})
	for _, o := range w.objects(ctx, w.cluster.admin) {
		s, ok := w.parse(*o.Spec.Content.Text)
		i := slices.IndexFunc(all, func(m *message) bool { return ok && m.number == s.number && m.kept() })
		if i >= 0 {
			all[i].uid = o.UID
		}
	}
}

// settleKept waits until all messages are finished, and the messages that are not kept are deleted.
func (w *world) settleKept(ctx context.Context) {
	w.finished(ctx)
	w.await(ctx, "delivered messages are deleted that their schedules do not keep", func() (string, bool) {
		n := 0
		for _, o := range w.objects(ctx, w.cluster.admin) {
			if s, ok := w.parse(*o.Spec.Content.Text); ok && !w.messages[s.number-1].kept() {
				n++
			}
		}
		return fmt.Sprintf("%d are there", n), n == 0
	})
}

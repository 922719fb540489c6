// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// editScenarios are about messages that have finished with nothing stored, and are sent again after an edit or a
// retry.
func editScenarios() []scenario {
	return append(takeovers([]scenario{
		{name: "kill-edited", run: killEdited,
			clause: "finished messages are retried or edited before it, and without a leader"},
		{name: "paused-edited", run: pausedEdited,
			clause: "a leader is paused past its Lease while it sends retried or edited messages"},
	}), scenario{
		name: "handover-edited", alone: true, short: true, run: handoverEdited,
		clause: "finished messages are retried or edited before and during a shutdown",
	})
}

// fail creates messages that all finish with nothing stored. The older text of some must never be sent.
func (w *world) fail(ctx context.Context) {
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		o.Spec.RetryLimit = ptr.To[int32](0) // a takeover's doubt is no try
		if m.byEdit() {
			o.Spec.Content.Text = ptr.To(w.text(undeclared))
		}
	}
	refused := w.onDB(faultproxy.Rule{Commands: messages, Do: faultproxy.RefuseWith(0)})
	step := w.size
	if w.inOrder {
		step = min(w.few, len(w.users)) // one message for each conversation
	}
	for left := w.size; left > 0; left -= step {
		w.send(ctx, min(step, left))
		if w.inOrder {
			after(ctx, time.Second) // times of creation are whole seconds
		}
	}
	w.finished(ctx)
	refused.Remove()
	w.countEarly(ctx)
	w.shape = nil
}

// countEarly counts all stored rows as sent too early.
func (w *world) countEarly(ctx context.Context) {
	for _, rows := range w.rows(ctx) {
		w.early += len(rows)
	}
}

// byEdit chooses the messages that are edited. The others are retried as they are.
func (m *message) byEdit() bool { return m.number/2%2 == 0 }

// takeUpAgain retries or edits messages that have failed.
func (w *world) takeUpAgain(ctx context.Context, some []*message) {
	w.each(ctx, some, func(ctx context.Context, m *message) {
		if m.byEdit() {
			w.patch(ctx, m, `{"spec":{"content":{"text":%q},"retryLimit":10}}`, w.text(m.number))
		} else {
			w.patch(ctx, m, `{"metadata":{"annotations":{%q:"1"}}}`, v1alpha1.RetryAnnotation)
		}
	})
}

// hangs is how many status writes may hang while finished messages are taken up: fewer than are written at a time.
const hangs = 3

// halfRecorded is halfLost, and some status writes hang. Every other one of these is executed.
func (w *world) halfRecorded() boundary {
	lost := halfLost(w)
	var n atomic.Int64
	hung := w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite, Skip: w.size / 4, Every: 4, Count: hangs,
		Do: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
			if n.Add(1)%2 == 0 {
				next.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
			}
			apiproxy.Hang(rw, r, next)
		}})
	w.counts(hung.Fired)
	return boundary{
		await: func(ctx context.Context, n int) error {
			return errors.Join(lost.await(ctx, n), hung.Await(ctx, hangs))
		},
		release: func() {
			lost.release()
			hung.Remove()
		},
	}
}

// takeUpUnrecorded retries or edits messages while no status can be written. Nothing may be sent. As long as the
// status says that nothing is stored, it permits another edit.
func (w *world) takeUpUnrecorded(ctx context.Context, some []*message) {
	refused := w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite,
		Do: apiproxy.Refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)})
	w.counts(refused.Fired)
	w.takeUpAgain(ctx, some)
	framework.Must(refused.Await(ctx, 2*len(some))) // each of them more than once
	w.countEarly(ctx)
	refused.Remove()
}

func killEdited(ctx context.Context, w *world) {
	w.fail(ctx)
	some, half := len(w.messages)/4, len(w.messages)*3/4
	w.takeUpUnrecorded(ctx, w.messages[:some])
	b := w.halfRecorded()
	w.takeUpAgain(ctx, w.messages[some:half])
	framework.Must(b.await(ctx, w.caught()))
	w.kill(w.leader)
	b.release()
	w.takeUpAgain(ctx, w.messages[half:])
	w.replace(ctx)
	w.send(ctx, w.size/10)
}

func pausedEdited(ctx context.Context, w *world) {
	w.fail(ctx)
	w.limitInFlight(ctx, 8)
	hold, held := w.hold(faultproxy.ToClient, wire.CommandMsgData)
	defer hold.Release()
	half := len(w.messages) * 3 / 4
	w.takeUpAgain(ctx, w.messages[:half])
	framework.Must(held.Await(ctx, min(8, w.caught())))
	framework.Must(w.leader.Signal(syscall.SIGSTOP))
	hold.Release()
	w.takeUpAgain(ctx, w.messages[half:])
	w.replace(ctx)
	w.send(ctx, w.size/10)
	w.finished(ctx)
	framework.Must(w.leader.Signal(syscall.SIGCONT))
	w.sendUntilEnded(ctx, w.leader)
}

func handoverEdited(ctx context.Context, w *world) {
	w.inOrder, w.few = true, max(1, w.size/5)
	w.fail(ctx)
	next := w.start()
	// Without a key, all messages wait. Then they are sent in order.
	framework.Must(w.cluster.admin.Delete(ctx, w.secret(w.keys[0], "")))
	w.await(ctx, "the server has no key", func() (string, bool) {
		o := w.server()
		framework.Must(w.cluster.admin.Get(ctx, client.ObjectKeyFromObject(o), o))
		return fmt.Sprint(o.Status.Conditions), meta.IsStatusConditionFalse(o.Status.Conditions, v1alpha1.ConditionKeyLoaded)
	})
	half := len(w.messages) / 2
	w.takeUpAgain(ctx, w.messages[half:])
	framework.Must(w.leader.Stop(ctx))
	w.takeUpAgain(ctx, w.messages[:half])
	w.ledCleanly(ctx, next)
	w.await(ctx, "every message has been taken up again", func() (string, bool) {
		n := 0
		for _, o := range w.objects(ctx, w.cluster.admin) {
			if !o.Finished() && !o.RetryAsked() && o.Status.ObservedGeneration == o.Generation {
				n++
			}
		}
		return fmt.Sprintf("%d of %d", n, len(w.messages)), n == len(w.messages)
	})
	framework.Must(w.cluster.admin.Create(ctx, w.secret(w.keys[0], "")))
	w.send(ctx, w.size/10)
}

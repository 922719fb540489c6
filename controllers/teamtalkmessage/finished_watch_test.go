// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// triggered is a trigger with its queue.
type triggered struct {
	apiwatch.Trigger
	queue priorityqueue.PriorityQueue[reconcile.Request]
}

func newTriggered(t *testing.T) *triggered {
	t.Helper()
	q := &triggered{queue: priorityqueue.New[reconcile.Request]("test")}
	t.Cleanup(q.queue.ShutDown)
	if err := q.Start(t.Context(), q.queue); err != nil {
		t.Fatal(err)
	}
	return q
}

// take returns whether something is enqueued, and its priority.
func (q *triggered) take() (bool, int) {
	synctest.Wait()
	if q.queue.Len() == 0 {
		return false, 0
	}
	item, priority, _ := q.queue.GetWithPriority()
	q.queue.Done(item)
	return true, priority
}

// TestFinishedWatch: what is found or changes wakes the controller of edits, or that of TTLs when they are over.
func TestFinishedWatch(t *testing.T) {
	const none, edit, cleanup, read, escalate = "", "edit", "cleanup", "read", "escalate"
	const failed = v1alpha1.StateFailed
	expired, later := setTTL(60), setTTL(2*3600) // finished an hour ago
	for name, tc := range map[string]struct {
		message *v1alpha1.TeamTalkMessage
		// added, modified and found are what wakes at these events, and laterOn what wakes an hour after a message is found.
		added, modified, found, laterOn string
		isAwaited                       bool // its status shows what is known of reads
	}{
		"settled":                 {finishedMessage(failed), none, none, none, none, false},
		"settled, retried":        {finishedMessage(failed, askToRetry), none, edit, edit, none, false},
		"settled, edited":         {finishedMessage(failed, changeSpec), none, edit, edit, none, false},
		"TTL, over":               {finishedMessage(failed, unsettle, expired), cleanup, cleanup, cleanup, none, false},
		"TTL, not over":           {finishedMessage(failed, unsettle, later), none, none, none, cleanup, false},
		"TTL, retried":            {finishedMessage(failed, unsettle, expired, askToRetry), edit, edit, edit, none, false},
		"TTL, edited":             {finishedMessage(failed, unsettle, expired, changeSpec), edit, edit, edit, none, false},
		"to be read":              {finishedMessage("Routed", unsettle, toRead), read, read, read, none, false},
		"to be read, as is shown": {finishedMessage("Routed", unsettle, toRead), read, read, none, none, true},
		"to be read, edited":      {finishedMessage("Routed", unsettle, toRead, changeSpec), edit, edit, edit, none, false},
		"to be read, with TTL":    {finishedMessage("Routed", unsettle, toRead, expired), read, read, read, none, false},
		"read, with TTL":          {finishedMessage("Routed", unsettle, toRead, isRead, expired), cleanup, cleanup, cleanup, none, false},
		"escalated":               {finishedMessage("Routed", unsettle, toRead, exceeded, escalating), escalate, escalate, escalate, none, false},
		"escalated, with TTL":     {finishedMessage("Routed", unsettle, toRead, exceeded, escalating, expired), escalate, escalate, escalate, none, false},
		"no TTL, retry to record": {finishedMessage(failed, unsettle, askToRetry), edit, edit, edit, none, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				edits, cleanups, reads, escalations := newTriggered(t), newTriggered(t), newTriggered(t), newTriggered(t)
				w := newEditWatch(nil, logr.Discard(), &edits.Trigger)
				if !tc.message.Status.Settled {
					w = newUnsettledWatch(nil, logr.Discard(), &edits.Trigger, &cleanups.Trigger, &reads.Trigger, &escalations.Trigger,
						func(*v1alpha1.TeamTalkMessage) bool { return tc.isAwaited })
				}
				// The messages are from before the bubble's time.
				ended := metav1.NewTime(time.Now().Add(-time.Hour))
				tc.message.Status.CompletionTime = &ended
				woken := func(event, want string, wantPriority int) {
					isEdit, priority := edits.take()
					isCleanup, _ := cleanups.take()
					if isRead, _ := reads.take(); isRead != (want == read) {
						t.Errorf("%s: read %t, want %q", event, isRead, want)
					}
					if isEscalated, _ := escalations.take(); isEscalated != (want == escalate) {
						t.Errorf("%s: escalated %t, want %q", event, isEscalated, want)
					}
					if isEdit != (want == edit) || isCleanup != (want == cleanup) || isEdit && priority != wantPriority {
						t.Errorf("%s: edit %t, cleanup %t, priority %d; want %q", event, isEdit, isCleanup, priority, want)
					}
				}
				w.Change(watch.Deleted, tc.message)
				woken("deleted", map[bool]string{true: escalate}[tc.added == escalate], 0)
				w.Change(watch.Added, tc.message)
				woken("added", tc.added, 0)
				w.Change(watch.Modified, tc.message)
				woken("modified", tc.modified, 0)
				w.found(tc.message)
				woken("found", tc.found, handler.LowPriority)
				time.Sleep(time.Hour)
				woken("an hour later", tc.laterOn, 0)
			})
		})
	}
}

// TestSweepWakesEscalations: the escalation of a message that was not routed goes on while the message, which was
// retried, waits to be read.
func TestSweepWakesEscalations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads, escalations := newTriggered(t), newTriggered(t)
		w := newUnsettledWatch(nil, logr.Discard(), &apiwatch.Trigger{}, &apiwatch.Trigger{}, &reads.Trigger, &escalations.Trigger,
			func(*v1alpha1.TeamTalkMessage) bool { return true })
		w.found(finishedMessage(v1alpha1.StateRouted, unsettle, toRead, escalating))
		if isWoken, _ := escalations.take(); !isWoken {
			t.Error("the escalation is not woken")
		}
		if isWoken, _ := reads.take(); isWoken {
			t.Error("the message is read although its status shows what is known")
		}
	})
}

// TestSweep: a sweep is tried again after a failure, and another follows if the watch has begun again meanwhile.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers []error // of the lists of sweeps, from the first one
		page := make(chan error)
		api := interceptor.NewClient(fake.NewClientBuilder().WithScheme(newReconciler(t, finishedMessage("Failed"), 0).Client.Scheme()).Build(),
			interceptor.Funcs{
				List: func(ctx context.Context, _ client.WithWatch, _ client.ObjectList, opts ...client.ListOption) error {
					if (&client.ListOptions{}).ApplyOptions(opts).Limit == 0 { // of Version
						return nil
					}
					answers = append(answers, <-page)
					return answers[len(answers)-1]
				},
			})
		w := newUnsettledWatch(api, logr.Discard(), &apiwatch.Trigger{}, &apiwatch.Trigger{}, &apiwatch.Trigger{}, &apiwatch.Trigger{}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			w.sweepWhenBegun(ctx)
			close(ended)
		}()
		begin := func() {
			if _, err := w.Begin(t.Context()); err != nil {
				t.Error(err)
			}
		}
		isSweeping := func(answer error) bool {
			synctest.Wait()
			select {
			case page <- answer:
				return true
			default:
				return false
			}
		}
		if isSweeping(nil) {
			t.Error("sweeps before the watch has begun")
		}
		begin()
		if !isSweeping(errors.New("connection refused")) {
			t.Error("does not sweep")
		}
		begin()
		begin()
		if isSweeping(nil) {
			t.Error("sweeps again at once after a failure")
		}
		time.Sleep(sweepRetry)
		if !isSweeping(nil) {
			t.Error("does not sweep again after a failure")
		}
		if !isSweeping(nil) {
			t.Error("does not sweep again after the watch has begun again")
		}
		if isSweeping(nil) {
			t.Error("sweeps without need")
		}
		cancel()
		<-ended
	})
}

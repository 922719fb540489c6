// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// unreadCounter is a user's counter of the conversation with the sender of messages that have finished.
func unreadCounter(count, latest uint32) []*wire.UnreadInfo {
	return []*wire.UnreadInfo{{
		SessionId: new(uint32(1)), SessionType: wire.SessionType_SESSION_TYPE_SINGLE.Enum(), UnreadCnt: &count,
		LatestMsgId: &latest,
	}}
}

// TestCountersAreNotAskedForAgain: one that proves nothing never will, and the replicas may lag behind the others.
func TestCountersAreNotAskedForAgain(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients("RRR"), toRead)
	r := newReconciler(t, m, 0)
	r.keepRead(m)
	var mu sync.Mutex
	asked := map[uint32]int{}
	ask := func(_ context.Context, user uint32) ([]*wire.UnreadInfo, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[user]++
		return map[uint32][]*wire.UnreadInfo{3: unreadCounter(1, 5), 4: unreadCounter(0, 5)}[user], nil // of 5, none
	}
	want := map[proof]int{proofPending: 1, proofNone: 2}
	listens := time.Now()
	for range 3 {
		if got := r.confirmUnread(t.Context(), m, r.lostReceipts(m, listens), ask); !maps.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if want := map[uint32]int{3: 1, 4: 1, 5: 1}; !maps.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
}

// TestSilentServer: a server that answers some requests is not silent, and is asked for the others, too.
func TestSilentServer(t *testing.T) {
	for name, tc := range map[string]struct {
		answers    func(user uint32) bool
		want       map[proof]int
		wantSilent bool
	}{
		"all":   {func(uint32) bool { return true }, map[proof]int{proofPending: 30}, false},
		"most":  {func(user uint32) bool { return user != 3 }, map[proof]int{proofPending: 29, proofUnanswered: 1}, false},
		"one":   {func(user uint32) bool { return user == 3 }, map[proof]int{proofPending: 1, proofUnanswered: 29}, false},
		"none":  {func(uint32) bool { return false }, map[proof]int{proofUnanswered: 30}, true},
		"often": {func(user uint32) bool { return user%2 == 0 }, map[proof]int{proofPending: 15, proofUnanswered: 15}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, recipients(strings.Repeat("R", 30)), toRead)
			r := newReconciler(t, m, 0)
			r.keepRead(m)
			ask := func(_ context.Context, user uint32) ([]*wire.UnreadInfo, error) {
				if tc.answers(user) {
					return unreadCounter(1, 5), nil
				}
				return nil, errors.New("no answer")
			}
			if got := r.confirmUnread(t.Context(), m, r.lostReceipts(m, time.Now()), ask); !maps.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
			if _, silent := r.unanswered.Load(m.ServerKey()); silent != tc.wantSilent {
				t.Errorf("silent: %v", silent)
			}
		})
	}
}

// TestCounterIsOutdated: a counter from before a notify was dropped is read again.
func TestCounterIsOutdated(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients("R"), toRead)
	r := newReconciler(t, m, 0)
	r.keepRead(m)
	l := r.lostReceipts(m, time.Now())[0]
	l.Unread, l.UnreadAt = 1, time.Now().Add(-time.Hour)
	to := l.To
	r.Receipts.Release(client.ObjectKeyFromObject(m)) // as if it had been dropped: it cannot be confirmed
	if got := r.noteCounter(m, l, time.Now(), 5, 1, time.Second); got != proofPending {
		t.Errorf("%v, want %v", got, proofPending)
	}
	r.keepRead(m)
	if l = r.lostReceipts(m, time.Now())[0]; l.To != to {
		t.Errorf("%+v", l)
	}
	l.Unread, l.UnreadAt = 1, time.Now().Add(-time.Hour)
	if got := r.noteCounter(m, l, time.Now(), 5, 1, time.Second); got != proofUnread {
		t.Errorf("%v, want %v", got, proofUnread)
	}
}

// TestCounterFromBeforeARouterWasBack: a counter proves nothing of the time in which a router was not connected.
func TestCounterFromBeforeARouterWasBack(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients("R"), toRead)
	r := newReconciler(t, m, 0)
	r.keepRead(m)
	now := time.Now()
	listens, lost := now.Add(-time.Hour), r.lostReceipts(m, now)[0]
	// Two hours ago, the message and two older ones were unread.
	r.Receipts.NoteUnread(trackedMessage(m), lost.To, 3, now.Add(-2*time.Hour))
	// It was read while the router was away. A later message is unread.
	ask := func(context.Context, uint32) ([]*wire.UnreadInfo, error) { return unreadCounter(1, 6), nil }
	for _, step := range []struct {
		name string
		at   time.Time // of the counter that is known
		want proof
	}{
		{"a counter from before that", time.Time{}, proofPending},
		{"a counter since then", now.Add(-30 * time.Minute), proofNone},
	} {
		if !step.at.IsZero() {
			r.Receipts.NoteUnread(trackedMessage(m), lost.To, 1, step.at)
		}
		got := r.confirmUnread(t.Context(), m, r.lostReceipts(m, listens), ask)
		if want := map[proof]int{step.want: 1}; !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", step.name, got, want)
		}
	}
}

// readable is a reconciler that counts how often it reads the message.
func readable(t *testing.T, m *v1alpha1.TeamTalkMessage) (r *Reconciler, reads *int) {
	t.Helper()
	r, reads = newReconciler(t, m, 0), new(int)
	r.Sessions = connection.NewManager(logr.Discard(), nil, nil, connection.Events{})
	r.Live = interceptor.NewClient(r.Live, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if _, ok := o.(*v1alpha1.TeamTalkMessage); ok {
				*reads++
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	return r, reads
}

// TestReadIsNotLookedAtSoon: what wakes a message soon after it was looked at does not read it.
func TestReadIsNotLookedAtSoon(t *testing.T) {
	due := func(in time.Duration) func(*v1alpha1.TeamTalkMessage) {
		return func(m *v1alpha1.TeamTalkMessage) {
			passed := time.Since(m.Status.CompletionTime.Time) + in
			m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{DeadlineSeconds: new(int32(passed.Seconds()))}
		}
	}
	for name, tc := range map[string]struct {
		change  func(*v1alpha1.TeamTalkMessage)
		atLeast time.Duration
		atMost  time.Duration
	}{
		"due for long":         {due(time.Hour), readInterval / 2, readInterval},
		"due before that time": {due(readInterval / 2), 0, readInterval / 2},
		"being sent again":     {func(m *v1alpha1.TeamTalkMessage) { toRead(m); unfinish(m) }, readInterval / 2, readInterval},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, recipients("RR"), tc.change)
			r, reads := readable(t, m)
			r.keepRead(m)
			req := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(m)}
			for i := range 3 {
				result, err := r.reconcileRead(t.Context(), req)
				if err != nil || *reads != 1 {
					t.Errorf("%v, %v; read %d times", result, err, *reads)
				}
				if wait := result.RequeueAfter; i > 0 && (wait <= tc.atLeast || wait > tc.atMost) {
					t.Errorf("looked at in %v", wait)
				}
			}
			r.wakeRead(m) // it has just finished
			if _, err := r.reconcileRead(t.Context(), req); err != nil || *reads != 2 {
				t.Errorf("%v; read %d times", err, *reads)
			}
		})
	}
}

// TestTooManyAreKept: a message whose recipients cannot be tracked may have been read.
func TestTooManyAreKept(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients("rR"), toRead)
	r, _ := readable(t, m)
	another := readreceipt.Message{Key: types.NamespacedName{Namespace: "chat", Name: "another"}, UID: "another"}
	var sent []readreceipt.Sent
	for i := range uint32(200_000) {
		sent = append(sent, readreceipt.Sent{To: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 100 + i}, First: 1, Last: 1})
	}
	if !r.Receipts.Keep(another, m.ServerKey(), 1, sent) {
		t.Fatal("they are not kept")
	}
	if _, err := r.reconcileRead(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(m)}); err != nil {
		t.Fatal(err)
	}
	if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
		t.Fatal(err)
	}
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
	want := "Unknown ReadsMissed: read by 1 of 2 routed recipients; others may have read it: " +
		"the operator waits for the reads of too many recipients"
	if c == nil || fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message) != want {
		t.Errorf("%+v, want %s", c, want)
	}
}

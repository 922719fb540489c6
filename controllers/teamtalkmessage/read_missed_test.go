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
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// unreadCounter is a user's counter of the conversation with the sender of messages that have finished.
func unreadCounter(count, latest uint32) []*wire.UnreadInfo {
	return []*wire.UnreadInfo{{
		SessionId: new(uint32(1)), SessionType: wire.SessionType_SESSION_TYPE_SINGLE.Enum(), UnreadCnt: &count,
		LatestMsgId: &latest,
	}}
}

// askedCounters are unreadCounters that are answered by a function, and count the requests by user.
type askedCounters struct {
	*unreadCounters
	mu    sync.Mutex
	asked map[uint32]int
}

func newAskedCounters(r *Reconciler) *askedCounters {
	return &askedCounters{
		unreadCounters: newUnreadCounters(r.Receipts, r.Sessions, r.Client, logr.Discard()), asked: map[uint32]int{},
	}
}

func (c *askedCounters) run(
	t *testing.T, m *v1alpha1.TeamTalkMessage, listens time.Time, answer func(user uint32) []*wire.UnreadInfo,
) (review readreceipt.Review, isSilent bool) {
	t.Helper()
	l := readreceipt.Listening{Since: listens, ReplicaLag: time.Hour}
	l.Silent, _ = c.ask(t.Context(), m.ServerKey(), l, func(_ context.Context, user uint32) ([]*wire.UnreadInfo, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked[user]++
		if sessions := answer(user); sessions != nil {
			return sessions, nil
		}
		return nil, errors.New("no answer")
	})
	return c.receipts.Review(m.ServerKey(), l, time.Now()), l.Silent
}

// TestCountersAreAskedForOnce: a counter that proves nothing never will, and the others are not compared before the
// replicas have caught up.
func TestCountersAreAskedForOnce(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients("RRR"), toRead)
	r, _ := readable(t, m)
	r.keepRead(m)
	c, listens := newAskedCounters(r), time.Now()
	for range 3 {
		review, isSilent := c.run(t, m, listens, func(user uint32) []*wire.UnreadInfo {
			return unreadCounter(map[uint32]uint32{3: 1}[user], 5) // of the others, nothing is unread
		})
		if want := (readreceipt.Review{Waiting: 1}); review != want || isSilent {
			t.Errorf("%+v, want %+v; silent %v", review, want, isSilent)
		}
	}
	if want := map[uint32]int{3: 1, 4: 1, 5: 1}; !maps.Equal(c.asked, want) {
		t.Errorf("asked %v, want %v", c.asked, want)
	}
}

// TestSilentServer: a server that answers some requests is asked for the other counters, too. One that answers none is
// not asked for all.
func TestSilentServer(t *testing.T) {
	for name, tc := range map[string]struct {
		recipients string
		answers    func(user uint32) bool
		want       readreceipt.Review
		wantSilent bool
		wantAtMost int // requests
	}{
		"all":  {"RRRRR", func(uint32) bool { return true }, readreceipt.Review{Waiting: 1}, false, 5},
		"most": {"RRRRR", func(user uint32) bool { return user != 3 }, readreceipt.Review{Waiting: 1, Unanswered: 1}, false, 5},
		"none": {strings.Repeat("R", 100), func(uint32) bool { return false }, readreceipt.Review{Unanswered: 1}, true, silentAfter + counterReads},
		// The counters of one user may be too many.
		"the only one that is due": {"R", func(uint32) bool { return false }, readreceipt.Review{Unanswered: 1}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, recipients(tc.recipients), toRead)
			r, _ := readable(t, m)
			r.keepRead(m)
			c, listens := newAskedCounters(r), time.Now()
			for range 2 { // what was not answered is not asked for again soon
				review, isSilent := c.run(t, m, listens, func(user uint32) []*wire.UnreadInfo {
					if tc.answers(user) {
						return unreadCounter(1, 5)
					}
					return nil
				})
				if tc.want.Unanswered > 0 && (review.Grace <= 0 || review.Grace > readreceipt.LostGrace) {
					t.Errorf("in %v the status says so", review.Grace)
				}
				if review.Grace = 0; review != tc.want || isSilent != tc.wantSilent {
					t.Errorf("%+v, want %+v; silent %v", review, tc.want, isSilent)
				}
			}
			sum := 0
			for _, n := range c.asked {
				sum += n
			}
			if sum > tc.wantAtMost {
				t.Errorf("asked %d times", sum)
			}
		})
	}
}

// TestServerIsAway: once db_proxy is connected again, it is asked at once.
func TestServerIsAway(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients(strings.Repeat("R", 100)), toRead)
	r, _ := readable(t, m)
	r.keepRead(m)
	c, l := newAskedCounters(r), readreceipt.Listening{Since: time.Now(), ReplicaLag: time.Hour}
	isSilent, _ := c.ask(t.Context(), m.ServerKey(), l, func(context.Context, uint32) ([]*wire.UnreadInfo, error) {
		return nil, fmt.Errorf("%w: %w", dbproxy.ErrNotSent, dbproxy.ErrNotConnected)
	})
	if !isSilent {
		t.Error("it is not silent while db_proxy is not connected")
	}
	review, isSilent := c.run(t, m, l.Since, func(uint32) []*wire.UnreadInfo { return unreadCounter(1, 5) })
	if want := (readreceipt.Review{Waiting: 1}); review != want || isSilent || len(c.asked) != 100 {
		t.Errorf("%+v, want %+v; silent %v; asked %d", review, want, isSilent, len(c.asked))
	}
}

// TestAwaitRead: a message of a sweep is tracked. It is not read again if its status shows what is known.
func TestAwaitRead(t *testing.T) {
	unread := func(m *v1alpha1.TeamTalkMessage) {
		applyReceipts(m, nil)
		setRead(m, "", m.Status.CompletionTime.Time)
	}
	missedByGroup := func(m *v1alpha1.TeamTalkMessage) {
		m.Status.Recipients[0].Type = v1alpha1.RecipientGroup
		setRead(m, "1 recipient may have read it while the operator did not listen to all routers", time.Now())
	}
	for name, tc := range map[string]struct {
		changes []func(*v1alpha1.TeamTalkMessage)
		tracked []uint32 // the messages to user 3 that are tracked before
		want    bool
	}{
		"unread":               {[]func(*v1alpha1.TeamTalkMessage){recipients("RR"), toRead, unread}, nil, true},
		"one has read":         {[]func(*v1alpha1.TeamTalkMessage){recipients("rR"), toRead, unread}, nil, true},
		"tracked":              {[]func(*v1alpha1.TeamTalkMessage){recipients("R"), toRead, unread}, []uint32{5}, true},
		"sent again since":     {[]func(*v1alpha1.TeamTalkMessage){recipients("R"), toRead, unread}, []uint32{6}, false},
		"missed, as is shown":  {[]func(*v1alpha1.TeamTalkMessage){recipients("R"), toRead, missedByGroup}, nil, true},
		"not shown":            {[]func(*v1alpha1.TeamTalkMessage){recipients("RR"), toRead}, nil, false},
		"the deadline is over": {[]func(*v1alpha1.TeamTalkMessage){recipients("RR"), toRead, unread, endedLongAgo}, nil, false},
		"being deleted":        {[]func(*v1alpha1.TeamTalkMessage){recipients("RR"), toRead, unread, isDeleted}, nil, false},
		"edited":               {[]func(*v1alpha1.TeamTalkMessage){recipients("RR"), toRead, unread, changeSpec}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, tc.changes...)
			r, _ := readable(t, finishedMessage(v1alpha1.StateRouted))
			for _, id := range tc.tracked {
				sent := readreceipt.Sent{To: m.Status.Recipients[0].Recipient(), First: id, Last: id}
				r.Receipts.Keep(trackedMessage(m), m.ServerKey(), 1, []readreceipt.Recorded{{Sent: sent}})
			}
			before := m.DeepCopy()
			ok := r.awaitRead(m)
			if later := time.Until(r.readDue.at[client.ObjectKeyFromObject(m)]); ok != tc.want || ok && (later < readRecheck/3 || later > readRecheck) {
				t.Errorf("%v in %v", ok, later)
			}
			if !equality.Semantic.DeepEqual(before, m) {
				t.Error("the listed message is changed")
			}
			if receipts, _ := r.Receipts.Receipts(trackedMessage(m)); ok && len(receipts) != len(m.Status.Recipients) {
				t.Errorf("tracked are %+v", receipts)
			}
		})
	}
}

// TestDeadlineBeforeCounters: a deadline that passes before the counters are known tells that reads may have been missed.
func TestDeadlineBeforeCounters(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration // since it finished
		want  string
	}{
		"before it": {time.Minute, ""},
		"after it":  {25 * time.Hour, "2 recipients may have read it while the operator did not listen to all routers"},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, recipients("rRR"), toRead)
			r, _ := readable(t, m)
			r.showReads(m, m.Status.CompletionTime.Add(tc.after))
			c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
			if c == nil || recordedMissed(m) != tc.want || !strings.HasPrefix(c.Message, "read by 1 of 3") {
				t.Errorf("%+v", c)
			}
		})
	}
}

// TestListedBeforeItWasCreatedAgain: a list that shows the former message of a name tells nothing of the current one.
func TestListedBeforeItWasCreatedAgain(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients("R"), toRead)
	setRead(m, "", m.Status.CompletionTime.Time)
	r, _ := readable(t, m)
	current := readreceipt.Message{Key: client.ObjectKeyFromObject(m), UID: "current"}
	r.Receipts.Keep(current, m.ServerKey(), 1, []readreceipt.Recorded{{Sent: sentOf(m)[0]}})
	if r.awaitRead(m) {
		t.Error("it is taken for the listed one")
	}
	if receipts, _ := r.Receipts.Receipts(current); len(receipts) != 1 {
		t.Error("what was known of the current one is lost")
	}
}

// TestDecidedSinceItWasListed: a message that is not waited for any more takes no place among those that are.
func TestDecidedSinceItWasListed(t *testing.T) {
	listed := finishedMessage(v1alpha1.StateRouted, recipients("R"), toRead)
	setRead(listed, "", listed.Status.CompletionTime.Time)
	decided := finishedMessage(v1alpha1.StateRouted, recipients("r"), toRead, isRead)
	r, _ := readable(t, decided)
	if !r.awaitRead(listed) {
		t.Fatal("it is not tracked")
	}
	if _, err := r.lookForReads(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(decided)}); err != nil {
		t.Fatal(err)
	}
	if review := r.Receipts.Review(decided.ServerKey(), readreceipt.Listening{}, time.Now()); review != (readreceipt.Review{}) {
		t.Errorf("it is still waited for: %+v", review)
	}
}

func endedLongAgo(m *v1alpha1.TeamTalkMessage) {
	m.Status.CompletionTime = new(metav1.NewTime(m.Status.CompletionTime.Add(-48 * time.Hour)))
}

func isDeleted(m *v1alpha1.TeamTalkMessage) { m.DeletionTimestamp = new(metav1.Now()) }

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
		// wakesLater: a time is set for it after the first look.
		wakesLater bool
	}{
		"due for long":         {due(time.Hour), readInterval / 2, readInterval, true},
		"due before that time": {due(readInterval / 2), 0, readInterval / 2, false},
		"being sent again":     {func(m *v1alpha1.TeamTalkMessage) { toRead(m); unfinish(m) }, readInterval / 2, readInterval, true},
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
				later := time.Until(r.readDue.at[req.NamespacedName])
				if wakesLater := later > readInterval && later <= readRecheck; i == 0 &&
					(wakesLater != tc.wakesLater || wakesLater == (result.RequeueAfter > 0)) {
					t.Errorf("after the first look, woken in %v or %v", later, result.RequeueAfter)
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
	var sent []readreceipt.Recorded
	for i := range uint32(200_000) {
		to := v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 100 + i}
		sent = append(sent, readreceipt.Recorded{Sent: readreceipt.Sent{To: to, First: 1, Last: 1}})
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

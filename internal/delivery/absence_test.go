// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

var toBob = user(bob)

// deliverAll has messages delivered, one after the other.
func (h *harness) deliverAll(to v1alpha1.Recipient, uids ...string) {
	h.t.Helper()
	for _, uid := range uids {
		h.submit(h.task(uid, to))
		wantProgress(h.t, h.await(types.UID(uid), time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.Forget(types.UID(uid))
	}
}

// hide makes the table of a conversation with the bot unreadable.
func (f *talk) hide(to v1alpha1.Recipient) {
	c := queue.ConversationOf(types.NamespacedName{}, bot, to)
	f.hidden = func(other queue.Conversation) bool { return other == c }
}

// restart replaces the engine, as an operator that starts. It knows what finished messages have recorded.
func (h *harness) restart(recorded ...RecordedRow) (stop func()) {
	before := h.Engine
	h.Engine = NewEngine(func(types.NamespacedName) {})
	h.SetAddresses(types.NamespacedName{}, []string{"db"})
	h.Recorded = func(_ context.Context, note func(RecordedRow)) error {
		for _, r := range recorded {
			note(r)
		}
		return nil
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = h.Start(ctx)
	}()
	return func() {
		cancel()
		<-ended
		h.Engine = before
	}
}

// recordedOf is what a finished message has recorded of the row.
func recordedOf(to v1alpha1.Recipient, id uint32) RecordedRow {
	return RecordedRow{Sender: bot, Recipient: to, ID: id, By: time.Now()}
}

// TestTableUnreadable: while the table of a conversation with known rows cannot be read, an empty history proves
// nothing. Once it can, the message is found.
func TestTableUnreadable(t *testing.T) {
	type scenario struct {
		to v1alpha1.Recipient
		// doubt stores one more message, of which this engine then is in doubt.
		doubt func(*harness, v1alpha1.Recipient) (stop func())
	}
	lost := func(h *harness, to v1alpha1.Recipient) func() {
		h.talk.change(func() {
			h.talk.replies = []reply{plain, plain, plain, lostAfter}
			h.talk.hide(to)
		})
		h.submit(h.task("m", to))
		return func() {}
	}
	keyed := func(h *harness, to v1alpha1.Recipient) func() {
		spec := h.keyed("m", "hello", to)
		h.store(spec)
		h.talk.change(func() { h.talk.hide(to) })
		h.submit(spec)
		return func() {}
	}
	restarted := func(h *harness, to v1alpha1.Recipient) func() {
		spec := h.task("m", to)
		h.store(spec)
		h.talk.change(func() { h.talk.hide(to) })
		stop := h.restart(recordedOf(to, 103), recordedOf(toBob, 9))
		takenOver(&spec)
		h.submit(spec)
		return stop
	}
	runEach(t, map[string]scenario{
		"no answer":           {toAlice, lost},
		"no answer, group":    {toGroup, lost},
		"unseen key":          {toAlice, keyed},
		"unseen key, group":   {toGroup, keyed},
		"new operator":        {toAlice, restarted},
		"new operator, group": {toGroup, restarted},
	}, func(h *harness, tc scenario) {
		h.deliverAll(tc.to, "a", "b", "c")
		sends := h.talk.counts().sends
		stop := tc.doubt(h, tc.to)
		defer stop()
		advance(5 * time.Minute)
		p := h.first("m")
		if p.State != v1alpha1.StateInDoubt || p.Message != whyMissing(103) {
			h.t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
		h.wantRows(4)
		h.talk.change(func() { h.talk.hidden = nil })
		wantProgress(h.t, h.await("m", 5*time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		if h.wantRows(4); h.talk.counts().sends > sends+1 {
			h.t.Error("it was sent again")
		}
	})
}

// TestTableUnreadableForGood: the doubt ends with its reason, the row that is missing.
func TestTableUnreadableForGood(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.talk.change(func() {
			h.talk.replies = []reply{plain, lostBefore}
			h.talk.hide(toAlice)
		})
		h.submit(h.task("m", toAlice))
		p := h.await("m", 2*InDoubtLimit).Recipients[0]
		wantProgress(t, p, v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
		if p.Message != unknownBecause(whyMissing(101)) {
			t.Error(p.Message)
		}
	})
}

// TestOtherTables: an empty conversation of which no row is known is proved empty by rows of others, where these are
// shown before and after the question.
func TestOtherTables(t *testing.T) {
	// sameTable is a group whose table is the group's.
	const sameTable = group + messageTables
	toSame, toOther := v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: sameTable}, v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: group + 1}
	everything := func(queue.Conversation) bool { return true }
	only := func(to v1alpha1.Recipient) func(queue.Conversation) bool {
		c := queue.ConversationOf(types.NamespacedName{}, bot, to)
		return func(other queue.Conversation) bool { return other == c }
	}
	type scenario struct {
		to      v1alpha1.Recipient
		others  []v1alpha1.Recipient
		hidden  func(queue.Conversation) bool
		restart bool
		want    v1alpha1.RecipientState
		why     string
	}
	sent, inDoubt := v1alpha1.StateRouted, v1alpha1.StateInDoubt
	runEach(t, map[string]scenario{
		"nothing is known":                   {to: toAlice, want: sent},
		"nothing is known, group":            {to: toGroup, want: sent},
		"another user":                       {to: toAlice, others: []v1alpha1.Recipient{toBob}, want: sent},
		"another user, hidden":               {to: toAlice, others: []v1alpha1.Recipient{toBob}, hidden: everything, want: inDoubt, why: whyControl},
		"a group":                            {to: toAlice, others: []v1alpha1.Recipient{toOther}, want: sent},
		"another user, hidden, and a group":  {to: toAlice, others: []v1alpha1.Recipient{toOther, toBob}, hidden: only(toBob), want: inDoubt, why: whyControl},
		"after a restart":                    {to: toAlice, others: []v1alpha1.Recipient{toBob}, restart: true, want: sent},
		"after a restart, group":             {to: toGroup, others: []v1alpha1.Recipient{toBob}, restart: true, want: sent},
		"group of the same table":            {to: toGroup, others: []v1alpha1.Recipient{toSame}, want: sent},
		"group of the same table, hidden":    {to: toGroup, others: []v1alpha1.Recipient{toBob, toSame}, hidden: only(toSame), want: inDoubt, why: whyControl},
		"group of another table":             {to: toGroup, others: []v1alpha1.Recipient{toBob, toOther}, want: sent},
		"groups of the same table, unproved": {to: toGroup, others: []v1alpha1.Recipient{toSame}, hidden: everything, want: inDoubt, why: whyControl},
	}, func(h *harness, tc scenario) {
		h.talk.groups[sameTable], h.talk.groups[group+1] = []uint32{bot, alice}, []uint32{bot, alice}
		for i, to := range tc.others {
			h.deliverAll(to, fmt.Sprint("other", i))
		}
		h.talk.replies = append(make([]reply, 0, 3), always(plain)[:len(tc.others)]...)
		h.talk.replies = append(h.talk.replies, lostBefore)
		if tc.restart {
			defer h.restart()()
		}
		h.talk.change(func() { h.talk.hidden = tc.hidden })
		h.submit(h.task("m", tc.to))
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != tc.want || tc.why != "" && p.Message != tc.why {
			h.t.Errorf("%s %s (%s), want %s (%s)", p.State, p.Reason, p.Message, tc.want, tc.why)
		}
	})
}

// TestControlFlanks: what proves that a table can be read is shown before the question and after it.
func TestControlFlanks(t *testing.T) {
	type flanks struct {
		before, after bool
		want          v1alpha1.RecipientState
	}
	runEach(t, map[string]flanks{
		"shown":           {true, true, v1alpha1.StateRouted},
		"not before":      {false, true, v1alpha1.StateInDoubt},
		"not afterwards":  {true, false, v1alpha1.StateInDoubt},
		"at neither time": {false, false, v1alpha1.StateInDoubt},
	}, func(h *harness, tc flanks) {
		h.deliverAll(toBob, "other")
		h.talk.replies = []reply{plain, lostBefore}
		var askedAt time.Time
		lists := 0
		h.talk.fails = func(read string) error {
			if !askedAt.Equal(time.Now()) {
				askedAt, lists = time.Now(), 0
			}
			if read == "list" {
				lists++
			}
			// Both are lists, the question's being the first and the third.
			if lists == 2 && !tc.before || lists == 4 && !tc.after {
				h.talk.hide(toBob)
			} else {
				h.talk.hidden = nil
			}
			return nil
		}
		h.submit(h.task("m", toAlice))
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != tc.want {
			h.t.Errorf("%s %s (%s), want %s", p.State, p.Reason, p.Message, tc.want)
		}
	})
}

// TestReplicaStopped: an answer that is older than a known row proves nothing.
func TestReplicaStopped(t *testing.T) {
	type scenario struct {
		later   v1alpha1.Recipient
		wantWhy string
		// repeated: the later row has an id that an older one has, as after a loss of the counters.
		repeated bool
	}
	runEach(t, map[string]scenario{
		"before a row of the conversation": {toAlice, whyMissing(5000), false},
		"before a row of another":          {toBob, whyStale, false},
		"before a row whose id is another": {toBob, whyStale, true},
	}, func(h *harness, tc scenario) {
		h.deliverAll(toAlice, "a", "b")
		if tc.repeated {
			m := dbproxy.Message{From: bot, To: bob, Type: text, CreateTime: uint32(time.Now().Unix()) - 60}
			m.Data = h.talk.keys.Current.Encrypt([]byte("x"))
			h.talk.keep(104, m, time.Now())
		}
		h.talk.replies = []reply{plain, plain, {store: true, err: lostAfter.err}, plain}
		spec := h.task("m", toAlice)
		h.talk.change(func() {
			h.talk.stopReplica()
			h.talk.replica.fails = failing("list")
		})
		h.submit(spec)
		advance(time.Second)
		// Another db_proxy reads another replica, and a later message through it.
		replica := h.talk.replica
		h.talk.change(func() { h.talk.replica = nil; h.talk.fails = failing("list") })
		advance(time.Second)
		if tc.later == toAlice {
			h.talk.chatter(1)
			h.known.note(spec.conversation(recipientState{Progress: spec.Recipients[0]}),
				dbproxy.Session{}, knownRow{5000, uint32(time.Now().Unix())})
		} else {
			h.deliverAll(tc.later, "later")
		}
		h.talk.change(func() { h.talk.replica, h.talk.fails, replica.fails = replica, nil, nil })
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != tc.wantWhy {
			h.t.Errorf("%s %s (%s), want %s", p.State, p.Reason, p.Message, tc.wantWhy)
		}
		h.talk.change(func() { h.talk.replica = nil })
		wantProgress(h.t, h.await("m", 5*time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
	})
}

// TestReplicaStoppedBehindAFastClock: a known row with a later time hides no newer row from the proof.
func TestReplicaStoppedBehindAFastClock(t *testing.T) {
	run(t, func(h *harness) {
		ahead := dbproxy.Message{From: alice, To: bot, Type: text, CreateTime: uint32(time.Now().Add(time.Hour).Unix())}
		ahead.Data = h.talk.keys.Current.Encrypt([]byte("x"))
		h.talk.keep(50, ahead, time.Now())
		h.deliverAll(toAlice, "a")
		h.talk.replies = []reply{plain, lostAfter, plain}
		h.talk.change(h.talk.stopReplica)
		replica := h.talk.replica
		h.talk.change(func() { h.talk.replica = nil; h.talk.fails = failing("list") })
		h.submit(h.task("m", toAlice))
		advance(OrderGrace + time.Minute)
		h.submit(h.task("later", toAlice))
		wantProgress(t, h.await("later", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.talk.change(func() { h.talk.replica, h.talk.fails = replica, nil })
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyStale {
			t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
	})
}

// TestOwnSessionIsShown: a conversation that the recent sessions show has a row, whatever its list shows.
func TestOwnSessionIsShown(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{lostAfter}
		h.talk.unlisted = true
		h.submit(h.task("m", toAlice))
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyMissing(101) {
			t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
	})
}

// TestListsFail: where db_proxy finds rows by their ids and lists none, an empty list proves nothing.
func TestListsFail(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toBob, "other")
		h.talk.replies = []reply{plain, lostBefore}
		h.talk.unlisted = true
		h.submit(h.task("m", toAlice))
		advance(5 * time.Minute)
		// The recent sessions show bob's row, and then the list does not.
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyControl {
			t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
	})
}

// TestServerEdited: the known rows of a store are shared by all of its addresses.
func TestServerEdited(t *testing.T) {
	run(t, func(h *harness) {
		first := h.task("a", toAlice)
		h.SetAddresses(first.ServerKey, []string{"db", "other"})
		h.submit(first)
		h.await("a", time.Minute)
		h.talk.replies = []reply{plain, lostAfter}
		h.talk.change(func() { h.talk.hide(toAlice) })
		spec := h.task("m", toAlice)
		h.SetAddresses(spec.ServerKey, []string{"other"})
		h.submit(spec)
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyMissing(101) {
			t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
	})
}

// TestDeletedRow: a known row that is gone, with newer ones behind it, is no outage.
func TestDeletedRow(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a", "b")
		h.talk.replies = []reply{plain, plain, lostBefore}
		advance(time.Minute)
		h.talk.rows = h.talk.rows[:1]
		h.talk.chatter(1)
		h.submit(h.task("m", toAlice))
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
	})
}

// TestNothingIsKnownOfAnswers: without verification nothing was shown, and an id that was only answered is no row.
func TestNothingIsKnownOfAnswers(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{falseSuccess, lostBefore}
		first := h.task("a", toAlice)
		first.Policy.Verify = false
		h.deliver(first, time.Minute, result{v1alpha1.StateRouted, "", counts{1, 0, 1}})
		h.submit(h.task("m", toAlice))
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
	})
}

// TestRecordedRowsAreRead: they are read once, when they are needed, again after a failure, and nothing is sent before.
func TestRecordedRowsAreRead(t *testing.T) {
	run(t, func(h *harness) {
		calls, goOn := 0, make(chan struct{})
		h.Recorded = func(ctx context.Context, note func(RecordedRow)) error {
			if calls++; calls == 1 {
				return errors.New("the API server is away")
			}
			<-goOn
			return nil
		}
		h.deliverAll(toBob, "a", "b")
		if calls != 0 {
			t.Errorf("read %d times without need", calls)
		}
		h.submit(h.keyed("m", "hello", toAlice))
		advance(30 * time.Second)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyRecorded || calls != 2 {
			t.Errorf("%s (%s), read %d times", p.State, p.Message, calls)
		}
		close(goOn)
		wantProgress(t, h.await("m", 2*time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.deliver(h.keyed("n", "hello", user(20)), time.Minute, result{v1alpha1.StateFailed, v1alpha1.ReasonRecipientNotFound, counts{3, 3, 3}})
		if calls != 2 {
			t.Errorf("read %d times", calls)
		}
	})
}

// TestRecordedRowsAreReadEarly: after a takeover they are read while nothing can be proved yet.
func TestRecordedRowsAreReadEarly(t *testing.T) {
	run(t, func(h *harness) {
		h.Recorded = func(context.Context, func(RecordedRow)) error {
			<-time.After(30 * time.Second)
			return nil
		}
		spec := h.task("m", toAlice)
		takenOver(&spec)
		h.submit(spec)
		const earlier = PeerPatience + settle + lag
		h.wantEnd("m", earlier+2*time.Second, routed(1))
	})
}

// TestReasonsFit: the status holds each of them.
func TestReasonsFit(t *testing.T) {
	for _, why := range []string{
		whySilent, whyUnstable, whyControl, whyStale, whyDirectory, whyRecorded, whyHidden, whyTooLong, whyTooSlow,
		whyMissing(1<<32 - 1), whyConcealed(1<<32-1, true), whyConcealed(1<<32-1, false),
	} {
		if message := unknownBecause(why); len(message) > v1alpha1.MaxRecipientMessage || strings.Contains(message, "stored;") {
			t.Errorf("%d bytes: %s", len(message), message)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// TestAllReplicasStopped: rows that were acknowledged after an attempt show that reads are old, although none of them
// was ever shown. Only the message that was acknowledged last has none.
func TestAllReplicasStopped(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.deliverAll(toBob, "b")
		h.deliverAll(toGroup, "g")
		h.talk.replies = []reply{3: lostAfter, 4: plain, 5: plain}
		h.talk.change(h.talk.stopReplica)
		began := map[types.UID]v1alpha1.Recipient{"lost": toAlice, "acknowledged": toBob, "last": toGroup}
		for _, uid := range []types.UID{"lost", "acknowledged", "last"} {
			h.submit(h.task(string(uid), began[uid]))
			advance(time.Second)
		}
		advance(5 * time.Minute)
		for _, uid := range []types.UID{"lost", "acknowledged"} {
			if p := h.first(uid); p.State != v1alpha1.StateInDoubt || p.Message != whyStale || p.Attempts != 1 {
				t.Errorf("%s: %s %s (%s) after %d attempts", uid, p.State, p.Reason, p.Message, p.Attempts)
			}
		}
		h.talk.change(func() { h.talk.replica = nil })
		for _, uid := range []types.UID{"lost", "acknowledged"} {
			if p := h.await(uid, 5*time.Minute).Recipients[0]; p.State != v1alpha1.StateRouted || p.Attempts != 1 {
				t.Errorf("%s: %s %s after %d attempts", uid, p.State, p.Reason, p.Attempts)
			}
		}
	})
}

// TestOneUnwitnessed: where no later row is known, one message in doubt is sent again. What becomes of it shows whether
// the others may be.
func TestOneUnwitnessed(t *testing.T) {
	const count = 20
	type outcome struct {
		// first is what became of the first attempts; nil: an earlier operator may have made them.
		first   *reply
		stopped bool
		// again is how many are sent again in the first minutes, in all how many at the end.
		again, inAll int
	}
	runEach(t, map[string]outcome{
		"stored, reads are old":             {&lostAfter, true, 1, 1},
		"nothing was stored":                {&lostBefore, false, count, count},
		"nothing was stored, reads are old": {&lostBefore, true, 1, count},
		"taken over":                        {nil, false, count, count},
		"taken over, reads are old":         {nil, true, 1, count},
	}, func(h *harness, want outcome) {
		h.deliverAll(toAlice, "a")
		first := int32(0)
		if want.first != nil {
			first = 1
			h.talk.replies = append([]reply{plain}, slices.Repeat([]reply{*want.first}, count)...)
		}
		if want.stopped {
			h.talk.change(h.talk.stopReplica)
		}
		for n := range uint32(count) {
			h.talk.change(func() { h.talk.users[100+n] = true })
			spec := h.task(fmt.Sprint("m", n), v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 100 + n})
			if want.first == nil {
				spec.EarlierUntil = time.Now()
			}
			h.submit(spec)
		}
		sentAgain := func() (n int) {
			for m := range count {
				if h.first(types.UID(fmt.Sprint("m", m))).Attempts > first {
					n++
				}
			}
			return n
		}
		advance(5 * time.Minute)
		if got := sentAgain(); got != want.again {
			h.t.Errorf("%d were sent again while reads may be old, want %d", got, want.again)
		}
		h.talk.change(func() { h.talk.replica = nil })
		for m := range count {
			h.await(types.UID(fmt.Sprint("m", m)), 10*time.Minute)
		}
		if got := sentAgain(); got != want.inAll {
			h.t.Errorf("%d were sent again in all, want %d", got, want.inAll)
		}
	})
}

// healthyWhile has reads answered by a replica that is up to date while f runs. Lists fail meanwhile, so that no search
// ends.
func (h *harness) healthyWhile(replica *talk, f func()) {
	h.talk.change(func() { h.talk.replica, h.talk.fails = nil, failing("list") })
	f()
	h.talk.change(func() { h.talk.replica, h.talk.fails = replica, nil })
}

// wantStale checks that m stays in doubt because reads are old, and that nothing was sent twice.
func (h *harness) wantStale(rows int) {
	h.t.Helper()
	advance(5 * time.Minute)
	if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyStale {
		h.t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
	}
	h.wantRows(rows)
}

// TestLaterRows: a replica that has stopped between an attempt and a later row is noticed, whatever else it shows.
func TestLaterRows(t *testing.T) {
	runEach(t, map[string]func(h *harness, replica *talk){
		"a row of a moment before": func(h *harness, replica *talk) {
			h.talk.replies = []reply{1: plain, 2: lostAfter}
			h.healthyWhile(replica, func() {
				h.deliverAll(toBob, "before")
				h.submit(h.task("m", toAlice))
				advance(100 * time.Millisecond)
				h.deliverAll(toGroup, "later")
			})
		},
		"a row that is shown, and was stored before the attempt was executed": func(h *harness, replica *talk) {
			h.talk.replies = []reply{1: {err: dbproxy.ErrConnectionLost}}
			spec := h.task("m", toAlice)
			h.submit(spec)
			m, _ := spec.message(recipientState{Progress: spec.Recipients[0]}, time.Now())
			advance(settle / 3)
			h.healthyWhile(replica, func() {
				h.deliverAll(toBob, "shown")
				h.talk.change(func() { replica.rows = slices.Clone(h.talk.rows) })
				advance(settle / 3)
				h.talk.change(func() { h.talk.keep(900, m, time.Now()) })
				h.deliverAll(toGroup, "later")
			})
		},
		"a row that is shown, and was acknowledged late": func(h *harness, replica *talk) {
			h.talk.replies = []reply{1: {store: true, takes: 4 * time.Second}, 2: lostAfter}
			h.submit(h.task("slow", toBob))
			h.talk.change(func() { replica.rows = slices.Clone(h.talk.rows) })
			advance(time.Second)
			h.submit(h.task("m", toAlice))
			advance(4 * time.Second)
			h.healthyWhile(replica, func() { h.deliverAll(toGroup, "later") })
		},
	}, func(h *harness, between func(*harness, *talk)) {
		h.deliverAll(toAlice, "a")
		advance(time.Minute)
		h.talk.change(h.talk.stopReplica)
		between(h, h.talk.replica)
		h.wantStale(4)
	})
}

// TestLaterRowIsFound: a row whose answer was lost counts once it was found.
func TestLaterRowIsFound(t *testing.T) {
	runEach(t, map[string]reply{
		"by a search":      {store: true, err: lostAfter.err},
		"by an early look": {store: true, takes: 9 * time.Second},
	}, func(h *harness, later reply) {
		h.deliverAll(toAlice, "a")
		advance(time.Minute)
		h.talk.lateAfter = time.Second
		h.talk.replies = []reply{1: lostAfter, 2: later}
		h.talk.change(h.talk.stopReplica)
		replica := h.talk.replica
		replica.fails = failing("list")
		h.submit(h.task("m", toAlice))
		advance(time.Second)
		h.talk.change(func() { h.talk.replica = nil })
		m := h.taskOf("m")
		m.mu.Lock()
		m.recipients[0].wakeAt = time.Now().Add(20 * time.Second) // its searches read the replica only
		m.mu.Unlock()
		h.submit(h.task("later", toBob))
		advance(10 * time.Second)
		wantProgress(h.t, h.first("later"), v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		h.talk.change(func() { h.talk.replica, replica.fails = replica, nil })
		h.wantStale(3)
	})
}

// TestKeyWhereRowsAreGone: what becomes of the rows of other messages ends no first send under a key.
func TestKeyWhereRowsAreGone(t *testing.T) {
	runEach(t, map[string]func(*talk){
		"the sender has left their group": func(f *talk) { f.groups[group] = []uint32{alice, bob} },
		"their group shows nobody":        func(f *talk) { f.groups[group] = nil },
		"they were deleted":               func(f *talk) { f.rows = f.rows[:1] },
		"their table cannot be read":      func(f *talk) { f.hide(toGroup) },
		"nothing was kept of the last one": func(f *talk) {
			f.rows = slices.DeleteFunc(f.rows, func(r stored) bool { return r.GetMsgId() == 103 })
		},
	}, func(h *harness, change func(*talk)) {
		began := time.Now()
		h.deliverAll(toAlice, "a")
		advance(time.Second)
		h.deliverAll(toGroup, "g")
		advance(time.Minute)
		h.deliverAll(toGroup, "last")
		advance(time.Minute)
		h.talk.change(func() { change(h.talk) })
		spec := h.keyed("k", "hello", toAlice)
		spec.EarlierUntil = began.Add(-time.Hour)
		h.submit(spec)
		wantProgress(h.t, h.await("k", InDoubtLimit).Recipients[0], v1alpha1.StateRouted, "")
	})
}

// TestSlowStaleReads: a search whose reads are slow and old holds its conversation no longer than any other.
func TestSlowStaleReads(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		advance(time.Minute)
		h.talk.replies = []reply{1: {err: dbproxy.ErrConnectionLost}}
		began := time.Now()
		h.talk.change(h.talk.stopReplica)
		replica := h.talk.replica
		h.healthyWhile(replica, func() {
			h.submit(h.task("m", toAlice))
			advance(settle)
			for n := range 10 {
				advance(600 * time.Millisecond)
				h.submit(h.task(fmt.Sprint("b", n), toBob))
			}
		})
		h.submit(h.task("behind", toAlice))
		h.talk.change(func() {
			replica.fails = func(read string) error {
				if read == "byID" {
					replica.mu.Unlock()
					<-time.After(9 * time.Second)
					replica.mu.Lock()
				}
				return nil
			}
		})
		for h.first("behind").Attempts == 0 && time.Since(began) < time.Hour {
			advance(time.Second)
		}
		h.wantTook(began, 0, OrderGrace+2*clientTimeout)
		h.talk.change(func() { h.talk.replica = nil })
		advance(10 * time.Minute)
	})
}

// TestConstantTraffic: doubts end beside constant traffic, where a replica lags nearly as long as it may.
func TestConstantTraffic(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.talk.change(func() { h.talk.lag = lag - 100*time.Millisecond })
		h.talk.replies = []reply{1: {err: lostAfter.err}}
		h.submit(h.task("m", toAlice))
		other := h.task("other", toBob)
		p := recipientState{Progress: other.Recipients[0]}
		for n := range uint32(300) {
			advance(200 * time.Millisecond)
			m, _ := other.message(p, time.Now())
			h.talk.change(func() { h.talk.keep(1000+n, m, time.Now().Add(h.talk.lag)) })
			row := knownRow{1000 + n, m.CreateTime}
			h.known.noteStored(other.conversation(p), other.session(p), row, time.Now(), time.Now(), lag)
		}
		wantProgress(t, h.first("m"), v1alpha1.StateRouted, "")
	})
}

// TestLaterRowIsYoung: a replica that has stopped is noticed by a row that was stored less than the replica lag ago.
func TestLaterRowIsYoung(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.talk.replies = []reply{1: {store: true, err: lostAfter.err}}
		h.talk.change(func() { h.talk.stopReplica(); h.talk.replica.fails = failing("list") })
		h.submit(h.task("m", toAlice))
		advance(time.Minute)
		replica := h.talk.replica
		h.talk.change(func() { h.talk.replica = nil })
		h.deliverAll(toBob, "later")
		h.talk.change(func() { h.talk.replica, replica.fails = replica, nil })
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyStale {
			t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
	})
}

// TestStoreKeepsNothing: where db_proxy acknowledges messages and keeps none of them, each is sent again and arrives
// once as soon as rows are kept again.
func TestStoreKeepsNothing(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.talk.replies = []reply{1: falseSuccess, 2: falseSuccess, 3: falseSuccess, 4: falseSuccess}
		to := map[string]v1alpha1.Recipient{"x": toAlice, "y": toBob, "z": toGroup}
		for _, uid := range []string{"x", "y", "z"} {
			h.submit(h.task(uid, to[uid]))
			advance(time.Second)
		}
		for uid := range to {
			wantProgress(t, h.await(types.UID(uid), 5*time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		}
		h.wantRows(4)
	})
}

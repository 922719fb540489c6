// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// slow is answered after d.
func slow(d time.Duration) reply { return reply{store: true, takes: d} }

// texts returns the sent texts, in order.
func (h *harness) texts() []string {
	h.t.Helper()
	h.talk.mu.Lock()
	defer h.talk.mu.Unlock()
	var texts []string
	for _, s := range h.talk.sends {
		p, err := h.talk.keys.Current.Decrypt(s.Data)
		if err != nil {
			h.t.Fatal(err)
		}
		texts = append(texts, string(p.Text))
	}
	return texts
}

// record records the progress of a task, as a controller does.
func (h *harness) record(uid types.UID) { h.Ack(uid, h.snapshot(uid).Revision) }

func TestWaitsForConnection(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.down = true
		h.submit(h.task("m", toAlice))
		for range 3 {
			advance(time.Hour)
			wantProgress(t, h.first("m"), v1alpha1.StatePending, v1alpha1.ReasonServerNotReady)
		}
		if r := h.snapshot("m").Revision; r > 3 {
			t.Errorf("%d changes while nothing happened", r)
		}
		h.talk.change(func() { h.talk.down = false })
		h.wantEnd("m", time.Second, routed(1))
	})
}

// TestConnectionGoes loses the connection at each step, and gets it back.
func TestConnectionGoes(t *testing.T) {
	type loss struct {
		reply     reply
		down      string // the read before which it goes
		wantSends int
	}
	runEach(t, map[string]loss{
		"before the read-back":   {plain, "byID", 1},
		"before asking":          {lostAfter, "list", 1},
		"before the first proof": {lostBefore, "list", 2},
	}, func(h *harness, tc loss) {
		all(replying(tc.reply), downAt(tc.down))(h.talk)
		h.submit(h.task("m", toAlice))
		// However long it takes.
		advance(2 * InDoubtLimit)
		wantProgress(h.t, h.first("m"), v1alpha1.StateInDoubt, h.first("m").Reason)
		h.talk.change(func() { h.talk.down, h.talk.fails = false, nil })
		p := h.await("m", time.Minute).Recipients[0]
		if got := h.talk.counts(); !p.Delivered() || got.sends != tc.wantSends || got.rows != 1 {
			h.t.Errorf("%s %s, sent %d times, stored %d", p.State, p.Reason, got.sends, got.rows)
		}
	})
}

// takingNothing is connected but takes no request.
func takingNothing(f *talk) { f.fails = func(string) error { return errNotSent } }

// TestServerSwapped: a task goes on with the session that replaces its own.
func TestServerSwapped(t *testing.T) {
	runEach(t, map[string]func(*talk){
		"while not connected": disconnected,
		"while it takes none": takingNothing,
		"while it has no key": func(f *talk) { f.keys.Current = nil },
	}, func(h *harness, change func(*talk)) {
		change(h.talk)
		spec := h.task("m", toAlice)
		h.submit(spec)
		advance(time.Minute)
		wantProgress(h.t, h.first("m"), v1alpha1.StatePending, v1alpha1.ReasonServerNotReady)
		other := newTalk(h.t)
		spec.Server = other
		h.submit(spec)
		h.await("m", time.Second)
		h.wantCounts(0, 0, 0)
		h.talk = other
		h.wantEnd("m", 0, routed(1))
	})
}

// TestNoBusyLoop: what takes nothing is not pressed.
func TestNoBusyLoop(t *testing.T) {
	run(t, func(h *harness) {
		takingNothing(h.talk)
		h.submit(h.task("m", toAlice))
		advance(10 * time.Second)
		if r := h.snapshot("m").Revision; r > 700 {
			t.Errorf("%d changes in ten seconds", r)
		}
	})
}

func TestNotify(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = always(slow(300 * time.Millisecond))
		var to []v1alpha1.Recipient
		for id := range uint32(8) {
			h.talk.users[20+id] = true
			to = append(to, user(20+id))
		}
		// One after the other: they share no conversation, but their turns differ.
		for i := range to {
			h.talk.replies[i] = slow(time.Duration(i+1) * 700 * time.Millisecond)
		}
		h.submit(h.task("m", to...))
		h.await("m", time.Minute)
		advance(5 * time.Second)
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, at := range h.notes {
			last := i == len(h.notes)-1
			if i > 0 && !last && at.Sub(h.notes[i-1]) < progressInterval {
				t.Errorf("notified at %v, after %v", at, h.notes[i-1])
			}
		}
		if n := len(h.notes); n < 5 || n > 7 {
			t.Errorf("%d notifications in 5.6 s", n)
		}
	})
}

// TestDue: progress is due from its report until it is recorded, although more follows meanwhile. Of many recipients, it
// is not due the first time, and then it is at longer intervals.
func TestDue(t *testing.T) {
	runEach(t, map[string]struct {
		users uint32
		first time.Duration
	}{
		"few":  {5, progressInterval},
		"many": {300, 2*progressInterval + 300*progressPerRecipient},
	}, func(h *harness, tc struct {
		users uint32
		first time.Duration
	},
	) {
		var to []v1alpha1.Recipient
		for id := range tc.users {
			h.talk.users[20+id] = true
			to = append(to, user(20+id))
			h.talk.replies = append(h.talk.replies, slow(time.Duration(id+1)*700*time.Millisecond))
		}
		h.submit(h.task("m", to...))
		wantDue := func(want bool) {
			h.t.Helper()
			if s := h.snapshot("m"); s.Due != want || !s.Running {
				h.t.Errorf("due: %v, running: %v", s.Due, s.Running)
			}
		}
		advance(progressInterval - 100*time.Millisecond)
		wantDue(false)
		advance(200 * time.Millisecond)
		if len(h.notes) != 1 {
			h.t.Errorf("%d notifications in the first second", len(h.notes))
		}
		wantDue(tc.first == progressInterval)
		advance(tc.first - progressInterval)
		wantDue(true)
		h.record("m")
		advance(500 * time.Millisecond)
		wantDue(false)
		advance(tc.first)
		wantDue(true)
	})
}

// TestNotifyOfNothing: recorded progress is not reported again while the task runs.
func TestNotifyOfNothing(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.down = true
		h.submit(h.task("m", toAlice))
		h.record("m")
		h.Ack("unknown", 7)
		advance(time.Minute)
		if len(h.notes) != 0 {
			t.Errorf("notified at %v", h.notes)
		}
	})
}

func TestUnknown(t *testing.T) {
	run(t, func(h *harness) {
		if _, ok := h.Snapshot("nobody"); ok {
			t.Error("progress of nobody")
		}
		h.Stop("nobody")
		h.Forget("nobody")
		h.Sync(Object{Key: types.NamespacedName{Name: "nobody"}})
		if _, err := h.Drain(h.t.Context()); err != nil {
			t.Errorf("Drain: %v", err)
		}
		if _, ok := h.Submit(h.task("m", toAlice)); ok {
			t.Error("taken on while draining")
		}
		if h.Knows("m") {
			t.Error("known although refused")
		}
	})
}

func TestForget(t *testing.T) {
	type forget struct {
		do        func(*harness)
		wantKnown bool
	}
	sync := func(name string, o Object) func(*harness) {
		return func(h *harness) {
			o.Key = h.task(name).Key
			h.Sync(o)
		}
	}
	runEach(t, map[string]forget{
		"by uid":                     {func(h *harness) { h.Forget("m") }, false},
		"gone":                       {sync("m", Object{}), false},
		"another of its name":        {sync("m", Object{UID: "n"}), false},
		"itself":                     {sync("m", Object{UID: "m"}), true},
		"finished":                   {sync("m", Object{UID: "m", ResourceVersion: "1", Finished: true}), false},
		"another name":               {sync("n", Object{}), true},
		"another one, long replaced": {func(h *harness) { h.Forget("n") }, true},
	}, func(h *harness, tc forget) {
		h.talk.replies = []reply{slow(time.Second)}
		h.submit(h.task("m", toAlice))
		tc.do(h)
		if known := h.Knows("m"); known != tc.wantKnown {
			h.t.Errorf("known: %v", known)
		}
		// What is in flight comes to its end anyway.
		advance(2 * time.Second)
		h.wantCounts(1, 1, 1)
	})
}

// TestForgetLeavesSuccessor: forgetting an object leaves the one that took its name alone.
func TestForgetLeavesSuccessor(t *testing.T) {
	run(t, func(h *harness) {
		h.submit(h.task("m", toAlice))
		second := h.task("m", toAlice)
		second.UID = "m2"
		h.submit(second)
		h.Forget("m")
		h.Sync(Object{Key: second.Key, UID: "m2"})
		if !h.Knows("m2") {
			t.Error("m2 is forgotten")
		}
		h.Sync(Object{Key: second.Key})
		if h.Knows("m2") {
			t.Error("m2 is still known")
		}
	})
}

func TestStartEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{t: t, talk: newTalk(t), Engine: NewEngine(func(types.NamespacedName) {})}
		h.SetAddresses(types.NamespacedName{}, []string{"db"})
		h.talk.replies = always(slow(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Start(ctx) }()
		h.submit(h.task("m", toAlice, user(bob)))
		h.submit(h.task("n", toAlice))
		began := time.Now()
		cancel()
		if err := <-ended; err != nil || time.Since(began) != 0 {
			t.Errorf("ended after %v: %v", time.Since(began), err)
		}
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		wantProgress(t, h.first("n"), v1alpha1.StatePending, "")
		if _, ok := h.Submit(h.task("o", toAlice)); ok {
			t.Error("taken on after the end")
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain with unrecorded progress: %v", err)
		}
	})
}

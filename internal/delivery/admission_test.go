// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
)

// name is a message's, or a server's.
func name(s string) types.NamespacedName { return types.NamespacedName{Namespace: "chat", Name: s} }

// leaveTwoSlots takes all slots but two, and has the engine record its notifications.
func (h *harness) leaveTwoSlots() (notified func() []types.NamespacedName) {
	h.Queue.Submit(queue.Submission{
		UID: "others", Flow: queue.FlowOf(name("others"), types.NamespacedName{}),
		Conversations: make([]queue.Conversation, 3000-2), Wake: func(int) {},
	})
	var all []types.NamespacedName
	h.notify = func(key types.NamespacedName) {
		h.mu.Lock()
		defer h.mu.Unlock()
		all = append(all, key)
	}
	return func() []types.NamespacedName {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Clone(all)
	}
}

// admit asks for n slots of a server.
func (h *harness) admit(server, message string, n int) bool {
	h.Queue.Add(queue.Message{Key: name(message), UID: types.UID(message), Order: queue.Order{Name: message}})
	return h.Queue.Admit(types.UID(message), types.NamespacedName{Name: server}, n)
}

// TestAdmission: a message that is not admitted is notified when there are slots.
func TestAdmission(t *testing.T) {
	run(t, func(h *harness) {
		notified := h.leaveTwoSlots()
		h.talk.down = true
		h.submit(h.task("full", toAlice, user(bob)))
		if h.admit("", "next", 1) {
			t.Error("one is admitted beyond the limit")
		}
		if !h.admit("another server", "else", 5) {
			t.Error("another server's is not admitted")
		}
		h.Queue.Done("else")
		advance(time.Hour)
		if h.admit("", "next", 1) {
			t.Error("db_proxy is away, and others are admitted")
		}
		h.talk.change(func() { h.talk.down = false })
		wantProgress(t, h.await("full", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		if !slices.Contains(notified(), name("next")) {
			t.Errorf("it is not notified, but %v", notified())
		}
		if !h.admit("", "next", 1) {
			t.Error("it is notified, and not admitted")
		}
	})
}

// TestAdmissionWhileOthersWait: what only waits, for a router or in doubt, keeps no other from being sent.
func TestAdmissionWhileOthersWait(t *testing.T) {
	type waits struct {
		fails    func(*talk)
		noVerify bool
	}
	runEach(t, map[string]waits{
		"no router":               {fails: noRouter},
		"no router, not verified": {fails: noRouter, noVerify: true},
		"in doubt":                {fails: all(replying(lostBefore, lostBefore), unreadable("list"))},
	}, func(h *harness, tc waits) {
		h.leaveTwoSlots()
		tc.fails(h.talk)
		full := h.task("full", toAlice, user(bob))
		full.Policy.Verify = !tc.noVerify
		h.submit(full)
		for began := time.Now(); !h.admit("", "next", 1); advance(time.Second) {
			if time.Since(began) > 2*OrderGrace {
				h.t.Fatalf("not admitted after %s", time.Since(began))
			}
		}
	})
}

// TestAdmissionWhileDraining: no message is notified or taken on any more.
func TestAdmissionWhileDraining(t *testing.T) {
	run(t, func(h *harness) {
		notified := h.leaveTwoSlots()
		h.talk.down = true
		h.submit(h.task("full", toAlice, user(bob)))
		for _, message := range []string{"a", "b", "c"} {
			h.admit("", message, 1)
		}
		ended := h.drain(context.Background())
		advance(time.Minute)
		for _, key := range notified() {
			if key != name("full") {
				t.Errorf("%s is notified", key)
			}
		}
		if _, ok := h.Submit(h.task("new", toAlice)); ok {
			t.Error("one is taken on")
		}
		h.endsWith(ended, "full")
	})
}

// TestTrackReconcile: once an engine drains, nothing is recorded of messages that it does not
// know; and it has not drained before what was being recorded is.
func TestTrackReconcile(t *testing.T) {
	run(t, func(h *harness) {
		leave, ok := h.TrackReconcile("unknown")
		if !ok {
			t.Fatal("not at work")
		}
		h.talk.down = true
		h.submit(h.task("known", toAlice))
		ended := h.drain(context.Background())
		advance(time.Minute)
		h.record("known")
		if _, ok := h.TrackReconcile("unknown"); ok {
			t.Error("it may be recorded")
		}
		known, ok := h.TrackReconcile("known")
		if !ok {
			t.Fatal("it may not be recorded")
		}
		for _, leave := range []func(){leave, known} {
			h.notEnded(ended)
			leave()
			advance(time.Second)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

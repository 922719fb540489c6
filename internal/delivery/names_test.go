// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

func userNamed(name string) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: name}
}

func groupNamed(name string) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, Name: name}
}

// names asks for names of a message, and lets everything happen that it brings.
func (h *harness) names(message string, names ...v1alpha1.Recipient) NameAnswer {
	h.t.Helper()
	answer := h.ResolveNames(NameQuery{
		Requester: requester(message), Wake: h.noteOf(message), Server: h.talk, Sender: bot, ReplicaLag: lag, Names: names,
	})
	synctest.Wait()
	return answer
}

func requester(message string) NameRequester {
	return NameRequester{NamespacedName: types.NamespacedName{Namespace: "chat", Name: message}}
}

// noteOf returns what notes that a message was woken.
func (h *harness) noteOf(message string) func() {
	return func() { h.notify(requester(message).NamespacedName) }
}

// wantName checks the result for one name. An empty reason: it has the id.
func (h *harness) wantName(message string, name v1alpha1.Recipient, id uint32, reason string, final bool) {
	h.t.Helper()
	answer := h.names(message, name)
	if len(answer.Results) != 1 {
		h.t.Fatalf("%+v: nothing is known, %+v", name, answer.Waiting)
	}
	if r := answer.Results[0]; r.ID != id || r.Cause.Reason != reason || r.Final != final {
		h.t.Errorf("%+v: %+v, want %d, %q, final %v", name, r, id, reason, final)
	}
}

// wantReads checks how often all users were read.
func (h *harness) wantReads(n int) {
	h.t.Helper()
	h.talk.mu.Lock()
	defer h.talk.mu.Unlock()
	if got := h.talk.reads["all users"]; got != n {
		h.t.Errorf("all users were read %d times, want %d", got, n)
	}
}

func withLogins(t *testing.T, do func(*harness)) {
	run(t, func(h *harness) {
		h.talk.logins = map[uint32]string{bot: "bot", alice: "alice", bob: "bob", 8: "Alice", 9: "two", 10: "two", 11: "gone"}
		h.talk.users[8], h.talk.users[11] = true, true
		h.talk.departed = map[uint32]bool{11: true}
		h.talk.groups[8], h.talk.groups[9], h.talk.groups[10] = []uint32{bot}, []uint32{bot, alice}, []uint32{alice}
		h.talk.groupNames = map[uint32]string{group: "oncall", 8: "two", 9: "two", 10: "closed"}
		do(h)
	})
}

// TestNames: matching is exact, and what two have is nobody's.
func TestNames(t *testing.T) {
	withLogins(t, func(h *harness) {
		if first := h.names("m", userNamed("alice"), groupNamed("oncall")); first.Results != nil || first.Waiting != nil {
			t.Errorf("before the first answer: %+v", first)
		}
		h.names("m", groupNamed("oncall"))
		h.wantName("m", userNamed("alice"), alice, "", false)
		h.wantName("m", userNamed("Alice"), 8, "", false)
		h.wantName("m", groupNamed("oncall"), group, "", false)
		h.wantName("m", userNamed("two"), 0, v1alpha1.ReasonRecipientAmbiguous, true)
		h.wantName("m", groupNamed("two"), 0, v1alpha1.ReasonRecipientAmbiguous, true)
		for _, name := range []string{"gone", "ALICE", "alic", "alicea", "alice ", "oncall"} {
			h.wantName("m", userNamed(name), 0, v1alpha1.ReasonRecipientNotFound, false)
		}
		for _, name := range []string{"closed", "alice", "OnCall"} {
			h.wantName("m", groupNamed(name), 0, v1alpha1.ReasonGroupNotFound, false)
		}
		h.wantReads(1)
	})
}

// TestNamesAbsent: a name is absent if it is so twice, at least the replica lag apart, and later than the message.
func TestNamesAbsent(t *testing.T) {
	withLogins(t, func(h *harness) {
		h.names("m", userNamed("carol"))
		h.wantName("m", userNamed("carol"), 0, v1alpha1.ReasonRecipientNotFound, false)
		advance(userNamesTTL - time.Second)
		h.wantName("m", userNamed("carol"), 0, v1alpha1.ReasonRecipientNotFound, false)
		advance(2 * time.Second)
		h.wantName("m", userNamed("carol"), 0, v1alpha1.ReasonRecipientNotFound, true)
		h.wantReads(2)
		// The user may have been added with this message, and the replica may lag.
		h.wantName("later", userNamed("dave"), 0, v1alpha1.ReasonRecipientNotFound, false)
		h.talk.change(func() { h.talk.logins[20] = "dave" })
		advance(userNamesTTL)
		h.wantName("later", userNamed("dave"), 20, "", false)
		h.wantReads(3)
		if len(h.notes) < 3 {
			t.Errorf("messages were woken %d times", len(h.notes))
		}
	})
}

// TestNamesOnce: all users are read once for 1,000 messages, and once a minute whatever is asked.
func TestNamesOnce(t *testing.T) {
	withLogins(t, func(h *harness) {
		ask := func() {
			for i := range 1000 {
				h.ResolveNames(NameQuery{
					Requester: requester(fmt.Sprint(i)), Wake: h.noteOf(fmt.Sprint(i)), Server: h.talk, Sender: uint32(1 + i%2),
					ReplicaLag: lag, Names: []v1alpha1.Recipient{userNamed("alice"), userNamed(fmt.Sprint("nobody", i))},
				})
			}
			advance(time.Millisecond)
		}
		h.talk.usersTake = time.Microsecond
		ask()
		if len(h.notes) != 1000 {
			t.Errorf("%d messages were woken, want 1000", len(h.notes))
		}
		for range 30 {
			ask()
			advance(time.Second)
		}
		h.wantReads(1)
		for range 5 * 60 {
			ask()
			advance(time.Second)
		}
		h.wantReads(6)
	})
}

// TestNamesOutage: an empty answer, or none, says nothing about a name.
func TestNamesOutage(t *testing.T) {
	tests := map[string]struct {
		name v1alpha1.Recipient
		// outage begins it and returns what ends it.
		outage func(*talk) (end func())
		want   string
	}{
		"no users": {userNamed("alice"), func(f *talk) func() {
			logins := f.logins
			f.logins = nil
			return func() { f.logins = logins }
		}, v1alpha1.ReasonNoAnswer},
		"no answer": {userNamed("alice"), func(f *talk) func() {
			f.fails = func(string) error { return dbproxy.ErrNoAnswer }
			return func() { f.fails = nil }
		}, v1alpha1.ReasonNoAnswer},
		"no connection": {userNamed("alice"), func(f *talk) func() {
			f.down = true
			return func() { f.down = false }
		}, v1alpha1.ReasonServerNotReady},
		"a group that is not shown": {groupNamed("oncall"), func(f *talk) func() {
			f.hiddenGroup = 8
			return func() { f.hiddenGroup = 0 }
		}, v1alpha1.ReasonNoAnswer},
		"neither groups nor users": {groupNamed("oncall"), func(f *talk) func() {
			groups, users := f.groups, f.users
			f.groups, f.users = nil, nil
			return func() { f.groups, f.users = groups, users }
		}, v1alpha1.ReasonNoAnswer},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			withLogins(t, func(h *harness) {
				var end func()
				h.talk.change(func() { end = tc.outage(h.talk) })
				h.names("m", tc.name)
				for range 200 {
					if a := h.names("m", tc.name); a.Results != nil || a.Waiting == nil || a.Waiting.Reason != tc.want {
						t.Fatalf("during the outage: %+v", a)
					}
					advance(time.Second)
				}
				h.talk.change(end)
				ended := time.Now()
				a := h.names("m", tc.name)
				for ; a.Results == nil && time.Since(ended) < userNamesTTL; a = h.names("m", tc.name) {
					advance(time.Second)
				}
				if len(a.Results) != 1 || a.Results[0].ID == 0 {
					t.Errorf("after the outage: %+v", a)
				}
			})
		})
	}
}

// TestNamesOfNoGroup: that a sender has no group is believed beside the sender.
func TestNamesOfNoGroup(t *testing.T) {
	withLogins(t, func(h *harness) {
		h.talk.change(func() { h.talk.groups = nil })
		h.names("m", groupNamed("oncall"))
		h.wantName("m", groupNamed("oncall"), 0, v1alpha1.ReasonGroupNotFound, false)
		advance(groupNamesTTL + time.Second)
		h.wantName("m", groupNamed("oncall"), 0, v1alpha1.ReasonGroupNotFound, true)
	})
}

// TestNamesDropped: what is not used any more is not held.
func TestNamesDropped(t *testing.T) {
	withLogins(t, func(h *harness) {
		h.names("m", userNamed("alice"))
		h.wantName("m", userNamed("alice"), alice, "", false)
		h.ForgetNames(requester("m"))
		advance(6 * userNamesTTL)
		if n := &h.Engine.names; len(n.views)+len(n.needs)+len(n.userReads) != 0 {
			t.Errorf("held: %v, %v, %v", n.views, n.needs, n.userReads)
		}
		h.wantReads(1)
	})
}

// TestDeparted: a user who has left gets nothing, though TeamTalk shows and would store it.
func TestDeparted(t *testing.T) {
	withLogins(t, func(h *harness) {
		spec := h.task("a", v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 11})
		p := h.deliver(spec, time.Minute, failed(v1alpha1.ReasonRecipientDeparted, 0))
		if p.Message == "" {
			t.Error("no message")
		}
	})
}

// TestNameTable bounds what the names of 20,000 users take, and of hostile ones.
func TestNameTable(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const users = 20_000
	before := heap()
	table := &nameTable{}
	table.Begin()
	for id := range uint32(users) {
		table.User(id+1, fmt.Appendf(nil, "first.last.%d", id+1))
	}
	if err := table.finish(); err != nil {
		t.Fatal(err)
	}
	if held := int64(heap()) - int64(before); held > 1<<20 {
		t.Errorf("%d bytes are held for %d users", held, users)
	}
	for _, id := range []uint32{1, 2, 777, users} {
		if got := table.find(fmt.Sprintf("first.last.%d", id)); !slices.Equal(got, []uint32{id}) {
			t.Errorf("%d: %v", id, got)
		}
	}
	hostile := &nameTable{}
	long := make([]byte, maxNameLen)
	for id := range uint32(100_000) {
		hostile.User(id+1, long)
	}
	if err := hostile.finish(); err == nil || len(hostile.names) > maxTableBytes {
		t.Errorf("a table of %d bytes: %v", len(hostile.names), err)
	}
}

func BenchmarkNameTable(b *testing.B) {
	names := make([][]byte, 20_000)
	for i := range names {
		names[i] = fmt.Appendf(nil, "first.last.%d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		table := &nameTable{}
		for i, name := range names {
			table.User(uint32(i+1), name)
		}
		if err := table.finish(); err != nil {
			b.Fatal(err)
		}
	}
}

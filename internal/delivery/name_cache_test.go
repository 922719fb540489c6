// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestNamesPaced: all users of a server are asked for once a minute at most, whatever becomes of a request, and
// whatever session asks. The status tells the cause for waiting.
func TestNamesPaced(t *testing.T) {
	type scenario struct {
		prepare func(*talk)
		// sessions: each reconcile is of another session.
		sessions bool
		want     string
		says     string
	}
	for name, tc := range map[string]scenario{
		"no answer": {
			prepare: func(f *talk) { f.fails = failing("all users") }, want: v1alpha1.ReasonNoAnswer, says: "once a minute",
		},
		"an answer that takes long": {
			prepare: func(f *talk) { f.fails, f.usersTake = failing("all users"), 20*time.Second },
			want:    v1alpha1.ReasonNoAnswer, says: "once a minute",
		},
		"no users": {
			prepare: func(f *talk) { f.logins = nil }, want: v1alpha1.ReasonNoAnswer, says: "once a minute",
		},
		"answers to other sessions": {
			sessions: true, want: v1alpha1.ReasonServerNotReady, says: "once a minute",
		},
		"no answer to other sessions": {
			prepare:  func(f *talk) { f.fails, f.usersTake = failing("all users"), 20*time.Second },
			sessions: true, want: v1alpha1.ReasonServerNotReady, says: "once a minute",
		},
	} {
		t.Run(name, func(t *testing.T) {
			withLogins(t, func(h *harness) {
				server := types.NamespacedName{Namespace: "chat", Name: "default"}
				sessions := []*talk{h.talk}
				if tc.prepare != nil {
					tc.prepare(h.talk)
				}
				says := map[string]bool{}
				for n := range 600 {
					session := h.talk
					if tc.sessions && n%7 == 0 {
						session = newTalk(t)
						session.logins, session.fails, session.usersTake = h.talk.logins, h.talk.fails, h.talk.usersTake
						sessions = append(sessions, session)
					}
					a := h.ResolveNames(NameQuery{
						Requester: requester(fmt.Sprint(n)), Wake: h.noteOf(fmt.Sprint(n)),
						Server: session, ServerKey: server, Sender: bot,
						ReplicaLag: lag, Names: []v1alpha1.Recipient{userNamed("nobody")},
					})
					if a.Waiting != nil && a.Waiting.Reason == tc.want {
						says[a.Waiting.Message] = true
					}
					advance(time.Second)
				}
				var at []time.Time
				for _, f := range sessions {
					f.mu.Lock()
					at = append(at, f.scans...)
					f.mu.Unlock()
				}
				slices.SortFunc(at, time.Time.Compare)
				for i := range at[1:] {
					if pause := at[i+1].Sub(at[i]); pause < time.Minute {
						t.Errorf("asked again after %v", pause)
					}
				}
				if len(at) < 6 {
					t.Errorf("asked %d times in 10 minutes", len(at))
				}
				if texts := slices.Collect(maps.Keys(says)); len(texts) != 1 || !strings.Contains(texts[0], tc.says) {
					t.Errorf("the status says %q", texts)
				}
			})
		})
	}
}

// TestNamesAfterOutage: what was not sent does not count.
func TestNamesAfterOutage(t *testing.T) {
	withLogins(t, func(h *harness) {
		h.talk.change(func() { h.talk.down = true })
		for range 10 {
			h.names("m", userNamed("alice"))
			advance(time.Second)
		}
		h.talk.change(func() { h.talk.down = false })
		advance(unsentNameBackoff.limit)
		h.names("m", userNamed("alice"))
		advance(unsentNameBackoff.limit)
		h.wantName("m", userNamed("alice"), alice, "", false)
	})
}

// TestNamesDeparted: who has left is not listed, and is found among the ids that are not listed.
func TestNamesDeparted(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare    func(*talk)
		want, says string
		wantFinal  bool
	}{
		"left": {func(*talk) {}, v1alpha1.ReasonRecipientDeparted, "user 11", true},
		"above the last one": {func(f *talk) {
			f.logins[150], f.users[150], f.departed[150] = "gone", true, true
			delete(f.departed, 11)
			delete(f.logins, 11)
		}, v1alpha1.ReasonRecipientDeparted, "user 150", true},
		"sparse ids": {func(f *talk) {
			for n := range uint32(60) {
				f.logins[1000*(n+1)] = "far"
			}
		}, v1alpha1.ReasonRecipientNotFound, "may have had it", true},
		"never there":     {func(f *talk) { delete(f.users, 11) }, v1alpha1.ReasonRecipientNotFound, "may have had it", true},
		"no answer":       {func(f *talk) { f.fails = failing("users") }, v1alpha1.ReasonRecipientNotFound, "may have had it", false},
		"an empty answer": {func(f *talk) { f.users = nil }, v1alpha1.ReasonRecipientNotFound, "may have had it", false},
	} {
		t.Run(name, func(t *testing.T) {
			withLogins(t, func(h *harness) {
				h.talk.change(func() { tc.prepare(h.talk) })
				h.names("m", userNamed("gone"))
				h.wantName("m", userNamed("gone"), 0, v1alpha1.ReasonRecipientNotFound, false)
				advance(userNamesTTL + time.Second)
				h.wantName("m", userNamed("gone"), 0, tc.want, tc.wantFinal)
				if a := h.names("m", userNamed("gone")); !strings.Contains(a.Results[0].Cause.Message, tc.says) {
					t.Errorf("%+v", a.Results[0])
				}
				h.wantName("m", userNamed("alice"), alice, "", false)
				// TeamTalk answers again.
				h.talk.change(func() { h.talk.fails, h.talk.users = nil, map[uint32]bool{bot: true, 11: true} })
				advance(userNamesTTL + time.Second)
				if tc.wantFinal {
					return
				}
				h.wantName("m", userNamed("gone"), 0, v1alpha1.ReasonRecipientDeparted, true)
			})
		})
	}
}

// TestNamesBesideSearch: a search for users who have left delays no other name.
func TestNamesBesideSearch(t *testing.T) {
	const search = 10 * time.Second
	withLogins(t, func(h *harness) {
		h.names("m", userNamed("gone"))
		h.wantName("m", userNamed("gone"), 0, v1alpha1.ReasonRecipientNotFound, false)
		h.talk.change(func() {
			h.talk.fails = func(read string) error {
				if read == "users" {
					<-elapsed(search)
				}
				return nil
			}
		})
		advance(userNamesTTL + time.Second)
		h.wantName("other", userNamed("alice"), alice, "", false)
		h.wantName("m", userNamed("gone"), 0, v1alpha1.ReasonRecipientNotFound, false)
		before := h.noted()
		advance(2 * search) // it takes two requests
		if n := h.noted() - before; n != 1 {
			t.Errorf("%d are woken by the end of the search, want 1", n)
		}
		h.wantName("m", userNamed("gone"), 0, v1alpha1.ReasonRecipientDeparted, true)
	})
}

// noted returns how often messages were woken.
func (h *harness) noted() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.notes)
}

// TestUnlisted: the ids that are asked for are those that are not listed, as long as they are not too many.
func TestUnlisted(t *testing.T) {
	table := func(ids ...uint32) *nameTable {
		n := &nameTable{}
		for _, id := range ids {
			n.add(id, []byte("x"))
		}
		return n
	}
	ids, ok := table(5, 2, 2, 7).unlisted()
	if !ok || len(ids) != 4+besideListed || !slices.Equal(ids[:6], []uint32{1, 3, 4, 6, 8, 9}) {
		t.Errorf("%v %v", ids, ok)
	}
	if ids, ok := table(1<<32-1, 1).unlisted(); !ok || len(ids) != 2*besideListed || ids[0] != 2 || ids[2*besideListed-1] != 1<<32-2 {
		t.Errorf("%d ids, %v", len(ids), ok)
	}
	var sparse []uint32
	for len(sparse) < 60 {
		sparse = append(sparse, uint32(1000*(len(sparse)+1)))
	}
	if ids, ok := table(sparse[:20]...).unlisted(); !ok || len(ids) != 40*besideListed {
		t.Errorf("%d ids, %v", len(ids), ok)
	}
	if ids, ok := table(sparse...).unlisted(); ok {
		t.Errorf("%d ids", len(ids))
	}
}

// TestNamesMemory: at most 10 MB are held, however many users there are, also while they are read again.
func TestNamesMemory(t *testing.T) {
	const limit = 10_000_000
	withLogins(t, func(h *harness) {
		const users = 140_000
		h.talk.logins = make(map[uint32]string, users)
		for id := range uint32(users) {
			h.talk.logins[id+1] = fmt.Sprintf("user.name.%d", id+1)
		}
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before, most := heap(), int64(0)
		h.talk.scanned = func() { most = max(most, heap()-before) }
		for range 4 {
			h.names("m", userNamed("nobody"))
			if a := h.names("m", userNamed("user.name.1"), userNamed("nobody")); len(a.Results) != 2 || a.Results[0].ID != 1 {
				t.Fatalf("%+v", a)
			}
			h.talk.change(h.talk.scanned)
			advance(userNamesTTL + time.Second)
		}
		if h.wantReads(4); most > limit {
			t.Errorf("%d bytes are held", most)
		}
	})
}

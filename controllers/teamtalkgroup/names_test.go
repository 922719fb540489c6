// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/fakechat"
)

func named(names ...string) func(*v1alpha1.TeamTalkGroup) {
	return func(g *v1alpha1.TeamTalkGroup) { g.Spec.Members = v1alpha1.GroupMembers{UserNames: names} }
}

// withNames has users have login names.
func withNames(w *world) { w.talk.Names = map[uint32]string{bot: "bot", alice: "alice", bob: "bob"} }

// awaitNames reconciles when names are known, and after a second look at them.
func (w *world) awaitNames() {
	w.Helper()
	for range 2 {
		w.reconcile()
		synctest.Wait()
		w.reconcile()
		<-time.After(time.Minute)
		synctest.Wait()
	}
	w.reconcile()
}

// wantNames checks the ids of the names that the status shows.
func (w *world) wantNames(want ...v1alpha1.MemberName) {
	w.Helper()
	if got := w.get().Status.MemberNames; !slices.Equal(got, want) {
		w.Errorf("names %+v, want %+v", got, want)
	}
}

// TestNames: the ids of names are recorded before the group is created or changed, and are not looked up again while
// the names are listed.
func TestNames(t *testing.T) {
	run(t, func(w *world) {
		withNames(w)
		w.talk.OnChange = func() {
			if len(w.get().Status.MemberNames) != len(w.get().Spec.Members.UserNames) {
				w.Errorf("not recorded: %+v", w.get().Status)
			}
		}
		if w.reconcile(); w.talk.Created != 0 || len(w.get().Status.Conditions) != 0 {
			w.Errorf("created without an id: %+v", w.get().Status)
		}
		w.awaitNames()
		w.wantReady(v1alpha1.ReasonReady, "", "")
		w.wantMembers(bot, alice)
		w.wantNames(v1alpha1.MemberName{Name: "alice", ID: alice})

		// Looked up again, the name would be Bob's, for this process and another one.
		w.talk.Names = map[uint32]string{alice: "former", bob: "alice"}
		w.awaitNames()
		w.restart()
		w.awaitNames()
		w.wantMembers(bot, alice)
		w.edit(named("alice", "former"))
		w.awaitNames()
		w.wantMembers(bot, alice)

		w.edit(named("former"))
		w.awaitNames()
		w.wantNames(v1alpha1.MemberName{Name: "former", ID: alice})
		w.edit(named("former", "alice"))
		w.awaitNames()
		w.wantMembers(bot, alice, bob)
	}, named("alice"))
}

// TestNamesRefused: a name without an id changes nothing, and says why. Refused names are looked up again.
func TestNamesRefused(t *testing.T) {
	tests := map[string]struct {
		names []string
		talk  func(*fakechat.TeamTalk)
		// open is the reason before the second look.
		open, want, part string
		fix              func(*fakechat.TeamTalk)
	}{
		"unknown": {
			names: []string{"carol", "alice", "dave"}, open: v1alpha1.ReasonNoAnswer, want: v1alpha1.ReasonRecipientNotFound,
			part: `nothing is changed: no user has the login name "carol"; a user who has left may have had it (1 more names`,
			fix:  func(f *fakechat.TeamTalk) { f.Users[9], f.Users[10], f.Names[9], f.Names[10] = 0, 0, "carol", "dave" },
		},
		"who has left": {
			names: []string{"bob"}, talk: func(f *fakechat.TeamTalk) { f.Users[bob] = wire.UserStatusDeparted },
			open: v1alpha1.ReasonNoAnswer, want: v1alpha1.ReasonRecipientDeparted, part: `"bob"`,
			fix: func(f *fakechat.TeamTalk) { f.Users[bob] = 0 },
		},
		"two": {
			names: []string{"alice", "two"}, talk: func(f *fakechat.TeamTalk) { f.Names[bob], f.Names[bot] = "two", "two" },
			open: v1alpha1.ReasonRecipientAmbiguous, want: v1alpha1.ReasonRecipientAmbiguous,
			part: `users 1 and 4 have the name "two": list the id in users instead`,
			fix:  func(f *fakechat.TeamTalk) { f.Names[bot] = "bot" },
		},
		"an outage": {
			names: []string{"alice"}, talk: func(f *fakechat.TeamTalk) { f.Names = nil },
			open: v1alpha1.ReasonNoAnswer, want: v1alpha1.ReasonNoAnswer, part: "its database may be down", fix: func(f *fakechat.TeamTalk) {
				f.Names = map[uint32]string{alice: "alice"}
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				withNames(w)
				if tc.talk != nil {
					w.talk.Edit(tc.talk)
				}
				w.reconcile()
				synctest.Wait()
				w.reconcile()
				beside := stalled
				if tc.open == v1alpha1.ReasonNoAnswer {
					beside = reconciling
				}
				w.wantReady(tc.open, "", beside)
				w.awaitNames()
				if tc.want == v1alpha1.ReasonNoAnswer {
					beside = reconciling
				} else {
					beside = stalled
				}
				w.wantReady(tc.want, tc.part, beside)
				since := w.get().Status.Conditions[0].LastTransitionTime
				<-time.After(refusedInterval)
				w.awaitNames()
				w.wantReady(tc.want, tc.part, beside)
				if now := w.get().Status.Conditions[0].LastTransitionTime; now != since || w.talk.Created != 0 {
					w.Errorf("the status has changed at %v, or %d groups were created", now, w.talk.Created)
				}
				w.talk.Edit(tc.fix)
				<-time.After(refusedInterval)
				w.awaitNames()
				w.wantReady(v1alpha1.ReasonReady, "", "")
			}, named(tc.names...))
		})
	}
}

// TestNamesLookedUpAnew: a user who was added after the last look, and before the name was listed, is found.
func TestNamesLookedUpAnew(t *testing.T) {
	run(t, func(w *world) {
		withNames(w)
		w.awaitNames()
		w.wantReady(v1alpha1.ReasonRecipientNotFound, "carol", stalled)
		w.reconcile()
		synctest.Wait()
		w.talk.Users[9], w.talk.Names[9] = 0, "dave"
		w.edit(named("dave"))
		w.reconcile()
		w.wantReady(v1alpha1.ReasonNoAnswer, "dave", reconciling)
		w.awaitNames()
		w.wantMembers(bot, 9)
	}, named("carol"))
}

// TestNamesPermitted: the rules of the server are about the ids of names.
func TestNamesPermitted(t *testing.T) {
	run(t, func(w *world) {
		withNames(w)
		server := &v1alpha1.TeamTalkServer{}
		if err := w.api.Get(w.Context(), w.get().ServerKey(), server); err != nil {
			w.Fatal(err)
		}
		server.Spec.Recipients = &v1alpha1.RecipientRules{Deny: v1alpha1.RecipientIDs{Users: []v1alpha1.UserID{bob}}}
		if err := w.api.Update(w.Context(), server); err != nil {
			w.Fatal(err)
		}
		w.awaitNames()
		w.wantReady(v1alpha1.ReasonRecipientNotPermitted, "user 4", stalled)
		if w.talk.Created != 0 {
			w.Error("it was created")
		}
	}, named("alice", "bob"))
}

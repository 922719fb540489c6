// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/fakechat"
)

const reconciling, stalled = v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled

// TestRecordedFirst: an attempt to create a group is in the status before it is made, or is not made.
func TestRecordedFirst(t *testing.T) {
	run(t, func(w *world) {
		w.talk.OnChange = func() {
			if a := w.get().Status.CreateAttempt; a == nil || a.SenderID != bot || a.ServerUID != "s1" || a.Time.IsZero() {
				w.Errorf("recorded is %+v", a)
			}
		}
		w.refuse = func(*v1alpha1.TeamTalkGroup) error { return errRefused }
		if _, err := w.operator.Reconcile(w.Context(), requestOf(w)); err == nil || w.talk.Created != 0 {
			w.Errorf("%v, and %d attempts", err, w.talk.Created)
		}
		w.refuse = nil
		if after := w.reconcile(); after != driftInterval {
			w.Errorf("looked at again after %v", after)
		}
		w.wantReady(v1alpha1.ReasonReady, "has the declared members", "")
		w.wantMembers(bot, alice)
		if g := w.get(); g.Status.CreateAttempt != nil || *g.Status.Members != 2 {
			w.Errorf("status %+v", g.Status)
		}
	})
}

// TestStatusOfAnEarlierLeader: a group does not wait for an event of the server if its status says connected although
// this process is not connected yet.
func TestStatusOfAnEarlierLeader(t *testing.T) {
	for name, tc := range map[string]struct {
		status metav1.ConditionStatus
		want   time.Duration
	}{
		"not connected": {status: metav1.ConditionFalse, want: driftInterval},
		"connected":     {status: metav1.ConditionTrue, want: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				server := &v1alpha1.TeamTalkServer{}
				if err := w.api.Get(w.Context(), types.NamespacedName{Namespace: "team", Name: "default"}, server); err != nil {
					w.Fatal(err)
				}
				server.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDBProxyConnected, Status: tc.status}}
				if err := w.api.Update(w.Context(), server); err != nil {
					w.Fatal(err)
				}
				w.talk.Down = true
				if after := w.reconcile(); after <= 0 || after > tc.want || tc.status == metav1.ConditionFalse && after < tc.want {
					w.Errorf("looked at again after %v, want %v", after, tc.want)
				}
				w.wantReady(v1alpha1.ReasonServerNotReady, "is not connected to db_proxy", reconciling)
			})
		})
	}
}

// TestCreatedOnce: after an attempt with an unknown outcome the group is looked for, until its absence is proved.
func TestCreatedOnce(t *testing.T) {
	noAnswer := dbproxy.ErrNoAnswer
	tests := map[string]struct {
		outcome fakechat.Outcome
		lag     time.Duration
		// killed: another operator goes on after the attempt.
		killed bool
		// within is how long it takes until the group is ready.
		within time.Duration
	}{
		"executed":                        {outcome: fakechat.Outcome{Err: noAnswer}, within: settled + time.Second},
		"executed, and shown late":        {outcome: fakechat.Outcome{Err: noAnswer}, lag: lag * time.Second, within: settled + time.Second},
		"executed late":                   {outcome: fakechat.Outcome{Err: dbproxy.ErrConnectionLost, Later: settle * time.Second}, within: settled + time.Second},
		"not executed":                    {outcome: fakechat.Outcome{Err: noAnswer, Lost: true}, within: settled + 2*time.Second},
		"not sent":                        {outcome: fakechat.Outcome{Err: fakechat.ErrNotSent, Lost: true}, within: 5 * time.Second},
		"killed, executed":                {outcome: fakechat.Outcome{}, killed: true, within: time.Second},
		"killed, executed late":           {outcome: fakechat.Outcome{Later: delivery.PeerPatience}, killed: true, within: delivery.PeerPatience + settled + time.Second},
		"killed, not executed":            {outcome: fakechat.Outcome{Lost: true}, killed: true, within: delivery.PeerPatience + settled + 2*time.Second},
		"killed, executed and shown late": {lag: lag * time.Second, killed: true, within: delivery.PeerPatience + settled + time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.talk.Outcomes, w.talk.Lag = []fakechat.Outcome{tc.outcome}, tc.lag
				if tc.killed {
					w.refuse = func(g *v1alpha1.TeamTalkGroup) error {
						if g.Status.GroupID != nil || w.talk.Created > 0 {
							return errRefused
						}
						return nil
					}
					_, _ = w.operator.Reconcile(w.Context(), requestOf(w))
					w.refuse = nil
					w.restart()
				}
				w.reconcile()
				w.within(tc.within) // something else wakes it at once
				w.reconcile()
				w.wantReady(v1alpha1.ReasonReady, "", "")
				w.wantMembers(bot, alice)
			})
		})
	}
}

// TestCreatedElsewhere: after an attempt without an answer, the group is looked for where the attempt was made: among the
// groups of its sender, and in the TeamTalk of its server.
func TestCreatedElsewhere(t *testing.T) {
	tests := map[string]struct {
		outcome fakechat.Outcome
		// known: another group of the server's resources is.
		known  bool
		change func(*v1alpha1.TeamTalkServer)
		want   string
		// groups is how many there are in the end, of the resource.
		groups int
	}{
		"another sender":                   {change: asBob, want: v1alpha1.ReasonReady, groups: 1},
		"another sender, with known group": {known: true, change: asBob, want: v1alpha1.ReasonReady, groups: 1},
		"another sender, not executed":     {outcome: fakechat.Outcome{Lost: true}, change: asBob, want: v1alpha1.ReasonReady, groups: 1},
		"another server, not executed": {
			outcome: fakechat.Outcome{Lost: true}, change: replaced, want: v1alpha1.ReasonOutcomeUnknown,
		},
		"another server that shows less than is known": {
			outcome: fakechat.Outcome{Lost: true}, known: true, change: replaced, want: v1alpha1.ReasonNoAnswer,
		},
		"another server of the same TeamTalk": {change: replaced, want: v1alpha1.ReasonReady, groups: 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				if tc.known {
					other := w.group(func(g *v1alpha1.TeamTalkGroup) { g.Name, g.UID = "other", "u2" })
					other.Status.GroupID = new(v1alpha1.GroupID(6))
					setConditions(other, metav1.ConditionTrue, v1alpha1.Cause{Reason: v1alpha1.ReasonReady}, "")
					w.create(other)
					w.talk.Groups[6] = &fakechat.Group{Creator: bob, Members: []uint32{bot, bob}}
				}
				tc.outcome.Err = dbproxy.ErrNoAnswer
				w.talk.Outcomes = []fakechat.Outcome{tc.outcome}
				w.reconcile()
				w.wantReady(v1alpha1.ReasonNoAnswer, "not answered", reconciling)
				if tc.known {
					w.talk.Groups[6].Members = []uint32{bob} // as its resource has it now
				}
				server := &v1alpha1.TeamTalkServer{}
				if err := w.api.Get(w.Context(), w.get().ServerKey(), server); err != nil {
					w.Fatal(err)
				}
				if err := w.api.Delete(w.Context(), server); err != nil {
					w.Fatal(err)
				}
				tc.change(server)
				server.ResourceVersion = ""
				w.create(server)
				w.within(settled + time.Minute)
				created := 0
				for _, g := range w.talk.Groups {
					if w.get().IsMarked(g.Avatar) {
						created++
					}
				}
				beside := map[string]string{v1alpha1.ReasonOutcomeUnknown: stalled, v1alpha1.ReasonNoAnswer: reconciling}
				if w.wantReady(tc.want, "", beside[tc.want]); created != tc.groups {
					w.Errorf("created %d times, want %d", created, tc.groups)
				}
			})
		})
	}
}

func asBob(s *v1alpha1.TeamTalkServer)    { s.Spec.Senders.Default = bob }
func replaced(s *v1alpha1.TeamTalkServer) { s.UID = "s2" }

// TestDoubt: while TeamTalk does not show known groups, a group is not created.
func TestDoubt(t *testing.T) {
	run(t, func(w *world) {
		other := w.group(func(g *v1alpha1.TeamTalkGroup) { g.Name, g.UID = "other", "u2" })
		other.Status.GroupID = new(v1alpha1.GroupID(6))
		setConditions(other, metav1.ConditionTrue, v1alpha1.Cause{Reason: v1alpha1.ReasonReady}, "")
		if err := w.api.Create(w.Context(), other); err != nil {
			w.Fatal(err)
		}
		w.within(10 * time.Minute)
		w.wantReady(v1alpha1.ReasonNoAnswer, "group 6, which is known", reconciling)
		if w.talk.Created != 0 {
			w.Error("it was created")
		}
		w.talk.Groups[6] = &fakechat.Group{Creator: bot, Members: []uint32{bot}}
		w.within(2 * time.Minute)
		w.wantReady(v1alpha1.ReasonReady, "", "")
	})
}

// TestRefused: what a user has to fix is not retried on a short timer.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		edit       func(*v1alpha1.TeamTalkGroup)
		talk       func(*fakechat.TeamTalk)
		want, part string
	}{
		"refused":      {talk: func(f *fakechat.TeamTalk) { f.Outcomes = []fakechat.Outcome{{Lost: true, Err: dbproxy.ErrRefused}} }, want: v1alpha1.ReasonGroupCreateFailed},
		"unknown":      {edit: users(alice, 20, 21), want: v1alpha1.ReasonMembersNotFound, part: "left: 20, 21"},
		"many unknown": {edit: users(20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31), want: v1alpha1.ReasonMembersNotFound, part: "28, 29, and 2 more"},
		"who has left": {edit: users(alice, bob), talk: func(f *fakechat.TeamTalk) { f.Users[bob] = wire.UserStatusDeparted }, want: v1alpha1.ReasonMembersNotFound, part: "left: 4"},
		"no sender": {talk: func(f *fakechat.TeamTalk) {
			delete(f.Users, bot)
			f.Groups[7] = &fakechat.Group{Creator: bot, Members: []uint32{bot}}
		}, want: v1alpha1.ReasonSenderNotFound},
		"not listed":    {edit: func(g *v1alpha1.TeamTalkGroup) { adopted(g); *g.Spec.GroupID = 8 }, want: v1alpha1.ReasonGroupNotAdoptable, part: "spec.groups.adoptable"},
		"unknown group": {edit: adopted, want: v1alpha1.ReasonGroupNotAdoptable, part: "does not exist"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			edit := tc.edit
			if edit == nil {
				edit = func(*v1alpha1.TeamTalkGroup) {}
			}
			run(t, func(w *world) {
				if tc.talk != nil {
					tc.talk(w.talk)
				}
				w.within(settled + time.Second)
				w.wantReady(tc.want, tc.part, stalled)
				if after := w.reconcile(); tc.want != v1alpha1.ReasonGroupCreateFailed && after != refusedInterval {
					w.Errorf("looked at again after %v", after)
				}
				if made := w.talk.Created + len(w.talk.Changes); tc.want != v1alpha1.ReasonGroupCreateFailed && made != 0 {
					w.Errorf("%d changes were made", made)
				}
			}, edit)
		})
	}
}

// TestMembers: the members become the declared ones, whatever becomes of a change, and each change is announced.
func TestMembers(t *testing.T) {
	late := fakechat.Outcome{Err: dbproxy.ErrNoAnswer}
	tests := map[string]struct {
		edit     func(*v1alpha1.TeamTalkGroup)
		outcome  fakechat.Outcome
		noRouter bool
		want     []uint32
	}{
		"added":             {edit: users(alice, bob), want: []uint32{bot, alice, bob, 9}},
		"others removed":    {edit: func(g *v1alpha1.TeamTalkGroup) { g.Spec.MembersPolicy = v1alpha1.MembersExact }, want: []uint32{bot, alice}},
		"unanswered":        {edit: users(alice, bob), outcome: late, want: []uint32{bot, alice, bob, 9}},
		"lost":              {edit: users(alice, bob), outcome: fakechat.Outcome{Lost: true, Err: dbproxy.ErrConnectionLost}, want: []uint32{bot, alice, bob, 9}},
		"refused at first":  {edit: users(alice, bob), outcome: fakechat.Outcome{Lost: true, Err: dbproxy.ErrRefused}, want: []uint32{bot, alice, bob, 9}},
		"not sent at first": {edit: users(alice, bob), outcome: fakechat.Outcome{Lost: true, Err: fakechat.ErrNotSent}, want: []uint32{bot, alice, bob, 9}},
		"no router":         {edit: users(alice, bob), noRouter: true, want: []uint32{bot, alice, bob, 9}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.talk.Groups[7] = &fakechat.Group{Creator: 0, Members: []uint32{alice, 9}}
				w.reconcile()
				w.wantMembers(bot, alice, 9)
				before := len(w.talk.Announced)
				w.talk.Outcomes, w.talk.NoRouter = []fakechat.Outcome{{}, tc.outcome}, tc.noRouter
				w.edit(tc.edit)
				w.within(settled + 5*time.Second)
				w.wantReady(v1alpha1.ReasonReady, "group 7", "")
				w.wantMembers(tc.want...)
				if tc.noRouter {
					if after := w.reconcile(); after > announceInterval {
						w.Errorf("routers are tried again after %v", after)
					}
					w.talk.NoRouter = false
					w.reconcile()
				}
				if n := len(w.talk.Announced) - before; n != 1 {
					w.Errorf("announced %d times: %+v", n, w.talk.Announced)
				}
				for _, c := range w.talk.Changes {
					if c.By != systemUser {
						w.Errorf("changed by %d", c.By)
					}
				}
				changes := len(w.talk.Changes)
				if after := w.reconcile(); after != driftInterval || len(w.talk.Changes) != changes {
					w.Errorf("it is changed again, or looked at again after %v", after)
				}
			}, adopted)
		})
	}
}

// TestAnnouncedAfterKill: an operator announces the members after an earlier one was killed in a change.
func TestAnnouncedAfterKill(t *testing.T) {
	run(t, func(w *world) {
		w.talk.NoRouter = true
		w.refuse = func(*v1alpha1.TeamTalkGroup) error {
			if w.talk.Created > 0 {
				return errRefused
			}
			return nil
		}
		_, _ = w.operator.Reconcile(w.Context(), requestOf(w))
		w.refuse, w.talk.NoRouter = nil, false
		w.restart()
		w.reconcile()
		w.wantReady(v1alpha1.ReasonReady, "", "")
		if a := w.talk.Announced; len(a) != 1 || fmt.Sprint(a[0].Changed) != "[1 3]" {
			w.Errorf("announced %+v", a)
		}
	})
}

// TestFlushed: a group that is shown without members is not changed: its cache would then lack the others for good.
func TestFlushed(t *testing.T) {
	run(t, func(w *world) {
		w.talk.Groups[7], w.talk.Flushed = &fakechat.Group{Members: []uint32{9}}, true
		w.within(5 * time.Minute)
		w.wantReady(v1alpha1.ReasonNoAnswer, "without members", reconciling)
		if len(w.talk.Changes) != 0 {
			w.Errorf("changed %+v", w.talk.Changes)
		}
		w.talk.Flushed = false
		w.within(2 * time.Minute)
		w.wantMembers(bot, alice, 9)
	}, adopted)
}

// TestClaims: only the operator that has claimed the server manages its groups. Another one says so of a group that
// nobody takes up.
func TestClaims(t *testing.T) {
	run(t, func(w *world) {
		w.claims.lost = true
		if after := w.reconcile(); after > time.Minute || len(w.get().Status.Conditions) != 0 {
			w.Errorf("status %+v, looked at again after %v", w.get().Status, after)
		}
		w.claims.refused = &v1alpha1.Cause{Reason: v1alpha1.ReasonManagedByAnother, Message: "by the test"}
		if w.reconcile(); len(w.get().Status.Conditions) != 0 {
			w.Errorf("status %+v", w.get().Status)
		}
		w.within(unclaimedGrace + time.Second)
		w.wantReady(v1alpha1.ReasonManagedByAnother, "by the test", reconciling)
		w.claims.refused.Message = "recorded by the other operator"
		w.edit(users(bob))
		w.reconcile()
		if g := w.get(); g.Status.ObservedGeneration == g.Generation || w.talk.Created != 0 {
			w.Errorf("status %+v", g.Status)
		}
		w.claims.lost, w.claims.refused = false, nil
		w.reconcile()
		w.wantMembers(bot, bob)
	})
}

// TestDrained: a drain waits for requests in progress. After it nothing is done.
func TestDrained(t *testing.T) {
	run(t, func(w *world) {
		w.talk.OnChange = func() {
			drained := make(chan error, 1)
			go func() {
				_, err := w.operator.Engine.Drain(w.Context(), time.Minute)
				drained <- err
			}()
			select {
			case err := <-drained:
				w.Errorf("the drain did not wait: %v", err)
			case <-time.After(time.Second):
			}
			w.talk.OnChange = nil
		}
		w.reconcile()
		w.wantMembers(bot, alice)
		w.edit(users(bob))
		if after := w.reconcile(); after != 0 {
			w.Errorf("looked at again after %v", after)
		}
		w.wantMembers(bot, alice)
	})
}

// TestChanged: a notify of a router has the group of its server looked at.
func TestChanged(t *testing.T) {
	run(t, func(w *world) {
		w.reconcile()
		id := uint32(*w.get().Status.GroupID)
		server := types.NamespacedName{Namespace: "team", Name: "default"}
		for managed, want := range map[managedGroup]bool{
			{server, id}: true, {server, id + 1}: false, {types.NamespacedName{Name: "x"}, id}: false,
		} {
			if _, ok := w.operator.managed.Load(managed); ok != want {
				w.Errorf("%+v is managed: %t", managed, ok)
			}
		}
		if err := w.api.Delete(w.Context(), w.get()); err != nil {
			w.Fatal(err)
		}
		w.reconcile()
		if _, ok := w.operator.managed.Load(managedGroup{server, id}); ok {
			w.Error("the group of a resource that is gone is managed")
		}
		w.operator.Changed(server, id)
	})
}

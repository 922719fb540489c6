// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestFaults: with each fault of TeamTalk the message is in the store exactly once.
func TestFaults(t *testing.T) {
	t.Parallel()
	const sends, adopted = wire.CommandMsgData, v1alpha1.ReasonAdopted
	tests := map[string]struct {
		fault devserver.Fault
		// wantAttempts is how often it was sent; wantReason how it was delivered.
		wantAttempts int32
		wantReason   string
	}{
		"the answer is lost":                      {devserver.Fault{Kind: devserver.NoAnswer, Command: sends}, 1, adopted},
		"the connection ends after storing":       {devserver.Fault{Kind: devserver.CloseAfterStore, Command: sends}, 1, adopted},
		"the connection ends before storing":      {devserver.Fault{Kind: devserver.CloseBeforeStore, Command: sends}, 2, ""},
		"the counter fails and nothing is stored": {devserver.Fault{Kind: devserver.IDUnknown, Command: sends}, 2, ""},
		"the counter fails and it is stored":      {devserver.Fault{Kind: devserver.IDUnknown, Command: sends, Store: true}, 1, adopted},
		"success without storing":                 {devserver.Fault{Kind: devserver.FalseSuccess, Command: sends}, 2, ""},
		"answered with id 0":                      {devserver.Fault{Kind: devserver.IDZero, Command: sends}, 2, ""},
		"answered twice":                          {devserver.Fault{Kind: devserver.Repeat, Command: sends}, 1, ""},
		"db_proxy shuts down":                     {devserver.Fault{Kind: devserver.StopReceiving, Command: sends}, 1, ""},
		"the read-back comes back empty":          {devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandMsgByIDReq}, 1, ""},
		"the directory comes back empty":          {devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandUsersInfoReq}, 1, ""},
	}
	for name, tc := range tests {
		for _, group := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s (group: %t)", name, group), func(t *testing.T) {
				t.Parallel()
				x := newTenantWithTeamTalk(t)
				fault := tc.fault
				fault.Count = 1
				x.AddFault(fault)
				got := x.Deliver("m", "once", x.toOne(group))
				if n := x.TeamTalk.Faults().Fired(fault.Kind); n != 1 {
					t.Fatalf("the fault has fired %d times, want 1", n)
				}
				rows := x.Rows()
				if len(rows) != 1 || rows[0].Text != "once" || rows[0].Routed == 0 {
					t.Errorf("the store holds %+v", rows)
				}
				if r := got.Status.Recipients[0]; r.Attempts != tc.wantAttempts || r.Reason != tc.wantReason || r.State != v1alpha1.StateRouted {
					t.Errorf("recipient %+v, want %d attempts and reason %q", r, tc.wantAttempts, tc.wantReason)
				}
				x.checkDelivered(got)
				if tc.wantReason != "" {
					x.AwaitEvent("m", tc.wantReason)
				}
			})
		}
	}
}

// shown is what a recipient's status says.
type shown struct {
	state  v1alpha1.RecipientState
	reason string
}

func shownOf(r v1alpha1.RecipientStatus) shown { return shown{r.State, r.Reason} }

var inDoubt = shown{v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer}

// anyInDoubt reports whether a message may have been stored for a recipient.
func anyInDoubt(m *v1alpha1.TeamTalkMessage) bool {
	return slices.ContainsFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool { return shownOf(r) == inDoubt })
}

// TestBadLuck: what a message shows while TeamTalk goes on failing. In the end it is stored once.
func TestBadLuck(t *testing.T) {
	t.Parallel()
	const pending = v1alpha1.StatePending
	// Stored once, and the connection ends instead of the answer.
	unanswered := devserver.Fault{Kind: devserver.CloseAfterStore, Command: wire.CommandMsgData, Count: 1}
	tests := map[string]struct {
		faults []devserver.Fault
		// meanwhile is what is shown for as long as the last fault goes on firing.
		meanwhile shown
		// attempts is how many are made at least; sure: no other is.
		attempts int32
		sure     bool
		reason   string // of the end
	}{
		"db_proxy answers with id 0": {
			[]devserver.Fault{{Kind: devserver.IDZero}}, shown{pending, v1alpha1.ReasonStoreRejected}, 2, false, "",
		},
		"db_proxy answers with id 0xFFFFFFFF and stores nothing": {
			[]devserver.Fault{{Kind: devserver.IDUnknown}}, shown{pending, v1alpha1.ReasonNoAnswer}, 2, false, "",
		},
		"db_proxy answers with id 0xFFFFFFFF, and its database is down before anybody can ask": {
			[]devserver.Fault{{Kind: devserver.IDUnknown, Store: true, Count: 1}, {Kind: devserver.EmptyList, Skip: 1}},
			inDoubt, 1, true, v1alpha1.ReasonAdopted,
		},
		"db_proxy says yes and stores nothing": {
			[]devserver.Fault{{Kind: devserver.FalseSuccess}}, shown{pending, v1alpha1.ReasonNotStored}, 2, false, "",
		},
		"the database is down before anything was sent": {
			[]devserver.Fault{{Kind: devserver.EmptyList}}, shown{pending, v1alpha1.ReasonNoAnswer}, 1, true, "",
		},
		"the database is down with a message in doubt": {
			[]devserver.Fault{unanswered, {Kind: devserver.EmptyList, Skip: 1}}, inDoubt, 1, true, v1alpha1.ReasonAdopted,
		},
	}
	for name, tc := range tests {
		for _, group := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s (group: %t)", name, group), func(t *testing.T) {
				t.Parallel()
				x := newTenantWithTeamTalk(t)
				if group {
					x.speak(x.OnCall)
				}
				for _, f := range tc.faults {
					if f.Skip > 0 && group {
						f.Skip = 2 // the look at the directory takes two requests
					}
					x.AddFault(f)
				}
				m := x.Declare("m", "once", x.toOne(group))
				x.AwaitMessage(m, fmt.Sprintf("%+v", tc.meanwhile), func(m *v1alpha1.TeamTalkMessage) bool {
					return len(m.Status.Recipients) == 1 && shownOf(m.Status.Recipients[0]) == tc.meanwhile
				})
				x.goesOn(tc.faults[len(tc.faults)-1].Kind, tc.meanwhile.state)
				x.still(m, tc.meanwhile)
				x.TeamTalk.Faults().Clear()
				r := x.AwaitDelivered(m).Status.Recipients[0]
				if r.State != v1alpha1.StateRouted || r.Reason != tc.reason || r.Attempts < tc.attempts || tc.sure && r.Attempts > tc.attempts {
					t.Errorf("recipient %+v, want reason %q and %d attempts (sure: %t)", r, tc.reason, tc.attempts, tc.sure)
				}
				x.checkOnce("once")
			})
		}
	}
}

// How often a fault must have fired before the state is looked at again. A doubt is
// asked about after 100 ms, and then after twice the time before: so often shows
// that the operator went on after absence could have been proved. Anything else
// pauses for seconds between its tries.
const (
	asksInDoubt  = 8
	triesPending = 2
)

// goesOn waits until a fault has fired so often.
func (x *tenant) goesOn(kind devserver.FaultKind, state v1alpha1.RecipientState) {
	x.Helper()
	limit := triesPending
	if state == v1alpha1.StateInDoubt {
		limit = asksInDoubt
	}
	fired := func() int { return x.TeamTalk.Faults().Fired(kind) }
	x.EventuallySeen(func() string { return fmt.Sprintf("%s has fired %d times", kind, fired()) }, func() bool { return fired() >= limit })
}

// still checks that the message shows what it showed.
func (x *tenant) still(m *v1alpha1.TeamTalkMessage, want shown) {
	x.Helper()
	x.AwaitMessage(m, fmt.Sprintf("still %+v", want), func(m *v1alpha1.TeamTalkMessage) bool {
		if m.Finished() {
			x.Fatalf("finished: %+v", m.Status)
		}
		return shownOf(m.Status.Recipients[0]) == want
	})
}

// speak writes to a group as another user: it fills a flushed Redis, and shows that the answer is recent.
func (x *tenant) speak(group uint32) {
	x.Helper()
	ctx, cancel := context.WithCancel(x.Context())
	db := dbproxy.New(dbproxy.Options{Address: x.TeamTalk.DBProxyAddr(), Connections: 1})
	var running sync.WaitGroup
	running.Go(func() { db.Run(ctx) })
	x.Eventually("no connection to db_proxy", func() bool { return db.Connected() > 0 })
	_, err := db.Send(ctx, ctx, dbproxy.Message{
		From: x.Alice, To: group, CreateTime: uint32(time.Now().Unix()) - 1, Type: wire.MsgType_MSG_TYPE_GROUP_TEXT, Data: []byte("hello"),
	})
	cancel()
	running.Wait()
	x.Must(err)
}

// toOne is an edit of a message: to Alice, or to a group.
func (x *tenant) toOne(group bool) messageEdit {
	if group {
		return toGroups(x.OnCall)
	}
	return toUsers(x.Alice)
}

// TestCrashOnFirstMessage: a stock db_proxy crashes at the first message of each conversation.
func TestCrashOnFirstMessage(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.speak(x.OnCall)
	recipients := map[uint32]wire.SessionType{
		x.Alice: wire.SessionType_SESSION_TYPE_SINGLE, x.Bob: wire.SessionType_SESSION_TYPE_SINGLE, x.OnCall: wire.SessionType_SESSION_TYPE_GROUP,
	}
	for to, session := range recipients {
		x.AddFault(devserver.Fault{
			Kind: devserver.CloseBeforeStore, Command: wire.CommandMsgData, To: to, Session: session, Count: 1,
		})
	}
	m := x.Declare("m", "first", toUsers(x.Alice, x.Bob), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(x.OnCall)}
	})
	x.AwaitMessage(m, "in doubt", anyInDoubt)
	for _, r := range x.AwaitDelivered(m).Status.Recipients {
		// All connections end with each crash, and so one more attempt may be spent.
		if shownOf(r) != (shown{v1alpha1.StateRouted, ""}) && shownOf(r) != (shown{v1alpha1.StateRouted, v1alpha1.ReasonAdopted}) {
			t.Errorf("recipient %+v", r)
		}
	}
	if n := x.TeamTalk.Faults().Fired(devserver.CloseBeforeStore); n != len(recipients) {
		t.Errorf("db_proxy has crashed %d times, want %d", n, len(recipients))
	}
	x.CheckRows(len(recipients))
}

// deadlockGroups are more groups than a stock db_proxy serves at once.
const deadlockGroups = 40

// newDeadlockTenant has a TeamTalkServer with a bound on group requests, and a db_proxy that deadlocks.
func newDeadlockTenant(t *testing.T, c *framework.Cluster, bound int32) (x *tenant, groups []uint32) {
	t.Helper()
	x = newTenantOf(t, c, func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxGroupInFlight = bound })
	for i := range uint32(deadlockGroups) {
		groups = append(groups, x.OnCall+100+i)
		x.Must(x.TeamTalk.AddGroup(groups[i], "group", x.Bot, x.Alice))
		x.speak(groups[i])
	}
	x.AddFault(devserver.Fault{Kind: devserver.GroupDeadlock})
	return x, groups
}

// TestGroupDeadlock sends to more groups at once than a stock db_proxy survives. The operator's bound prevents it,
// whatever the TeamTalkServer permits.
func TestGroupDeadlock(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]int32{"the default bound": 0, "a bound too high": deadlockGroups} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x, groups := newDeadlockTenant(t, world, bound)
			x.AwaitDelivered(x.Declare("m", "to all", toGroups(groups...)))
			if x.TeamTalk.Faults().Fired(devserver.GroupDeadlock) > 0 {
				t.Error("db_proxy has hung")
			}
			x.CheckRows(deadlockGroups)
		})
	}
}

// TestGroupDeadlockHangs is TestGroupDeadlock with an operator whose bound is too high as well: db_proxy hangs. The
// messages are in doubt until it is restarted, and arrive once.
func TestGroupDeadlockHangs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, fmt.Sprint("--db-proxy-max-group-in-flight=", deadlockGroups))
	x, groups := newDeadlockTenant(t, c, deadlockGroups)
	m := x.Declare("m", "to all", toGroups(groups...))
	x.AwaitMessage(m, "in doubt", anyInDoubt)
	if x.TeamTalk.Faults().Fired(devserver.GroupDeadlock) == 0 {
		t.Error("db_proxy has not hung")
	}
	x.TeamTalk.Faults().Clear() // somebody restarts it
	x.AwaitDelivered(m)
	times := map[uint32]int{}
	for _, row := range x.CheckRows(deadlockGroups) {
		times[row.To]++
	}
	for _, group := range groups {
		if times[group] != 1 {
			t.Errorf("group %d has the message %d times", group, times[group])
		}
	}
}

// TestRedisFlushed: a message in doubt stays so until somebody writes to the group that looks empty.
func TestRedisFlushed(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.speak(x.OnCall)
	x.AddFault(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 1})
	m := x.Declare("m", "in doubt", toGroups(x.OnCall))
	x.AwaitRows(1)
	x.AddFault(devserver.Fault{Kind: devserver.RedisFlushed})
	x.AwaitMessage(m, "in doubt", anyInDoubt)
	x.goesOn(devserver.RedisFlushed, inDoubt.state)
	x.still(m, inDoubt)
	x.speak(x.OnCall)
	if r := x.AwaitDelivered(m).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted || r.Attempts != 1 {
		t.Errorf("recipient %+v, want it adopted", r)
	}
	x.checkOnce("in doubt")

	fired := x.TeamTalk.Faults().Fired(devserver.RedisFlushed)
	x.AddFault(devserver.Fault{Kind: devserver.RedisFlushed})
	// Another server of this namespace has not looked at the directory yet.
	x.Create(x.Server(func(s *v1alpha1.TeamTalkServer) { s.Name = "second" }))
	next := x.Deliver("next", "fills it", toGroups(x.OnCall), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "second"}
	})
	if r := next.Status.Recipients[0]; r.Reason != "" || r.Attempts != 1 {
		t.Errorf("recipient %+v, want it delivered at the first attempt", r)
	}
	x.checkOnce("fills it")
	if x.TeamTalk.Faults().Fired(devserver.RedisFlushed) == fired {
		t.Error("nobody has seen the group empty")
	}
}

package operator

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// shown is what a recipient's status says.
type shown struct {
	state  v1alpha1.RecipientState
	reason string
}

func of(r v1alpha1.RecipientStatus) shown { return shown{r.State, r.Reason} }

// TestBadLuck has TeamTalk do, until somebody mends it, what is known of its
// servers; what the resource shows meanwhile, and that it ends with one row.
func TestBadLuck(t *testing.T) {
	const (
		pending, doubt = v1alpha1.StatePending, v1alpha1.StateInDoubt
		sends          = wire.CommandMsgData
	)
	// Stored once, and the connection ends instead of the answer.
	unanswered := devserver.Fault{Kind: devserver.CloseAfterStore, Command: sends, Count: 1}
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
			faults:    []devserver.Fault{{Kind: devserver.IDZero}},
			meanwhile: shown{pending, v1alpha1.ReasonStoreRejected}, attempts: 2,
		},
		"db_proxy answers with id 0xFFFFFFFF and stores nothing": {
			faults:    []devserver.Fault{{Kind: devserver.IDUnknown}},
			meanwhile: shown{pending, v1alpha1.ReasonNoAnswer}, attempts: 2,
		},
		"db_proxy answers with id 0xFFFFFFFF, and its database is down before anybody can ask": {
			faults:    []devserver.Fault{{Kind: devserver.IDUnknown, Store: true, Count: 1}, {Kind: devserver.EmptyList, Skip: 1}},
			meanwhile: shown{doubt, v1alpha1.ReasonNoAnswer}, attempts: 1, sure: true, reason: v1alpha1.ReasonAdopted,
		},
		"db_proxy says yes and stores nothing": {
			faults:    []devserver.Fault{{Kind: devserver.FalseSuccess}},
			meanwhile: shown{pending, v1alpha1.ReasonNotStored}, attempts: 2,
		},
		"the database is down before anything was sent": {
			faults:    []devserver.Fault{{Kind: devserver.EmptyList}},
			meanwhile: shown{pending, v1alpha1.ReasonNoAnswer}, attempts: 1, sure: true,
		},
		"the database is down with a message in doubt": {
			faults:    []devserver.Fault{unanswered, {Kind: devserver.EmptyList, Skip: 1}},
			meanwhile: shown{doubt, v1alpha1.ReasonNoAnswer}, attempts: 1, sure: true, reason: v1alpha1.ReasonAdopted,
		},
	}
	for name, tc := range tests {
		for _, to := range []string{"user", "group"} {
			t.Run(fmt.Sprintf("%s (%s)", name, to), func(t *testing.T) {
				t.Parallel()
				x := ownTeamTalk(t)
				m := x.message("m", "once")
				if to == "group" {
					toGroups(x.oncall)(m)
					x.speak(x.oncall)
				}
				for _, f := range tc.faults {
					if f.Skip > 0 && to == "group" {
						f.Skip = 2 // the look at the directory takes two requests
					}
					_, err := x.teamtalk.Faults().Add(f)
					x.must(err)
				}
				x.create(m)
				x.await(m, fmt.Sprintf("%+v", tc.meanwhile), func(m *v1alpha1.TeamTalkMessage) bool {
					return len(m.Status.Recipients) == 1 && of(m.Status.Recipients[0]) == tc.meanwhile
				})
				x.goesOn(tc.faults[len(tc.faults)-1].Kind, tc.meanwhile.state)
				x.still(m, tc.meanwhile)
				x.teamtalk.Faults().Clear()
				got := x.awaitDelivered(m)
				r := got.Status.Recipients[0]
				if r.State != v1alpha1.StateRouted || r.Reason != tc.reason || r.Attempts < tc.attempts || tc.sure && r.Attempts > tc.attempts {
					t.Errorf("recipient %+v, want reason %q and %d attempts (sure: %t)", r, tc.reason, tc.attempts, tc.sure)
				}
				x.onlyOnce("once")
			})
		}
	}
}

// ownTeamTalk is a tenant with a TeamTalk that is no one else's.
func ownTeamTalk(t *testing.T, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	teamtalk, err := framework.StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	return newTenantOf(t, teamtalk).withServer(edits...)
}

// How often a fault must have fired before the state is looked at again. A doubt is
// asked about after 100 ms, and then after twice the time before: so often shows
// that the operator went on after absence could have been proved. Anything else
// pauses for seconds between its tries.
const (
	asksInDoubt  = 8
	triesPending = 2
)

func (x *tenant) goesOn(kind devserver.FaultKind, state v1alpha1.RecipientState) {
	x.t.Helper()
	limit := triesPending
	if state == v1alpha1.StateInDoubt {
		limit = asksInDoubt
	}
	x.eventually(patience, func() string { return fmt.Sprintf("%s has fired %d times", kind, x.teamtalk.Faults().Fired(kind)) },
		func(context.Context) (bool, error) { return x.teamtalk.Faults().Fired(kind) >= limit, nil })
}

// still checks that the message shows what it showed.
func (x *tenant) still(m *v1alpha1.TeamTalkMessage, want shown) {
	x.t.Helper()
	x.await(m, fmt.Sprintf("still %+v", want), func(m *v1alpha1.TeamTalkMessage) bool {
		if m.Finished() {
			x.t.Fatalf("finished: %+v", m.Status)
		}
		return of(m.Status.Recipients[0]) == want
	})
}

func (x *tenant) onlyOnce(text string) {
	x.t.Helper()
	n := 0
	for _, row := range x.rows() {
		if row.Text == text {
			n++
		}
	}
	if n != 1 {
		x.t.Errorf("%q is in the store %d times, want once", text, n)
	}
}

// speak has somebody write to a group: what it shows then is as old as any message
// after it, and a flushed Redis is filled again.
func (x *tenant) speak(group uint32) {
	x.t.Helper()
	ctx, cancel := context.WithCancel(x.t.Context())
	db := dbproxy.New(dbproxy.Options{Address: x.teamtalk.DBProxyAddr(), Connections: 1})
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	x.eventually(patience, func() string { return "no connection to db_proxy" }, func(context.Context) (bool, error) {
		return db.Connected() > 0, nil
	})
	_, err := db.Send(ctx, ctx, dbproxy.Message{
		From: x.alice, To: group, CreateTime: uint32(time.Now().Unix()) - 1, Type: wire.MsgType_MSG_TYPE_GROUP_TEXT, Data: []byte("hello"),
	})
	cancel()
	x.must(err)
	x.must(<-ended)
}

// TestCrashOnFirstMessage meets a db_proxy that crashes at the first message of each
// conversation, as stock builds do: the second attempt succeeds.
func TestCrashOnFirstMessage(t *testing.T) {
	t.Parallel()
	x := ownTeamTalk(t)
	x.speak(x.oncall)
	recipients := map[uint32]wire.SessionType{
		x.alice: wire.SessionType_SESSION_TYPE_SINGLE, x.bob: wire.SessionType_SESSION_TYPE_SINGLE, x.oncall: wire.SessionType_SESSION_TYPE_GROUP,
	}
	for to, session := range recipients {
		_, err := x.teamtalk.Faults().Add(devserver.Fault{
			Kind: devserver.CloseBeforeStore, Command: wire.CommandMsgData, To: to, Session: session, Count: 1,
		})
		x.must(err)
	}
	m := x.message("m", "first", toUsers(x.alice, x.bob))
	m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(x.oncall)}
	x.create(m)
	x.await(m, "in doubt", func(m *v1alpha1.TeamTalkMessage) bool {
		for _, r := range m.Status.Recipients {
			if of(r) == (shown{v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer}) {
				return true
			}
		}
		return false
	})
	got := x.awaitDelivered(m)
	for _, r := range got.Status.Recipients {
		// All connections end with each crash, and so one more attempt may be spent.
		if of(r) != (shown{v1alpha1.StateRouted, ""}) && of(r) != (shown{v1alpha1.StateRouted, v1alpha1.ReasonAdopted}) {
			t.Errorf("recipient %+v", r)
		}
	}
	if n := x.teamtalk.Faults().Fired(devserver.CloseBeforeStore); n != len(recipients) {
		t.Errorf("db_proxy has crashed %d times, want %d", n, len(recipients))
	}
	if rows := x.rows(); len(rows) != len(recipients) {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestGroupDeadlock sends to more groups at once than a stock db_proxy survives.
// The bound prevents it; with a bound above what db_proxy takes it hangs, the
// messages are in doubt until it is restarted, and arrive once.
func TestGroupDeadlock(t *testing.T) {
	const groups = 40
	for name, bound := range map[string]int32{"the default bound": 0, "a bound too high": groups} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := ownTeamTalk(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.MaxGroupInFlight = bound })
			var ids []uint32
			for i := range uint32(groups) {
				ids = append(ids, x.oncall+100+i)
				x.must(x.teamtalk.AddGroup(x.oncall+100+i, "group", x.bot, x.alice))
				x.speak(x.oncall + 100 + i)
			}
			_, err := x.teamtalk.Faults().Add(devserver.Fault{Kind: devserver.GroupDeadlock})
			x.must(err)
			m := x.message("m", "to all", toGroups(ids...))
			x.create(m)
			if bound > 0 {
				x.await(m, "in doubt", func(m *v1alpha1.TeamTalkMessage) bool {
					for _, r := range m.Status.Recipients {
						if of(r) == (shown{v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer}) {
							return true
						}
					}
					return false
				})
				x.teamtalk.Faults().Clear() // somebody restarts it
			}
			x.awaitDelivered(m)
			if hung := x.teamtalk.Faults().Fired(devserver.GroupDeadlock) > 0; hung != (bound > 0) {
				t.Errorf("db_proxy has hung: %t", hung)
			}
			if rows := x.rows(); len(rows) != groups {
				t.Errorf("the store holds %d messages, want %d", len(rows), groups)
			}
		})
	}
}

// TestRedisFlushed flushes Redis: groups look empty, and a message in doubt stays so
// until somebody writes to the group. A new one is sent all the same, and fills it.
func TestRedisFlushed(t *testing.T) {
	t.Parallel()
	x := ownTeamTalk(t)
	x.speak(x.oncall)
	add := func(f devserver.Fault) {
		_, err := x.teamtalk.Faults().Add(f)
		x.must(err)
	}
	add(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 1})
	m := x.message("m", "in doubt", toGroups(x.oncall))
	x.create(m)
	x.eventually(patience, func() string { return "nothing is stored" }, func(context.Context) (bool, error) {
		return len(x.rows()) == 1, nil
	})
	add(devserver.Fault{Kind: devserver.RedisFlushed})
	doubt := shown{v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer}
	x.await(m, "in doubt", func(m *v1alpha1.TeamTalkMessage) bool {
		return len(m.Status.Recipients) == 1 && of(m.Status.Recipients[0]) == doubt
	})
	x.goesOn(devserver.RedisFlushed, doubt.state)
	x.still(m, doubt)
	x.speak(x.oncall)
	if r := x.awaitDelivered(m).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted || r.Attempts != 1 {
		t.Errorf("recipient %+v, want it adopted", r)
	}
	x.onlyOnce("in doubt")

	fired := x.teamtalk.Faults().Fired(devserver.RedisFlushed)
	add(devserver.Fault{Kind: devserver.RedisFlushed})
	// Another server of this namespace has not looked at the directory yet.
	x.create(x.server(func(s *v1alpha1.TeamTalkServer) { s.Name = "second" }))
	next := x.message("next", "fills it", toGroups(x.oncall))
	next.Spec.ServerRef = &v1alpha1.ServerReference{Name: "second"}
	x.create(next)
	if r := x.awaitDelivered(next).Status.Recipients[0]; r.Reason != "" || r.Attempts != 1 {
		t.Errorf("recipient %+v, want it delivered at the first attempt", r)
	}
	x.onlyOnce("fills it")
	if x.teamtalk.Faults().Fired(devserver.RedisFlushed) == fired {
		t.Error("nobody has seen the group empty")
	}
}

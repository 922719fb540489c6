// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// namesPatience bounds waits for names that nobody has: all users are read once a minute.
const namesPatience = 4 * time.Minute

func toNames(users []string, groups ...string) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{UserNames: users, GroupNames: groups}
	}
}

// login is the login name of a user of the framework.
func login(id uint32) string { return framework.User(id).Name }

// rename gives a user another login name, and what else it is.
func (x *tenant) rename(id uint32, name string, edits ...func(*devserver.User)) {
	x.Helper()
	u := framework.User(id)
	u.Name = name
	for _, edit := range edits {
		edit(&u)
	}
	x.Must(x.TeamTalk.AddUser(u))
}

func departed(u *devserver.User) { u.Status = wire.UserStatusDeparted }

// statusOf returns the status of a recipient by its name.
func statusOf(m *v1alpha1.TeamTalkMessage, name string) v1alpha1.RecipientStatus {
	i := slices.IndexFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool { return r.Name == name })
	if i < 0 {
		return v1alpha1.RecipientStatus{}
	}
	return m.Status.Recipients[i]
}

// TestNames sends to users and groups by name, to each once.
func TestNames(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Deliver("m", "hello", toNames([]string{login(x.Alice), login(x.Bob)}, "oncall"), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}
	})
	x.checkDelivered(m)
	to := map[uint32]bool{}
	for _, row := range x.CheckRows(3) {
		to[row.To] = true
	}
	alice, group := statusOf(m, login(x.Alice)), statusOf(m, "oncall")
	if !to[x.Alice] || !to[x.Bob] || !to[x.OnCall] || len(m.Status.Recipients) != 3 ||
		alice.ID != int64(x.Alice) || group.ID != int64(x.OnCall) || group.Type != v1alpha1.RecipientGroup {
		t.Errorf("sent to %v: %+v", to, m.Status.Recipients)
	}
	const want = "3 users; 1 group" // with their names it would be too long
	if m.Status.ToSummary != want || m.Status.RecipientsSummary != "3/3" {
		t.Errorf("the columns show %q and %q, want %q", m.Status.ToSummary, m.Status.RecipientsSummary, want)
	}
}

// TestNameRefused: each name that stands for nobody, or for several, has its reason. Others have the message before that
// is certain.
func TestNameRefused(t *testing.T) {
	t.Parallel()
	const nobody = "nobody.at.all"
	tests := map[string]struct {
		prepare func(*tenant)
		to      messageEdit
		name    string
		want    string
		says    string
	}{
		"unknown user":  {to: toNames([]string{nobody}), name: nobody, want: v1alpha1.ReasonRecipientNotFound, says: "may have had it"},
		"unknown group": {to: toNames(nil, nobody), name: nobody, want: v1alpha1.ReasonGroupNotFound, says: "no normal group"},
		"a group without the sender": {
			to: toNames(nil, "closed"), name: "closed", want: v1alpha1.ReasonGroupNotFound, says: "no normal group",
		},
		"two users": {
			prepare: func(x *tenant) { x.rename(x.Mate, "two"); x.rename(x.Bob, "two") },
			to:      toNames([]string{"two"}), name: "two", want: v1alpha1.ReasonRecipientAmbiguous, says: "list the id in users instead",
		},
		"two groups": {
			prepare: func(x *tenant) { x.Must(x.TeamTalk.AddGroup(x.Closed+1, "oncall", x.Bot)) },
			to:      toNames(nil, "oncall"), name: "oncall", want: v1alpha1.ReasonRecipientAmbiguous, says: "list the id in groups",
		},
		"another case": {
			prepare: func(x *tenant) { x.rename(x.Bob, "Bob") },
			to:      toNames([]string{"bob"}), name: "bob", want: v1alpha1.ReasonRecipientNotFound, says: "may have had it",
		},
		"departed": {
			prepare: func(x *tenant) { x.rename(x.Bob, "bob", departed) },
			to:      toNames([]string{"bob"}), name: "bob", want: v1alpha1.ReasonRecipientDeparted, says: "has left TeamTalk",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			x.Timeout = namesPatience
			if tc.prepare != nil {
				tc.prepare(x)
			}
			alone := x.Declare("alone", "hello", tc.to)
			beside := x.Declare("beside", "hello", tc.to, func(m *v1alpha1.TeamTalkMessage) {
				m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}
			})
			x.AwaitRows(1)
			beside = x.AwaitMessage(beside, "finished", finishedFor(v1alpha1.ReasonPartiallyDelivered))
			alone = x.AwaitMessage(alone, "finished", finishedFor(tc.want))
			for _, m := range []*v1alpha1.TeamTalkMessage{alone, beside} {
				r := statusOf(m, tc.name)
				if r.ID != 0 || r.State != v1alpha1.StateFailed || r.Reason != tc.want || !strings.Contains(r.Message, tc.says) {
					t.Errorf("%s: %+v", m.Name, r)
				}
			}
			x.AwaitEvent("alone", tc.want)
			if rows := x.CheckRows(1); rows[0].To != x.Alice {
				t.Errorf("the store holds %+v", rows)
			}
			// The others do not wait for the second look.
			if waited := beside.Status.CompletionTime.Sub(x.Rows()[0].StoredAt); tc.want != v1alpha1.ReasonRecipientAmbiguous && waited < time.Second {
				t.Errorf("sent %v before the end", waited)
			}
			// It may be corrected, and is tried again.
			x.Patch(alone, fmt.Sprintf(`{"spec":{"to":{"users":[%d],"userNames":null,"groupNames":null}}}`, x.Alice))
			x.checkDelivered(x.AwaitDelivered(alone))
		})
	}
}

// TestDeparted: a user who has left gets nothing, by id, or where it has left since its name was found.
func TestDeparted(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.rename(x.Bob, login(x.Bob), departed)
	byID := x.Declare("by-id", "hello", toUsers(x.Bob))
	x.checkFailed(x.AwaitMessage(byID, "finished", finishedFor(v1alpha1.ReasonRecipientDeparted)), v1alpha1.ReasonRecipientDeparted)
	x.AwaitEvent("by-id", v1alpha1.ReasonRecipientDeparted)

	x.Deliver("before", "hello", toNames([]string{login(x.Alice)})) // the names are known now, for a minute
	x.rename(x.Alice, login(x.Alice), departed)
	later := x.Declare("later", "hello", toNames([]string{login(x.Mate)}), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}
	})
	x.Timeout = namesPatience // a user who was just seen is assumed to exist for a while
	later = x.AwaitMessage(later, "finished", (*v1alpha1.TeamTalkMessage).Finished)
	if r := statusOf(later, login(x.Mate)); r.State != v1alpha1.StateRouted {
		t.Errorf("another recipient: %+v", r)
	}
}

// TestNameFoundLate: who is found while another recipient is under way gets the message then, and once.
func TestNameFoundLate(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.Timeout = namesPatience
	lost, err := x.TeamTalk.Faults().Add(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandMsgData, To: x.Alice})
	x.Must(err)
	m := x.Declare("m", "hello", toNames([]string{login(x.Alice), "newcomer"}))
	x.Eventually("no request is lost", func() bool { return x.TeamTalk.Faults().FiredByID(lost) > 0 })
	x.rename(x.Bob, "newcomer") // the names are read again a minute after the first time
	x.AwaitRows(1)
	if rows := x.Rows(); rows[0].To != x.Bob {
		t.Errorf("%+v", rows)
	}
	m = x.AwaitMessage(m, "recorded", func(m *v1alpha1.TeamTalkMessage) bool {
		return statusOf(m, "newcomer").State == v1alpha1.StateRouted
	})
	if r := statusOf(m, login(x.Alice)); r.Done() || m.Finished() {
		t.Errorf("the other recipient: %+v", r)
	}
	x.TeamTalk.Faults().Clear()
	x.checkDelivered(x.AwaitDelivered(m))
	x.CheckRows(2)
}

// TestNameOutage: an empty directory says nothing about a name.
func TestNameOutage(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.Timeout = namesPatience
	x.AddFault(devserver.Fault{Kind: devserver.EmptyList, Command: wire.CommandAllUsersReq})
	m := x.Declare("m", "hello", toNames([]string{login(x.Alice), "nobody.at.all"}))
	m = x.AwaitMessage(m, "waiting", hasReason(v1alpha1.ReasonNoAnswer))
	if m.Finished() || len(x.Rows()) > 0 {
		t.Errorf("%+v", m.Status)
	}
	x.TeamTalk.Faults().Clear()
	x.AwaitRows(1)
}

// TestNameResolvedOnce: the id is recorded before anything is sent. Who has the name later does not matter, neither to
// this operator nor to the next one. All users are read once for all messages.
func TestNameResolvedOnce(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	x.Timeout = namesPatience
	x.Deliver("before", "hello", toGroups(x.OnCall)) // absence from a group is proved by an older row
	x.AddFault(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandMsgData})
	read, err := x.TeamTalk.Faults().Add(devserver.Fault{Kind: devserver.Late, Command: wire.CommandAllUsersReq, Delay: time.Second})
	x.Must(err)
	var messages []*v1alpha1.TeamTalkMessage
	for n := range 20 {
		messages = append(messages, x.Declare(fmt.Sprintf("m-%d", n), fmt.Sprintf("text %d", n), toNames([]string{login(x.Alice)}, "oncall")))
	}
	isRecorded := func(m *v1alpha1.TeamTalkMessage) bool {
		return statusOf(m, login(x.Alice)).ID == int64(x.Alice) && statusOf(m, "oncall").ID == int64(x.OnCall)
	}
	for _, m := range messages {
		if m = x.AwaitMessage(m, "recorded", isRecorded); len(x.Rows()) > 1 {
			t.Fatalf("sent before that: %+v", m.Status)
		}
	}
	if n := x.TeamTalk.Faults().FiredByID(read); n != 1 {
		t.Errorf("all users were read %d times for %d messages", n, len(messages))
	}
	// Resolved again, they would go to others.
	x.rename(x.Alice, "former")
	x.rename(x.Bob, login(x.Alice))
	x.Must(x.TeamTalk.AddGroup(x.OnCall, "former", x.Bot, x.Alice, x.Bob))
	x.Must(x.TeamTalk.AddGroup(x.Closed, "oncall", x.Bot, x.Alice, x.Bob))
	x.StopLeader()
	x.TeamTalk.Faults().Clear()
	x.StartLeader()
	for _, m := range messages {
		if m = x.AwaitDelivered(m); !isRecorded(m) {
			t.Errorf("%+v", m.Status.Recipients)
		}
	}
	for _, row := range x.CheckRows(2*len(messages) + 1) {
		if row.To != x.Alice && row.To != x.OnCall {
			t.Errorf("stored for another one: %+v", row)
		}
	}
}

// TestNameWithKey: another resource with the key may have sent it, under the id that the name has now.
func TestNameWithKey(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.Deliver("first", "v1 is out", withKey("v1"), toUsers(x.Alice))
	again := x.Deliver("again", "v1 is out", withKey("v1"), toNames([]string{login(x.Alice)}))
	if r := statusOf(again, login(x.Alice)); r.Reason != v1alpha1.ReasonAdopted || r.Attempts != 0 {
		t.Errorf("%+v", r)
	}
	// The store is asked before a refusal is said.
	x.editServer(func(s *v1alpha1.TeamTalkServer) {
		s.Spec.Recipients = &v1alpha1.RecipientRules{Deny: v1alpha1.RecipientIDs{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice), v1alpha1.UserID(x.Bob)}}}
	})
	refused := x.Declare("refused", "v1 is out", withKey("v1"), toNames([]string{login(x.Alice), login(x.Bob)}))
	refused = x.AwaitMessage(refused, "finished", finishedFor(v1alpha1.ReasonPartiallyDelivered))
	if r := statusOf(refused, login(x.Bob)); r.Reason != v1alpha1.ReasonRecipientNotPermitted {
		t.Errorf("%+v", r)
	}
	x.CheckRows(1)
}

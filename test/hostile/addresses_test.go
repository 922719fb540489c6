// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestOthersAddress: a server that names the db_proxy of another tenant, beside one that is dead, holds back none of its
// conversations, although its own message in one of them is not answered.
func TestOthersAddress(t *testing.T) {
	startOperator(t)
	teamtalk, err := framework.StartTeamTalk(t.Context(), func(*devserver.Options) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	victim, other := newTenant(t, teamtalk), newTenant(t, teamtalk)
	victim.GrantOperator()
	other.GrantOperator()
	victim.CreateServer()
	_, port, err := net.SplitHostPort(teamtalk.DBProxyAddr())
	if err != nil {
		t.Fatal(err)
	}
	other.CreateServer(func(s *v1alpha1.TeamTalkServer) {
		s.Spec.Senders.Default = v1alpha1.UserID(victim.Bot)
		s.Spec.DBProxy.MaxInFlight, s.Spec.DBProxy.MaxGroupInFlight = 1, 1
		s.Spec.DBProxy.Endpoints = append(s.Spec.DBProxy.Endpoints, v1alpha1.Endpoint("LOCALHOST:"+port), "127.0.0.1:1")
	})
	dropped, err := teamtalk.Faults().Add(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandMsgData, Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	held := other.Declare("held", "not answered", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(victim.Alice)}
	})
	other.Eventually("the message of the other tenant is not sent", func() bool {
		return teamtalk.Faults().FiredByID(dropped) == 1
	})
	victim.Deliver("hello", "hello")
	// Within a store, it waits until the other one has been in doubt for some time.
	other.Get(held)
	for _, r := range held.Status.Recipients {
		if held.Finished() || r.State == v1alpha1.StateInDoubt {
			t.Errorf("the message of the other tenant was waited for: %s %s", r.State, r.Reason)
		}
	}
	other.AwaitDelivered(held)
}

const (
	// limitUsers get a message of the tenant whose db_proxy another one names.
	limitUsers = 400
	// limitRatio is how much longer that may take beside the other one, which has work as well. If the limit of 1 were
	// for both, it would take 64 times as many answers in turn.
	limitRatio = 3
)

// TestOthersLimit: a server that names the db_proxy of another tenant and permits it one request at a time does not slow
// its messages.
func TestOthersLimit(t *testing.T) {
	startOperator(t)
	teamtalk := startBulkTeamTalk(t)
	victim, other := newTenant(t, teamtalk), newTenant(t, teamtalk)
	toMany := func(users v1alpha1.UserID) func(*v1alpha1.TeamTalkMessage) {
		return func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.To.Users = nil
			for id := range users {
				m.Spec.To.Users = append(m.Spec.To.Users, firstBulkUser+id)
			}
		}
	}
	fastest := func(kind string) (least time.Duration) {
		for n := range 3 {
			began := time.Now()
			victim.Deliver(fmt.Sprint(kind, "-", n), "hello", toMany(limitUsers))
			if took := time.Since(began); n == 0 || took < least {
				least = took
			}
		}
		return least
	}
	victim.GrantOperator()
	victim.CreateServer()
	alone := fastest("alone")
	other.GrantOperator()
	other.CreateServer(func(s *v1alpha1.TeamTalkServer) {
		s.Spec.DBProxy.MaxInFlight, s.Spec.DBProxy.MaxGroupInFlight = 1, 1
	})
	other.Deliver("connected", "hello")
	busy := other.Declare("busy", "hello", toMany(bulkUsers))
	beside := fastest("beside")
	t.Logf("%d messages: %v alone, %v beside a server with a limit of 1", limitUsers, alone, beside)
	if beside > limitRatio*alone {
		t.Errorf("it takes %.1f times as long, want at most %d times", float64(beside)/float64(alone), limitRatio)
	}
	if other.Get(busy); busy.Finished() {
		t.Error("the other tenant had nothing to send any more")
	}
}

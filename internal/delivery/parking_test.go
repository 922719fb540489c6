// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// many returns users, who exist, from first on.
func (h *harness) many(first, n int) []v1alpha1.Recipient {
	all := make([]v1alpha1.Recipient, n)
	h.talk.change(func() {
		for i := range all {
			all[i] = user(uint32(first + i))
			h.talk.users[all[i].ID] = true
		}
	})
	return all
}

// goroutines returns how many there are when all of them wait.
func goroutines() int {
	synctest.Wait()
	return runtime.NumGoroutine()
}

// TestNoGoroutinesWhileWaiting: recipients that wait have no goroutines, whatever they wait for. All are delivered.
func TestNoGoroutinesWhileWaiting(t *testing.T) {
	const n = 100
	scheduled := func(spec *Task) { spec.Policy.NotBefore = time.Now().Add(time.Minute) }
	deadline := func(spec *Task) { spec.Policy.Deadline = time.Now().Add(time.Hour) }
	runEach(t, map[string]struct {
		task func(*Task)
		talk func(*talk)
	}{
		"a connection from the start":    {talk: func(f *talk) { f.down = true }},
		"a connection, until a deadline": {task: deadline, talk: func(f *talk) { f.down = true }},
		"a connection that is lost":      {talk: all(func(f *talk) { f.down = true }, replying(lostAfter))},
		"a time":                         {task: scheduled},
		"a retry":                        {talk: all(replying(slices.Repeat([]reply{rejected}, n)...))},
		"proof":                          {talk: all(replying(slices.Repeat([]reply{lostBefore}, n)...), unreadable("list"))},
		"a router":                       {talk: noRouter},
	}, func(h *harness, tc struct {
		task func(*Task)
		talk func(*talk)
	}) {
		spec := h.task("m", h.many(1000, n)...)
		if tc.task != nil {
			tc.task(&spec)
		}
		if tc.talk != nil {
			tc.talk(h.talk)
		}
		before := goroutines()
		h.submit(spec)
		advance(clientTimeout + 30*time.Second)
		for wait := time.Duration(0); goroutines() > before+5; wait += 50 * time.Millisecond {
			if advance(50 * time.Millisecond); wait > 5*time.Second { // some may be about to look again
				t.Fatalf("%d goroutines more", goroutines()-before)
			}
		}
		h.talk.change(func() { h.talk.down, h.talk.noRouter, h.talk.fails = false, false, nil })
		for i, p := range h.await("m", 30*time.Minute).Recipients {
			if !p.Delivered() {
				t.Fatalf("recipient %d: %+v", i, p)
			}
		}
		h.wantCounts(len(h.talk.sends), n, n)
	})
}

// TestWorkersAreShared: a namespace whose db_proxy answers nothing has a bounded number of goroutines. It holds back
// neither another namespace, nor its own messages through another server, nor what has begun.
func TestWorkersAreShared(t *testing.T) {
	run(t, func(h *harness) {
		noAnswer := hung{h.talk}
		before := goroutines()
		for i := range 20 {
			spec := h.task(fmt.Sprint("bulk-", i), h.many(1000*(i+1), 1000)...)
			spec.Server, spec.Key.Namespace, spec.ServerKey.Name = noAnswer, "bulk", "hung"
			h.submit(spec)
		}
		if got, limit := goroutines()-before, maxWorkers/5; got < 100 || got > limit {
			t.Errorf("%d goroutines for 20,000 recipients of one namespace, want at most %d", got, limit)
		}
		for _, tenant := range []string{"other", "bulk"} {
			spec := h.task(tenant, toAlice)
			spec.Key.Namespace, spec.ServerKey.Name = tenant, "healthy"
			h.deliver(spec, time.Minute, result{v1alpha1.StateRouted, "", h.talk.counts().plus(1)})
		}
		begun := h.task("begun", user(bob))
		begun.Server, begun.Key.Namespace, begun.Recipients[0].State = noAnswer, "bulk", v1alpha1.StateStored
		begun.Recipients[0].MessageID = 7
		h.store(begun)
		h.submit(begun)
		wantProgress(t, h.await("begun", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
	})
}

// TestGroupsHoldBackNoUser: groups that db_proxy does not answer for hold back no message to a user, whether they have
// begun or not, of the same namespace through the same server.
func TestGroupsHoldBackNoUser(t *testing.T) {
	runEach(t, map[string]v1alpha1.RecipientState{
		"new": v1alpha1.StatePending, "in doubt": v1alpha1.StateInDoubt,
	}, func(h *harness, state v1alpha1.RecipientState) {
		const n = 400
		groups := h.many(1000, n)
		h.talk.change(func() {
			for i := range groups {
				groups[i].Type = v1alpha1.RecipientGroup
				h.talk.groups[groups[i].ID] = []uint32{bot, alice}
			}
		})
		bulk, single := h.task("bulk", groups...), h.task("single", toAlice)
		bulk.Server, single.Server = hungGroups{h.talk}, hungGroups{h.talk}
		for i := range bulk.Recipients {
			bulk.Recipients[i].State = state
		}
		single.Recipients[0].State = state
		before := goroutines()
		h.submit(bulk)
		if got := goroutines() - before; got < 100 || got >= n {
			h.t.Fatalf("%d goroutines for %d groups", got, n)
		}
		h.submit(single)
		wantProgress(h.t, h.await("single", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.Stop("bulk")
	})
}

// TestDeadlineWithoutWorker: recipients that wait for a worker end at their deadline, and when their task is stopped.
func TestDeadlineWithoutWorker(t *testing.T) {
	for name, end := range map[string]func(*harness){
		"deadline": func(*harness) { advance(2 * time.Minute) },
		"stopped":  func(h *harness) { h.Stop("late") },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				noAnswer := hung{h.talk}
				h.workers.used = fairqueue.NewShares(21, 4)
				bulk, late := h.task("bulk", h.many(1000, 10)...), h.task("late", h.many(2000, 10)...)
				bulk.Server, late.Server = noAnswer, noAnswer
				late.Policy.Deadline = time.Now().Add(time.Minute)
				h.submit(bulk)
				h.submit(late)
				end(h)
				s := h.snapshot("late")
				if s.Running {
					t.Errorf("still running: %+v", s.Recipients)
				}
				for _, p := range s.Recipients {
					if name == "deadline" {
						wantProgress(t, p, v1alpha1.StateFailed, v1alpha1.ReasonDeadlineExceeded)
					}
				}
				if !h.snapshot("bulk").Running {
					t.Error("the other one has ended")
				}
				h.wantCounts(0, 0, 0)
			})
		})
	}
}

// hung is a TeamTalk that takes no message.
type hung struct{ *talk }

func (hung) Send(
	_, waiting context.Context, _ wire.MsgType, _ func() (dbproxy.Message, bool), _ func(),
) (uint32, error) {
	<-waiting.Done()
	return 0, errNotSent
}

// hungGroups is a TeamTalk that answers nothing about groups' messages.
type hungGroups struct{ *talk }

func (f hungGroups) Send(
	ctx, waiting context.Context, msgType wire.MsgType, build func() (dbproxy.Message, bool), late func(),
) (uint32, error) {
	if msgType.SessionType() == wire.SessionType_SESSION_TYPE_GROUP {
		return hung(f).Send(ctx, waiting, msgType, build, late)
	}
	return f.talk.Send(ctx, waiting, msgType, build, late)
}

func (f hungGroups) Path() (dbproxy.Reads, func(), error) { return f, func() {}, nil }

func (f hungGroups) Scan(ctx context.Context, s dbproxy.Session, count uint32, to dbproxy.Scanner) error {
	if s.Type == wire.SessionType_SESSION_TYPE_GROUP {
		<-ctx.Done()
		return dbproxy.ErrNoAnswer
	}
	return f.talk.Scan(ctx, s, count, to)
}

// plus returns what it is after n more deliveries.
func (c counts) plus(n int) counts { return counts{c.sends + n, c.rows + n, c.routed + n} }

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// tableScenarios are about reads that are partly wrong: for one of TeamTalk's tables, or since a moment.
func tableScenarios() []scenario {
	return append(takeovers([]scenario{
		{name: "table-unreadable-restart", needsDev: true, run: tableUnreadableRestart,
			clause: "kill -9; one message table returns no rows to the next leader"},
	}), []scenario{
		{name: "table-unreadable-users", needsDev: true, short: true,
			clause: "one table of messages to users returns no rows",
			run:    func(ctx context.Context, w *world) { w.tableUnreadable(ctx, false) }},
		{name: "table-unreadable-groups", needsDev: true,
			clause: "one table of messages to groups returns no rows",
			run:    func(ctx context.Context, w *world) { w.tableUnreadable(ctx, true) }},
		{name: "replica-stopped", run: func(ctx context.Context, w *world) { replicaStopped(ctx, w, oneAtATime()) },
			clause: "a replica has stopped: most connections read nothing newer"},
		{name: "replicas-stopped", run: func(ctx context.Context, w *world) {
			replicaStopped(ctx, w, func(*faultproxy.Conn) bool { return false })
		},
			clause: "all replicas have stopped: no connection reads anything newer"},
	}...)
}

// recipients returns all users or groups without the last ones.
func (w *world) recipients(group bool, without int) []recipient {
	ids := w.users
	if group {
		ids = w.groups
	}
	var all []recipient
	for _, id := range ids[:len(ids)-without] {
		all = append(all, recipient{group, id})
	}
	return all
}

// sendTo declares n messages to these recipients in turn.
func (w *world) sendTo(ctx context.Context, n int, to []recipient) {
	w.deal = func(m *message) { m.to = []recipient{to[m.number%len(to)]} }
	w.send(ctx, n)
	w.deal = nil
}

// session names the sender's conversation with a recipient as teamtalk-dev does.
func (w *world) session(to recipient) string {
	if to.group {
		return fmt.Sprintf("group:%d", to.id)
	}
	return fmt.Sprintf("user:%d:%d", w.sender, to.id)
}

// inOneTable sends to recipients, and returns those whose messages are in the table of the first.
func (w *world) inOneTable(ctx context.Context, all []recipient) (same []recipient, table string) {
	w.sendTo(ctx, max(w.size/2, len(all)), all)
	w.finished(ctx)
	table = framework.MustGet(w.dev.Table(w.session(all[0])))
	same = slices.DeleteFunc(slices.Clone(all), func(to recipient) bool {
		return framework.MustGet(w.dev.Table(w.session(to))) != table
	})
	return same, table
}

// newcomers are users whose first message is not answered, so nothing of their conversations is known. TeamTalk has a
// table for each eighth of them.
const newcomers = 8

func (w *world) tableUnreadable(ctx context.Context, group bool) {
	fresh := 0
	if !group {
		fresh = newcomers
	}
	all := w.recipients(group, fresh)
	same, table := w.inOneTable(ctx, all)
	w.inDev(devserver.Fault{Kind: devserver.TableUnreadable, Table: table})
	if !group {
		w.sendFirst(ctx, w.users[len(w.users)-fresh:])
	}
	cut := w.doubtful(group, nil)
	w.sendTo(ctx, w.size/2, same)
	framework.Must(cut.Await(ctx, 1))
	after(ctx, outage)
	w.dev.Faults().Clear()
	cut.Remove()
}

// sendFirst sends the first message to each of the users, and cuts the connection instead of each answer.
func (w *world) sendFirst(ctx context.Context, users []uint32) {
	unanswered := w.cutFirst(users)
	w.deal = func(m *message) {
		m.want = undetermined
		m.to = []recipient{{false, users[m.number%len(users)]}}
	}
	w.send(ctx, len(users))
	w.deal = nil
	framework.Must(unanswered.Await(ctx, 1)) // with one connection the answers to others are lost
}

// cutFirst cuts the connection instead of the answer to the next message to each user.
func (w *world) cutFirst(users []uint32) *faultproxy.Armed {
	var mu sync.Mutex
	seen := map[uint32]bool{}
	return w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToClient, Commands: messages, Do: faultproxy.Cut,
		Match: func(f faultproxy.Frame) bool {
			mu.Lock()
			defer mu.Unlock()
			to := f.Message().GetToSessionId()
			first := slices.Contains(users, to) && !f.Group() && !seen[to]
			seen[to] = true
			return first
		},
	})
}

func tableUnreadableRestart(ctx context.Context, w *world) {
	same, table := w.inOneTable(ctx, w.recipients(false, 0))
	lost := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Do: faultproxy.Drop})
	w.sendTo(ctx, w.size/2, same)
	framework.Must(lost.Await(ctx, len(same)))
	w.kill(w.leader)
	w.inDev(devserver.Fault{Kind: devserver.TableUnreadable, Table: table})
	lost.Remove()
	w.replace(ctx)
	after(ctx, provedAfter+8*time.Second) // the term begins after the Lease is held, and the oldest are asked for first
	w.dev.Faults().Clear()
}

// While reads are stale, some messages are sent every tick. Each row that reads show proves that other reads are
// stale.
const (
	staleTick  = 500 * time.Millisecond
	eachTick   = 6
	quietUsers = 16
	staleTicks = int(outage / staleTick)
)

// oneAtATime reports true for one connection, and for another one after the first has ended.
func oneAtATime() func(*faultproxy.Conn) bool {
	var mu sync.Mutex
	var one *faultproxy.Conn
	return func(c *faultproxy.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if one == nil || one.Ended() {
			one = c
		}
		return c == one
	}
}

// cutTogether drops the answers to the next n messages, and cuts their connections with the last one. So their
// absence could be proved from the same moment on.
func (w *world) cutTogether(n int) *faultproxy.Armed {
	var mu sync.Mutex
	dropped, on := 0, map[*faultproxy.Conn]bool{}
	return w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToClient, Commands: messages, Count: n,
		Do: func(c *faultproxy.Conn, f faultproxy.Frame) {
			mu.Lock()
			defer mu.Unlock()
			dropped++
			if on[c] = true; dropped == n {
				for c := range on {
					faultproxy.Cut(c, f)
				}
			}
		},
	})
}

// replicaStopped puts messages in doubt while reads show nothing that was stored since, except over new connections.
// A later row is acknowledged before their absence could be proved. Without it, nothing shows that reads are stale.
func replicaStopped(ctx context.Context, w *world, fresh func(*faultproxy.Conn) bool) {
	known := w.recipients(false, 0)
	w.sendTo(ctx, max(w.size/2, len(known)), known)
	w.finished(ctx)
	// No later row shows that the reads of the quiet conversations are stale. Each tick has another busy
	// conversation. If no read shows its first message, the messages after it wait.
	quiet := known[:max(1, min(quietUsers, len(known)-staleTicks))]
	busy := known[max(len(quiet), len(known)-staleTicks):]
	stopped := time.Now()
	after(ctx, time.Second) // times are whole seconds
	stale := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient,
		Match: func(f faultproxy.Frame) bool { return f.Command != wire.CommandMsgData },
		Do: func(c *faultproxy.Conn, f faultproxy.Frame) {
			if fresh(c) {
				faultproxy.Pass(c, f)
			} else {
				faultproxy.Stale(stopped)(c, f)
			}
		}})
	cut := w.cutTogether(len(quiet))
	w.sendTo(ctx, len(quiet), quiet)
	framework.Must(cut.Await(ctx, len(quiet)))
	later := w.db.Add(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Do: faultproxy.Pass})
	w.sendTo(ctx, 1, busy)
	framework.Must(later.Await(ctx, 1))
	later.Remove()
	w.doubtful(false, nil)
	for tick := range staleTicks {
		w.sendTo(ctx, max(eachTick, w.size/2/staleTicks), busy[tick%len(busy):][:1])
		after(ctx, staleTick)
	}
	stale.Remove()
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

var messages = []wire.Command{wire.CommandMsgData}

// executedAfter is the time from the end of the replica lag to the execution of late requests.
const executedAfter = 500 * time.Millisecond

// sendDuring sends all messages while a fault is active. The fault affects one of part messages.
func sendDuring(name, clause string, short bool, part int, rule faultproxy.Rule) scenario {
	return scenario{name: name, clause: clause, short: short, run: func(ctx context.Context, w *world) {
		if part > 0 {
			rule.Count = w.size / part
		}
		w.onDB(rule)
		w.send(ctx, w.size)
	}}
}

func answersTo(do faultproxy.Action, every int) faultproxy.Rule {
	return faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Every: every, Do: do}
}

func requestsTo(do faultproxy.Action, every int) faultproxy.Rule {
	return faultproxy.Rule{Commands: messages, Every: every, Do: do}
}

// falseSuccess answers with ids, and stores nothing.
func falseSuccess() faultproxy.Action {
	var id atomic.Uint32
	id.Store(1_000_000)
	return func(c *faultproxy.Conn, f faultproxy.Frame) { faultproxy.RefuseWith(id.Add(1))(c, f) }
}

func answerScenarios() []scenario {
	return []scenario{
		sendDuring("requests-cut", "connections end with requests on them", true, 20, requestsTo(faultproxy.Cut, 10)),
		sendDuring("answers-cut", "db_proxy crashes between storing and answering: connections end instead of answers", true,
			20, answersTo(faultproxy.Cut, 10)),
		sendDuring("answers-lost", "messages are stored and never answered", true, 8, answersTo(faultproxy.Drop, 6)),
		sendDuring("answers-late", "answers arrive after the operator's timeout", false,
			8, answersTo(faultproxy.Delay(12*time.Second), 6)),
		// The delay is shorter than the operator's timeout, and much longer than usual.
		sendDuring("executed-slowly", "some messages are executed much later than usual, on open connections", true,
			8, requestsTo(faultproxy.Delay(4*time.Second), 6)),
		sendDuring("answers-reordered", "answers of all kinds arrive in another order", true, 0,
			faultproxy.Rule{Direction: faultproxy.ToClient, Every: 3, Do: faultproxy.Reorder(2, time.Second)}),
		sendDuring("answers-repeated", "every answer arrives twice", true, 0,
			faultproxy.Rule{Direction: faultproxy.ToClient, Do: faultproxy.Repeat}),
		sendDuring("false-success", "db_proxy answers with an id and stores nothing", true, 8, requestsTo(falseSuccess(), 6)),
		sendDuring("id-zero", "db_proxy answers with id 0", true, 8, requestsTo(faultproxy.RefuseWith(0), 6)),
		sendDuring("id-unknown", "db_proxy answers with id 0xFFFFFFFF and stores nothing", true,
			8, requestsTo(faultproxy.RefuseWith(wire.MsgIDUnknown), 6)),
		sendDuring("id-unknown-stored", "db_proxy answers with id 0xFFFFFFFF and stores the message", true,
			8, answersTo(faultproxy.AnswerID(wire.MsgIDUnknown), 6)),
		// The delay is longer than the replica lag, and shorter than the settle time.
		sendDuring("executed-late", "db_proxy executes requests after their connection has ended", true,
			20, requestsTo(faultproxy.ExecuteLate(lag+executedAfter), 10)),
		crash("crash-before-store", "db_proxy crashes between allocating an id and storing", devserver.CloseBeforeStore),
		crash("crash-after-store", "db_proxy crashes between storing and answering", devserver.CloseAfterStore),
		{name: "crash-first-message", needsDev: true, run: crashFirst,
			clause: "db_proxy crashes on the first message of a conversation"},
		{name: "group-deadlock", alone: true, needsDev: true, short: true, flags: groupBound, run: groupDeadlock,
			clause: "db_proxy deadlocks at more than 16 group requests"},
		{name: "hung-worker", needsDev: true, short: true, run: hungWorker,
			clause: "threads of db_proxy hang when messages to groups meet other messages"},
		{
			name:   "group-slow",
			clause: "db_proxy takes 100 s for a group request, and deadlocks at more than 16",
			bound:  takeoverBound, alone: true, needsDev: true, flags: groupBound, run: groupSlow,
		},
		{
			name:   "order-kept",
			clause: "messages of a few conversations are refused or not stored",
			short:  true, run: orderKept,
		},
	}
}

// crash ends all connections to db_proxy now and then, as a crash does.
func crash(name, clause string, kind devserver.FaultKind) scenario {
	return scenario{name: name, clause: clause, needsDev: true, run: func(ctx context.Context, w *world) {
		w.inDev(devserver.Fault{Kind: kind, Command: wire.CommandMsgData, Probability: 0.1, Count: max(2, w.size/25)})
		w.send(ctx, w.size)
	}}
}

func (w *world) inDev(f devserver.Fault) {
	id := framework.MustGet(w.dev.Faults().Add(f))
	w.counts(func() int { return w.dev.Faults().FiredByID(id) })
}

func crashFirst(ctx context.Context, w *world) {
	for _, user := range w.users[:max(2, w.size/20)] {
		w.inDev(devserver.Fault{Kind: devserver.CloseBeforeStore, Command: wire.CommandMsgData, To: user,
			Session: wire.SessionType_SESSION_TYPE_SINGLE, Count: 1})
	}
	w.send(ctx, w.size)
}

// errDeadlock means that the bound did not prevent the deadlock of db_proxy.
var errDeadlock = errors.New("db_proxy has deadlocked: more than 16 group requests were in flight")

// groupBound is the limit of group requests in these scenarios. A stock db_proxy handles as many, and those that the
// operator may add when answers are missing. The default of 1 would not test the limit.
var groupBound = []string{"--db-proxy-max-group-in-flight=8"}

// deadlockDelay is how long a group request takes under the deadlock.
const deadlockDelay = 200 * time.Millisecond

func groupDeadlock(ctx context.Context, w *world) {
	w.limitInFlight(ctx, devGroups) // too many
	w.onlyGroups = true
	w.sendUnderDeadlock(ctx)
}

// hungWorker makes two threads hang, when messages to groups first overlap.
func hungWorker(ctx context.Context, w *world) {
	w.inDev(devserver.Fault{Kind: devserver.HungWorker, Probability: 1, Count: 2})
	w.send(ctx, w.size)
}

// slowness is how long a db_proxy with a hanging database takes. The operator repeats the request three times
// meanwhile.
const slowness = 100 * time.Second

func groupSlow(ctx context.Context, w *world) {
	w.limitInFlight(ctx, devGroups) // too many
	w.onlyGroups = true
	// The groups then count as known for some time, and messages are sent at once.
	w.send(ctx, w.size/2)
	w.finished(ctx)
	slow := framework.MustGet(w.dev.Faults().Add(devserver.Fault{Kind: devserver.GroupDeadlock, Delay: slowness}))
	asked := w.onDB(faultproxy.Rule{Match: faultproxy.Frame.Group, Do: faultproxy.Pass})
	w.send(ctx, w.size-w.size/2)
	after(ctx, slowness)
	asked.Remove()
	w.dev.Faults().Remove(slow)
	if w.dev.Faults().Fired(devserver.GroupDeadlock) > 0 {
		framework.Must(errDeadlock)
	}
}

// orderKept injects faults that end within the time for which a message holds back later ones.
func orderKept(ctx context.Context, w *world) {
	w.inOrder, w.few = true, max(1, w.size/10)
	some := max(2, w.size/20)
	w.onDB(faultproxy.Rule{Commands: messages, Every: 3, Count: 2 * some, Do: faultproxy.RefuseWith(0)})
	w.onDB(faultproxy.Rule{Commands: messages, Every: 5, Count: some, Do: falseSuccess()})
	w.send(ctx, w.size)
}

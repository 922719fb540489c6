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

// retryBound is how long a scenario may take in which answers are waited for,
// stores are asked and messages sent again.
const retryBound = 3 * time.Minute

var messages = []wire.Command{wire.CommandMsgData}

// executedAfter is how much later than reads may lag late requests are executed.
const executedAfter = 500 * time.Millisecond

// sendDuring sends all messages while a fault is active.
func sendDuring(name, clause string, short bool, rule func(*world) faultproxy.Rule) scenario {
	return scenario{name: name, clause: clause, bound: retryBound, short: short,
		run: func(ctx context.Context, w *world) error {
			w.onDB(rule(w))
			return w.send(ctx, w.size)
		}}
}

func answersTo(do faultproxy.Action, every, part int) func(*world) faultproxy.Rule {
	return func(w *world) faultproxy.Rule {
		return faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Every: every, Count: w.size / part,
			Do: do}
	}
}

func requestsTo(do faultproxy.Action, every, part int) func(*world) faultproxy.Rule {
	return func(w *world) faultproxy.Rule {
		return faultproxy.Rule{Commands: messages, Every: every, Count: w.size / part, Do: do}
	}
}

func answerScenarios() []scenario {
	return []scenario{
		sendDuring("requests-cut", "connections end with requests in them", true, requestsTo(faultproxy.Cut, 10, 20)),
		sendDuring("answers-cut", "db_proxy crashes between storing and answering: connections end instead of answers", true,
			answersTo(faultproxy.Cut, 10, 20)),
		sendDuring("answers-lost", "messages are stored, and never answered", true, answersTo(faultproxy.Drop, 6, 8)),
		sendDuring("answers-late", "answers come when the operator has given up on them", false,
			answersTo(faultproxy.Delay(12*time.Second), 6, 8)),
		sendDuring("answers-reordered", "answers of all kinds come in another order", true, func(*world) faultproxy.Rule {
			return faultproxy.Rule{Direction: faultproxy.ToClient, Every: 3, Do: faultproxy.Reorder(2, time.Second)}
		}),
		sendDuring("answers-repeated", "every answer comes twice", true, func(*world) faultproxy.Rule {
			return faultproxy.Rule{Direction: faultproxy.ToClient, Do: faultproxy.Repeat}
		}),
		sendDuring("false-success", "db_proxy answers with an id and stores nothing", true, func(w *world) faultproxy.Rule {
			var id atomic.Uint32
			id.Store(1_000_000)
			return requestsTo(func(c *faultproxy.Conn, f faultproxy.Frame) { faultproxy.RefuseWith(id.Add(1))(c, f) }, 6, 8)(w)
		}),
		sendDuring("id-zero", "db_proxy answers with id 0", true, requestsTo(faultproxy.RefuseWith(0), 6, 8)),
		sendDuring("id-unknown", "db_proxy answers with id 0xFFFFFFFF and stores nothing", true,
			requestsTo(faultproxy.RefuseWith(wire.MsgIDUnknown), 6, 8)),
		sendDuring("id-unknown-stored", "db_proxy answers with id 0xFFFFFFFF and has stored the message", true,
			answersTo(faultproxy.AnswerID(wire.MsgIDUnknown), 6, 8)),
		// Later than reads may lag, sooner than db_proxy must have settled.
		sendDuring("executed-late", "db_proxy executes requests after their connection is gone", true,
			requestsTo(faultproxy.ExecuteLate(lag+executedAfter), 10, 20)),
		crash("crash-before-store", "db_proxy crashes between drawing an id and storing", devserver.CloseBeforeStore),
		crash("crash-after-store", "db_proxy crashes between storing and answering", devserver.CloseAfterStore),
		{
			name: "crash-first-message", clause: "db_proxy crashes on the first message of a conversation",
			bound: retryBound, needsDev: true, run: crashFirst,
		},
		{
			name: "group-deadlock", clause: "db_proxy hangs for good once more than 16 group requests run at once",
			bound: retryBound, needsDev: true, short: true, run: groupDeadlock,
		},
		{
			name: "group-slow",
			clause: "db_proxy takes 100 s for a group request, and hangs for good once more than " +
				"16 run at once",
			bound: takeoverBound, needsDev: true, run: groupSlow,
		},
		{
			name: "order-kept",
			clause: "messages of a few conversations, one after the other, are refused or come to nothing: " +
				"none passes an older one",
			bound: retryBound, short: true, run: orderKept,
		},
	}
}

// crash has db_proxy crash now and then: every connection ends.
func crash(name, clause string, kind devserver.FaultKind) scenario {
	return scenario{name: name, clause: clause, bound: retryBound, needsDev: true,
		run: func(ctx context.Context, w *world) error {
			return errors.Join(
				w.inDev(devserver.Fault{Kind: kind, Command: wire.CommandMsgData, Probability: 0.1, Count: max(2, w.size/25)}),
				w.send(ctx, w.size))
		}}
}

// inDev has the teamtalk-dev behind the proxies do something wrong.
func (w *world) inDev(f devserver.Fault) error {
	id, err := w.dev.Faults().Add(f)
	w.counts(func() int { return w.dev.Faults().FiredByID(id) })
	return err
}

func crashFirst(ctx context.Context, w *world) error {
	for _, user := range w.users[:max(2, w.size/20)] {
		err := w.inDev(devserver.Fault{Kind: devserver.CloseBeforeStore, Command: wire.CommandMsgData, To: user,
			Session: wire.SessionType_SESSION_TYPE_SINGLE, Count: 1})
		if err != nil {
			return err
		}
	}
	return w.send(ctx, w.size)
}

// errDeadlock says that the bound has not kept db_proxy from its deadlock.
var errDeadlock = errors.New("db_proxy has deadlocked: more than 16 group requests were in flight")

func groupDeadlock(ctx context.Context, w *world) error {
	// Slow enough that messages to all groups would meet, on a slow machine as well.
	if _, err := w.dev.Faults().Add(devserver.Fault{Kind: devserver.GroupDeadlock,
		Delay: 200 * time.Millisecond}); err != nil {
		return err
	}
	// Each group request is one that could have been one too many.
	w.onDB(faultproxy.Rule{Match: faultproxy.Frame.Group, Do: faultproxy.Pass})
	w.onlyGroups = true
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	return framework.Await(ctx, "every message is finished", func(ctx context.Context) (string, bool, error) {
		if w.dev.Faults().Fired(devserver.GroupDeadlock) > 0 {
			w.dev.Faults().Clear() // as if somebody had restarted it: the count needs it
			return "", false, errDeadlock
		}
		n, err := w.finishedCount(ctx)
		return "", n == len(w.messages), err
	})
}

// slowness is how long a db_proxy whose database hangs is busy with a group request:
// so long that, unanswered, it could be asked three times more.
const slowness = 100 * time.Second

func groupSlow(ctx context.Context, w *world) error {
	w.onlyGroups = true
	// That the groups are there is believed for a while then, and messages go at once.
	if err := errors.Join(w.send(ctx, w.size/2), w.finished(ctx)); err != nil {
		return err
	}
	slow, err := w.dev.Faults().Add(devserver.Fault{Kind: devserver.GroupDeadlock, Delay: slowness})
	if err != nil {
		return err
	}
	asked := w.onDB(faultproxy.Rule{Match: faultproxy.Frame.Group, Do: faultproxy.Pass})
	if err := errors.Join(w.send(ctx, w.size-w.size/2), after(ctx, slowness)); err != nil {
		return err
	}
	asked.Remove()
	w.dev.Faults().Remove(slow)
	if w.dev.Faults().Fired(devserver.GroupDeadlock) > 0 {
		return errDeadlock
	}
	return nil
}

// orderKept has what goes wrong end within the time for which a message holds back
// those after it.
func orderKept(ctx context.Context, w *world) error {
	w.inOrder, w.few = true, max(1, w.size/10)
	some := max(2, w.size/20)
	var id atomic.Uint32
	id.Store(1_000_000)
	w.onDB(faultproxy.Rule{Commands: messages, Every: 3, Count: 2 * some, Do: faultproxy.RefuseWith(0)})
	w.onDB(faultproxy.Rule{Commands: messages, Every: 5, Count: some, Do: func(c *faultproxy.Conn, f faultproxy.Frame) {
		faultproxy.RefuseWith(id.Add(1))(c, f)
	}})
	return w.send(ctx, w.size)
}

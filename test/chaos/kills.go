// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
)

// takeoverBound is how long a scenario may take in which a Lease runs out: 15 s
// for that, 30 s for db_proxy's patience, settle and lag, and what a busy machine
// adds.
const takeoverBound = 4 * time.Minute

// boundary is a moment of a delivery. It keeps frames there, and has fired once for
// each; release lets go, after the kill, what was on its way already, or right
// before it where the operator is to have just learned it.
type boundary struct {
	await   func(context.Context, int) error
	release func()
	before  bool
	// most is how many it can keep at once; 0: any number.
	most int
}

func killScenarios() []scenario {
	kill := func(name, clause string, short bool, arm func(*world) boundary) scenario {
		return scenario{
			name: "kill-" + name, clause: "kill -9 of the operator: " + clause, bound: takeoverBound, alone: true, short: short,
			reroutes: true,
			run:      func(ctx context.Context, w *world) error { return w.killAt(ctx, arm(w)) },
		}
	}
	db := func(d faultproxy.Direction, c wire.Command) func(*world) boundary {
		return func(w *world) boundary {
			a := w.onDB(faultproxy.Rule{Direction: d, Commands: []wire.Command{c}, Do: faultproxy.Drop})
			return boundary{await: a.Await, release: a.Remove}
		}
	}
	// The operator learns the answers, and dies before it can act on most.
	learned := func(c wire.Command) func(*world) boundary {
		return func(w *world) boundary {
			hold := &faultproxy.Hold{}
			a := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: []wire.Command{c}, Match: hold.Keeps,
				Do: hold.Do})
			return boundary{await: a.Await, release: hold.Release, before: true}
		}
	}
	return []scenario{
		kill("before-send", "requests written, not yet at db_proxy", false, db(faultproxy.ToServer, wire.CommandMsgData)),
		kill("unanswered", "stored, not answered", true, db(faultproxy.ToClient, wire.CommandMsgData)),
		kill("answered", "answers have just come", false, learned(wire.CommandMsgData)),
		kill("read-back-asked", "asked for the stored messages", false, db(faultproxy.ToServer, wire.CommandMsgByIDReq)),
		kill("read-back-answered", "the stored messages have just come", false, learned(wire.CommandMsgByIDRsp)),
		kill("announcing", "frames on their way to the router", false, func(w *world) boundary {
			hold := &faultproxy.Hold{}
			a := w.onRoute(faultproxy.Rule{Commands: []wire.Command{wire.CommandMsgData}, Match: hold.Keeps, Do: hold.Do})
			return boundary{await: a.Await, release: hold.Release}
		}),
		kill("recording", "status writes under way, every other one done", false, func(w *world) boundary {
			var n atomic.Int64
			a := w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite,
				Do: func(rw http.ResponseWriter, r *http.Request, next http.Handler) {
					if n.Add(1)%2 == 0 {
						next.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
					}
					apiproxy.Hang(rw, r, next)
				}})
			w.counts(a.Fired)
			return boundary{await: a.Await, release: a.Remove, most: writers}
		}),
	}
}

// writers is how many statuses an operator writes at a time, at least.
const writers = 8

// caught is how many messages a fault is to catch at once: as many as can be under
// way, one for each conversation.
func (w *world) caught() int {
	return max(1, min(24, w.size/4, (len(w.users)+len(w.groups))/2))
}

func (w *world) killAt(ctx context.Context, b boundary) error {
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	caught := w.caught()
	if b.most > 0 {
		caught = min(caught, b.most)
	}
	if err := b.await(ctx, caught); err != nil {
		return err
	}
	if b.before {
		b.release()
	}
	w.kill(w.leader)
	<-w.leader.Ended()
	if !b.before {
		b.release()
	}
	if err := w.replace(ctx); err != nil {
		return err
	}
	// What is declared since goes at once, among what is asked for.
	return w.send(ctx, w.size/10)
}

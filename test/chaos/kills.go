// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// boundary is a moment of a delivery at which frames are held. release passes them on after the kill, or right before
// it.
type boundary struct {
	await   func(context.Context, int) error
	release func()
	before  bool
	// most is how many frames it can hold at once. 0 is no limit.
	most int
}

// killedAt is a scenario in which the operator is killed at a boundary.
func killedAt(name, clause string, short bool, arm func(*world) boundary) scenario {
	return scenario{
		name: "kill-" + name, clause: clause, short: short,
		run: func(ctx context.Context, w *world) { w.killAt(ctx, arm(w)) },
	}
}

func killScenarios() []scenario {
	dropped := func(d faultproxy.Direction, c wire.Command) func(*world) boundary {
		return func(w *world) boundary {
			a := w.onDB(faultproxy.Rule{Direction: d, Commands: []wire.Command{c}, Do: faultproxy.Drop})
			return boundary{await: a.Await, release: a.Remove}
		}
	}
	// The operator gets the answers, and is killed before it can act on most of them.
	learned := func(c wire.Command) func(*world) boundary {
		return func(w *world) boundary {
			hold, a := w.hold(faultproxy.ToClient, c)
			return boundary{await: a.Await, release: hold.Release, before: true}
		}
	}
	return []scenario{
		killedAt("before-send", "requests are written and not at db_proxy", false,
			dropped(faultproxy.ToServer, wire.CommandMsgData)),
		killedAt("unanswered", "messages are stored and not answered", true,
			dropped(faultproxy.ToClient, wire.CommandMsgData)),
		killedAt("answered", "answers have just arrived", false, learned(wire.CommandMsgData)),
		killedAt("read-back-asked", "read-backs are requested", false,
			dropped(faultproxy.ToServer, wire.CommandMsgByIDReq)),
		killedAt("read-back-answered", "read-backs have just been answered", false, learned(wire.CommandMsgByIDRsp)),
		killedAt("announcing", "frames are in flight to the router", false, func(w *world) boundary {
			hold := &faultproxy.Hold{}
			a := w.onRoute(faultproxy.Rule{Commands: messages, Match: hold.Keeps, Do: hold.Do})
			return boundary{await: a.Await, release: hold.Release}
		}),
		killedAt("recording", "half of the status writes in flight are executed", false, func(w *world) boundary {
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

func (w *world) hold(d faultproxy.Direction, c wire.Command) (*faultproxy.Hold, *faultproxy.Armed) {
	hold := &faultproxy.Hold{}
	return hold, w.onDB(faultproxy.Rule{Direction: d, Commands: []wire.Command{c}, Match: hold.Keeps, Do: hold.Do})
}

// writers is how many statuses an operator writes at a time, at least.
const writers = 8

// caught is how many messages a fault affects at once. It is the number of messages that can be in flight, one per
// conversation.
func (w *world) caught() int {
	return max(1, min(24, w.size/4, (len(w.users)+len(w.groups))/2))
}

func (w *world) killAt(ctx context.Context, b boundary) {
	w.send(ctx, w.size)
	caught := w.caught()
	if b.most > 0 {
		caught = min(caught, b.most)
	}
	framework.Must(b.await(ctx, caught))
	if b.before {
		b.release()
	}
	w.kill(w.leader)
	if !b.before {
		b.release()
	}
	w.replace(ctx)
	// Messages that are declared now are sent at once, while the operator searches for the others.
	w.send(ctx, w.size/10)
}

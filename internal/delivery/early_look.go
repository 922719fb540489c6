// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// earlyScanMax is the highest number of rows that a look reads. The message is among the newest.
const earlyScanMax = scanCount * scanGrowth

// earlyLookBackoff is the time between the looks for one message. There are three to five until the answer times out.
var earlyLookBackoff = backoff{time.Second, 4 * time.Second}

// earlyLook looks for a message in the store while its answer is late, over another connection. A row that is found
// settles the send: each request is executed once, and the row has its token, or its time and content. A row that is
// not found proves nothing, because the request may still be executed.
type earlyLook struct {
	engine *Engine
	task   Task
	// found is the row after a look has shown it.
	found atomic.Pointer[wire.MsgInfo]
}

// start looks in the background until the row is found, and then calls settled. It ends with ctx. p is the recipient as
// it is if the answer does not come.
func (l *earlyLook) start(ctx context.Context, p recipientState, settled func()) {
	ctx = fairqueue.WithTenant(ctx, l.task.Key.Namespace)
	// The recipient is counted, so Engine.Start still waits.
	l.engine.unfinished.Go(func() {
		for n := int32(1); ctx.Err() == nil; n++ {
			if row := l.look(ctx, p); row != nil {
				l.found.Store(row)
				settled()
				return
			}
			env := l.engine.environment(l.task)
			waitUntil(ctx, env.backoff(earlyLookBackoff, n))
		}
	})
}

// waitUntil waits until a time, or until ctx is done.
func waitUntil(ctx context.Context, until time.Time) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	<-ctx.Done()
}

// look returns the row of the message, or nil. It reads only rows since the send. A stock db_proxy executes few
// requests about groups concurrently, so a look may have to wait.
func (l *earlyLook) look(ctx context.Context, p recipientState) *wire.MsgInfo {
	path, done, err := l.task.Server.Path()
	if err != nil {
		return nil
	}
	defer done()
	for count := uint32(scanCount); count <= earlyScanMax; count *= scanGrowth {
		s := &rowScanner{fingerprint: l.task.fingerprint(p), bound: p.CreateTime, keys: l.task.Server.Keys()}
		if err := path.Scan(ctx, l.task.session(p), count, s); err != nil {
			return nil
		}
		switch {
		case s.row != nil && l.task.isKeyConflict(p, s.row):
			return nil // not this send's
		case s.row != nil || s.ends(count):
			return s.row
		}
	}
	return nil
}

// adoptEarly is the state after a send whose row was found before its answer came. No later segment was sent.
func (p recipientState) adoptEarly(t Task, row *wire.MsgInfo, env environment) recipientState {
	p = p.adopt(SearchResult{Row: row, Standalone: t.isStandalone(p, row)}, env)
	p.laterSegmentsInDoubt = false
	return p
}

// unanswered is the state after a send whose answer has not come.
func (p recipientState) unanswered(sent dbproxy.Message, env environment) recipientState {
	return afterSend(p, sent, 0, dbproxy.ErrNoAnswer, env)
}

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// TrackReconcile is called before a reconciliation, and end after it. A drain waits for it. ok is false for messages
// that a draining engine does not know. After the drain has stopped waiting for records, it is false for all
// messages. Nothing may be recorded after the mark on the Lease is written.
func (e *Engine) TrackReconcile(uid types.UID) (end func(), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.tasks[uid]; e.recordingEnded || !known && e.work.Err() != nil {
		return nil, false
	}
	e.reconciles++
	return func() {
		e.mu.Lock()
		e.reconciles--
		e.mu.Unlock()
		e.wakeDrain()
	}, true
}

// Draining reports whether a drain has begun: nothing new may be sent.
func (e *Engine) Draining() bool { return e.work.Err() != nil }

// AwaitsRecord reports whether a drain waits until a task's progress is recorded, or the API server refuses it.
func (e *Engine) AwaitsRecord(uid types.UID) bool {
	t := e.taskOf(uid)
	if t == nil || e.work.Err() == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.recorded, t.refused) < t.revision
}

// Drain stops sending, and waits until all requests are answered and recorded (or their record is refused), or ctx is
// done. Records that the API server refused before are retried once. Drain does not wait for records longer than
// patience: a tenant that edits its messages continuously makes each write a conflict. It returns the messages that are
// not fully recorded, as their namespaces by UID.
func (e *Engine) Drain(ctx context.Context, patience time.Duration) (unrecorded map[types.UID]string, err error) {
	for _, key := range e.beginDrain() {
		e.notify(key)
	}
	enough := time.NewTimer(patience)
	defer enough.Stop()
	for {
		unrecorded, drained := e.drained()
		if drained {
			return unrecorded, nil
		}
		select {
		case <-e.poke:
		case <-enough.C:
			e.mu.Lock()
			e.recordingEnded = true
			e.mu.Unlock()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// beginDrain stops unsent messages, and returns the messages whose status the API server has refused.
func (e *Engine) beginDrain() (refused []types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.work.Err() != nil {
		return nil
	}
	e.cancelWork()
	for _, t := range e.tasks {
		t.mu.Lock()
		if t.refused > t.recorded {
			t.refused, refused = 0, append(refused, t.spec.Key)
		}
		t.mu.Unlock()
	}
	return refused
}

// drained reports whether a drain has nothing left to wait for, and which messages are not fully recorded.
func (e *Engine) drained() (unrecorded map[types.UID]string, drained bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running > 0 || e.reconciles > 0 {
		return nil, false
	}
	unrecorded = map[types.UID]string{}
	for uid, t := range e.tasks {
		t.mu.Lock()
		recorded, refused := t.recorded >= t.revision, t.refused >= t.revision
		t.mu.Unlock()
		switch {
		case recorded:
		case refused, e.recordingEnded:
			unrecorded[uid] = t.spec.Key.Namespace
		default:
			return nil, false
		}
	}
	return unrecorded, true
}

func (e *Engine) wakeDrain() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

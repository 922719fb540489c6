// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// queues have the edits that wait for a receiver's ledger: while one request writes it,
// those that come gather, and the next write is of all of them. Queues that nobody is
// in are dropped.
type queues struct {
	mu    sync.Mutex
	byKey map[types.NamespacedName]*queue
}

type queue struct {
	// slot is held by whoever writes.
	slot chan struct{}
	// Guarded by queues.mu.
	members int
	waiting []*editing
}

// editing is one request's edit.
type editing struct {
	edit func(*ledger) (changed bool)
	// done is closed once it was written, or could not be.
	done   chan struct{}
	ledger *ledger
	err    error
}

func (q *queues) join(key types.NamespacedName, e *editing) *queue {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.byKey == nil {
		q.byKey = map[types.NamespacedName]*queue{}
	}
	of := q.byKey[key]
	if of == nil {
		of = &queue{slot: make(chan struct{}, 1)}
		q.byKey[key] = of
	}
	of.members++
	of.waiting = append(of.waiting, e)
	return of
}

func (q *queues) leave(key types.NamespacedName, of *queue, e *editing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	of.waiting = slices.DeleteFunc(of.waiting, func(other *editing) bool { return other == e })
	if of.members--; of.members == 0 {
		delete(q.byKey, key)
	}
}

// take takes all that wait.
func (q *queues) take(of *queue) []*editing {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := of.waiting
	of.waiting = nil
	return all
}

// agree changes the ledger by edit, together with what others of this process want to
// change. Where edit reports no change, nothing is written for it. It may be called
// more than once, and by another goroutine, also after an error: what it has set must
// not be looked at then. The ledger is shared, to be read alone.
func (h *Handler) agree(ctx context.Context, r *v1alpha1.TeamTalkReceiver,
	edit func(*ledger) (changed bool)) (*ledger, error) {
	key, own := client.ObjectKeyFromObject(r), &editing{edit: edit, done: make(chan struct{})}
	of := h.ledgers.join(key, own)
	defer h.ledgers.leave(key, of, own)
	select {
	case <-own.done:
		return own.ledger, own.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for flood control's ledger: %w", ctx.Err())
	case of.slot <- struct{}{}:
	}
	defer func() { <-of.slot }()
	all := h.ledgers.take(of)
	if !slices.Contains(all, own) {
		// Written meanwhile, as were those beside it.
		for _, e := range all {
			h.ledgers.back(of, e)
		}
		<-own.done
		return own.ledger, own.err
	}
	l, err := h.write(ctx, r, all)
	if errors.Is(err, errFull) && len(all) > 1 {
		for _, e := range all {
			if e != own {
				h.ledgers.back(of, e)
			}
		}
		all = []*editing{own}
		l, err = h.write(ctx, r, all)
	}
	for _, e := range all {
		if err != nil && ctx.Err() != nil && e != own {
			h.ledgers.back(of, e) // the time of this request is over, not theirs
			continue
		}
		e.ledger, e.err = l, err
		close(e.done)
	}
	return l, err
}

// back has an edit wait again.
func (q *queues) back(of *queue, e *editing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	of.waiting = append(of.waiting, e)
}

// write changes the ledger by edits, again for as long as another process was faster.
func (h *Handler) write(ctx context.Context, r *v1alpha1.TeamTalkReceiver, edits []*editing) (*ledger, error) {
	for {
		cm, l, err := h.readLedger(ctx, r)
		if err != nil {
			return nil, err
		}
		changed := false
		for _, e := range edits {
			changed = e.edit(l) || changed
		}
		if !changed {
			l.find("") // makes the index, for those who share it
			return l, nil
		}
		b, err := l.fit(r, h.now(), maxLedger)
		if err != nil {
			return nil, err
		}
		l.find("")
		cm.Data, cm.BinaryData = nil, map[string][]byte{ledgerKey: b}
		if cm.ResourceVersion != "" {
			err = h.client.Update(ctx, cm)
		} else {
			err = h.client.Create(ctx, cm)
		}
		switch {
		case err == nil:
			return l, nil
		case !conflicted(err):
			return nil, fmt.Errorf("write flood control's ConfigMap %s: %w", cm.Name, err)
		}
		select {
		case <-time.After(rand.N(100 * time.Millisecond)):
		case <-ctx.Done():
			return nil, fmt.Errorf("write flood control's ConfigMap %s: others are always faster: %w", cm.Name, ctx.Err())
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// turns has something done a few times at once: what it takes in memory is taken so many
// times at most. A receiver has one turn at a time, and then comes after those that
// wait already, so that one that asks for all it may does not keep the others from
// theirs.
type turns struct {
	receivers locks
	free      chan struct{}
}

// They are the process's own: so is the memory.
var (
	// rendering are the turns of making texts.
	rendering = newTurns(4)
	// large are the turns of requests with large bodies.
	large = newTurns(4)
)

func newTurns(at int) *turns { return &turns{free: make(chan struct{}, at)} }

// enter waits for a turn; leave must be called after it.
func (t *turns) enter(ctx context.Context, receiver types.NamespacedName) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	release, err := t.receivers.take(ctx, receiver)
	if err != nil {
		return nil, err
	}
	select {
	case t.free <- struct{}{}:
		return func() { <-t.free; release() }, nil
	case <-ctx.Done():
		release()
		return nil, ctx.Err()
	}
}

// admit waits until there is room for a body to be decoded; leave must be called once
// nothing of it is left.
func admit(ctx context.Context, receiver types.NamespacedName, body []byte) (leave func(), err error) {
	if !notification.IsLarge(body) {
		return func() {}, nil
	}
	return large.enter(ctx, receiver)
}

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// batchPatience limits the wait of the next batch for the one in flight, whose answer may be lost.
	batchPatience = time.Second
	// maxShrunk leaves one group in a batch.
	maxShrunk = 5
)

// directoryCache looks up users and groups in the directories of TeamTalk, for all messages together. A user or group
// that was seen is assumed to exist for directoryTTL. Others are looked up in batches: lookups that wait while a batch
// is in flight share the next one. An absence is evidence for these lookups only, and is not cached. The zero value is
// ready to use.
type directoryCache struct {
	// batches counts the goroutines.
	batches sync.WaitGroup

	mu    sync.Mutex
	views map[viewKey]*directoryView
}

// viewKey identifies a view: neither sessions nor senders vouch for each other.
type viewKey struct {
	server TeamTalk
	sender uint32
}

// directoryView is the part of one directory that one sender sees.
type directoryView struct {
	viewKey
	// lastSeen holds when a user, or a group with the sender as a member, was last seen.
	lastSeen *cache.Expiring
	lastUsed time.Time
	waiting  []*waiter
	// asking is true while a batch is in flight and not overdue.
	asking bool
	// shrunk is how often batches were halved since shrunkAt, because an answer was too long.
	shrunk   int
	shrunkAt time.Time
}

// waiter waits for a snapshot that shows a recipient.
type waiter struct {
	to        v1alpha1.Recipient
	notBefore time.Time
	// batch is the batch of the waiter, or nil before it is in one.
	batch *batch
	// left is true if it does not wait any more.
	left     bool
	done     chan struct{}
	snapshot DirectorySnapshot
	err      error
}

func (w *waiter) answer(snapshot DirectorySnapshot, err error) {
	if !w.left {
		w.snapshot, w.err = snapshot, err
		close(w.done)
	}
}

// batch is one request for several waiters.
type batch struct {
	users, groups []uint32
	waiters       []*waiter
	// waiting counts the waiters that have not left; cancel ends a batch without any.
	waiting int
	cancel  context.CancelFunc
	// overdue: the next batch did not wait for it. ended: its waiters have answers.
	overdue, ended bool
}

// get returns a snapshot that shows sender and recipient, from notBefore or later; or one from after the call.
func (d *directoryCache) get(
	ctx context.Context, t Task, to v1alpha1.Recipient, notBefore time.Time,
) (DirectorySnapshot, error) {
	d.mu.Lock()
	v := d.view(viewKey{t.Server, t.Sender})
	if snapshot, seen := v.cached(to, notBefore); seen {
		d.mu.Unlock()
		return snapshot, nil
	}
	w := &waiter{to: to, notBefore: notBefore, done: make(chan struct{})}
	v.waiting = append(v.waiting, w)
	d.startBatch(v)
	d.mu.Unlock()

	select {
	case <-w.done:
		return w.snapshot, w.err
	case <-ctx.Done():
		d.leave(w)
		return DirectorySnapshot{}, ctx.Err()
	}
}

// leave ends a wait. The batch continues while others wait for it.
func (d *directoryCache) leave(w *waiter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.left = true
	if b := w.batch; b != nil {
		if b.waiting--; b.waiting == 0 {
			b.cancel()
		}
	}
}

// view returns the view of a key. A new view replaces views that are not used any more.
func (d *directoryCache) view(key viewKey) *directoryView {
	now := time.Now()
	v, ok := d.views[key]
	if !ok {
		maps.DeleteFunc(d.views, func(_ viewKey, v *directoryView) bool {
			return len(v.waiting) == 0 && !v.asking && now.Sub(v.lastUsed) > directoryTTL
		})
		v = &directoryView{viewKey: key, lastSeen: cache.NewExpiring()}
		if d.views == nil {
			d.views = map[viewKey]*directoryView{}
		}
		d.views[key] = v
	}
	v.lastUsed = now
	return v
}

// startBatch starts a batch for the waiters, unless one is in flight: then they wait for its end, or until it is
// overdue. A goroutine collects them, so that concurrent waiters share the batch.
func (d *directoryCache) startBatch(v *directoryView) {
	if v.asking || len(v.waiting) == 0 {
		return
	}
	v.asking = true
	d.batches.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		d.mu.Lock()
		b := v.nextBatch(cancel)
		v.asking = len(b.waiters) > 0
		d.mu.Unlock()
		if len(b.waiters) == 0 {
			return
		}
		overdue := time.AfterFunc(batchPatience, func() { d.overdue(v, b) })
		defer overdue.Stop()
		snapshot, err := v.fetch(ctx, b)
		d.settle(v, b, snapshot, err)
	})
}

func (d *directoryCache) overdue(v *directoryView, b *batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !b.ended {
		b.overdue, v.asking = true, false
		d.startBatch(v)
	}
}

func (v *directoryView) fetch(ctx context.Context, b *batch) (DirectorySnapshot, error) {
	path, done, err := v.server.Path()
	if err != nil {
		return DirectorySnapshot{}, err
	}
	defer done()
	return fetchDirectory(ctx, path, v.sender, b.users, b.groups)
}

// settle answers a batch's waiters, remembers who was seen, and starts the next batch.
func (d *directoryCache) settle(v *directoryView, b *batch, snapshot DirectorySnapshot, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		v.remember(b, snapshot)
	case errors.Is(err, dbproxy.ErrTooLong):
		v.shrunk, v.shrunkAt = min(maxShrunk, v.shrunk+1), time.Now()
	}
	b.ended = true
	for _, w := range b.waiters {
		w.answer(snapshot, err)
	}
	if !b.overdue {
		v.asking = false
	}
	d.startBatch(v)
}

// self is the sender as a recipient.
func (v *directoryView) self() v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: v.sender}
}

// seenAt returns when a recipient was last seen; the zero time: not within directoryTTL.
func (v *directoryView) seenAt(r v1alpha1.Recipient) time.Time {
	at, _ := v.lastSeen.Get(r)
	seen, _ := at.(time.Time)
	return seen
}

// cached returns a snapshot if sender and recipient were seen at notBefore or later.
func (v *directoryView) cached(to v1alpha1.Recipient, notBefore time.Time) (DirectorySnapshot, bool) {
	at := v.seenAt(v.self())
	if toAt := v.seenAt(to); toAt.Before(at) {
		at = toAt
	}
	if at.IsZero() || at.Before(notBefore) {
		return DirectorySnapshot{}, false
	}
	snapshot := DirectorySnapshot{At: at, Users: map[uint32]*wire.UserInfo{v.sender: {}}}
	if to.Type == v1alpha1.RecipientGroup {
		snapshot.Groups = map[uint32]*wire.GroupInfo{to.ID: {GroupMemberList: []uint32{v.sender}}}
	} else {
		snapshot.Users[to.ID] = &wire.UserInfo{}
	}
	return snapshot, true
}

// nextBatch takes as many waiters as fit into one request, and answers those that need none any more.
func (v *directoryView) nextBatch(cancel context.CancelFunc) *batch {
	b := &batch{cancel: cancel}
	if time.Since(v.shrunkAt) > directoryTTL {
		v.shrunk = 0
	}
	maxUsers, maxGroups := maxUsersPerRequest>>v.shrunk, max(1, maxGroupsPerRequest>>v.shrunk)
	asked := map[v1alpha1.Recipient]bool{}
	var rest []*waiter
	for _, w := range v.waiting {
		snapshot, seen := v.cached(w.to, w.notBefore)
		group := w.to.Type == v1alpha1.RecipientGroup
		switch {
		case w.left:
			continue
		case seen:
			w.answer(snapshot, nil)
			continue
		case asked[w.to]:
		case group && len(b.groups) < maxGroups:
			b.groups = append(b.groups, w.to.ID)
		case !group && len(b.users) < maxUsers:
			b.users = append(b.users, w.to.ID)
		default:
			rest = append(rest, w)
			continue
		}
		asked[w.to], w.batch = true, b
		b.waiters = append(b.waiters, w)
	}
	v.waiting, b.waiting = rest, len(b.waiters)
	return b
}

// remember records the users and groups that were seen, and drops the missing ones.
func (v *directoryView) remember(b *batch, snapshot DirectorySnapshot) {
	if !snapshot.respondsWithData() {
		return
	}
	keep := func(r v1alpha1.Recipient) {
		switch {
		case v.seenAt(r).After(snapshot.At):
			// This answer was late.
		case snapshot.shows(r, v.sender):
			v.lastSeen.Set(r, snapshot.At, directoryTTL)
		default:
			v.lastSeen.Delete(r)
		}
	}
	keep(v.self())
	for _, w := range b.waiters {
		keep(w.to)
	}
}

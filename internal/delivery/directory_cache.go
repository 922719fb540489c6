package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// batchPatience is how long the next question waits for the one under way: an
// answer that is lost must not hold up those who have not asked yet.
const batchPatience = time.Second

// maxShrunk leaves one group in a question.
const maxShrunk = 5

// directoryCache answers for the directories of TeamTalks, for all messages together.
// That somebody is there is believed for lookLife. Whoever is not known to be
// there is asked for, together with all who come while a question is under way;
// and what such a question does not show is evidence for those who asked, and is
// kept for nobody else. The zero value is ready to use.
type directoryCache struct {
	// questions counts the goroutines.
	batches sync.WaitGroup

	mu    sync.Mutex
	views map[viewKey]*directoryView
	// sweeping: what is outdated is dropped presently.
	sweeping bool
}

// viewKey is whose view of which directory, and through what: no session
// vouches for another one's, nor what one sender sees for another.
type viewKey struct {
	server TeamTalk
	sender uint32
}

// directoryView is what is known through one bookKey.
type directoryView struct {
	// there is when users, the sender among them, and groups with the sender as a
	// member were last seen.
	lastSeen map[v1alpha1.Recipient]time.Time
	// waiting are those who are to be asked for next.
	waiting []*lookupWaiter
	// asking: a question is under way, and not overdue yet.
	asking bool
	// shrunk halves questions as often: an answer that is too long to be held
	// must not fail everybody who is asked for with it.
	shrunk int
}

// lookupWaiter waits for a look at a recipient.
type lookupWaiter struct {
	to        v1alpha1.Recipient
	notBefore time.Time
	// question is the one that asks for it, once there is one.
	batch *batch
	// left: nobody waits any more.
	left     bool
	done     chan struct{}
	snapshot DirectorySnapshot
	err      error
}

// batch is one request, on behalf of several.
type batch struct {
	waiters []*lookupWaiter
	// waiting counts the askers that have not left; without one it is given up.
	waiting int
	cancel  context.CancelFunc
	// overdue: the next question did not wait for it; ended: it is settled.
	overdue, ended bool
}

// get returns a snapshot that shows the task's sender and the recipient, taken no
// earlier than notBefore; or, if one of them is not known to be there, one that
// was asked for after the call.
func (d *directoryCache) get(ctx context.Context, spec Task, to v1alpha1.Recipient, notBefore time.Time) (DirectorySnapshot, error) {
	key := viewKey{server: spec.Server, sender: spec.Sender}
	d.mu.Lock()
	b := d.directoryView(key)
	if snapshot, ok := b.cached(key.sender, to, notBefore); ok {
		d.mu.Unlock()
		return snapshot, nil
	}
	if err := ctx.Err(); err != nil {
		d.mu.Unlock()
		return DirectorySnapshot{}, err
	}
	a := &lookupWaiter{to: to, notBefore: notBefore, done: make(chan struct{})}
	b.waiting = append(b.waiting, a)
	d.next(key, b)
	d.mu.Unlock()

	select {
	case <-a.done:
		return a.snapshot, a.err
	case <-ctx.Done():
		d.leave(a)
		return DirectorySnapshot{}, ctx.Err()
	}
}

// prefetch asks for recipients who will be looked at presently: the one who came
// first would be asked for alone, and the others wait for that.
func (d *directoryCache) prefetch(spec Task, recipients []v1alpha1.Recipient) {
	key := viewKey{server: spec.Server, sender: spec.Sender}
	notBefore := time.Now().Add(-directoryTTL)
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.directoryView(key)
	for _, to := range recipients {
		if _, ok := b.cached(key.sender, to, notBefore); !ok {
			b.waiting = append(b.waiting, &lookupWaiter{to: to, notBefore: notBefore, done: make(chan struct{})})
		}
	}
	d.next(key, b)
}

// leave waits no longer. The others do.
func (d *directoryCache) leave(a *lookupWaiter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.left = true
	if q := a.batch; q != nil {
		if q.waiting--; q.waiting == 0 {
			q.cancel()
		}
	}
}

// book returns the key's book, which is dropped some time after its last use.
func (d *directoryCache) directoryView(key viewKey) *directoryView {
	b, ok := d.views[key]
	if !ok {
		b = &directoryView{lastSeen: map[v1alpha1.Recipient]time.Time{}}
		if d.views == nil {
			d.views = map[viewKey]*directoryView{}
		}
		d.views[key] = b
	}
	if !d.sweeping {
		d.sweeping = true
		time.AfterFunc(directoryTTL, d.sweep)
	}
	return b
}

// sweep drops what is outdated, and goes on for as long as there is something left.
func (d *directoryCache) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	oldest := time.Now().Add(-directoryTTL)
	for key, b := range d.views {
		for r, at := range b.lastSeen {
			if at.Before(oldest) {
				delete(b.lastSeen, r)
			}
		}
		b.shrunk = 0
		if len(b.lastSeen) == 0 && len(b.waiting) == 0 && !b.asking {
			delete(d.views, key)
		}
	}
	d.sweeping = len(d.views) > 0
	if d.sweeping {
		time.AfterFunc(directoryTTL, d.sweep)
	}
}

// cached returns a look at those who are known to be there since notBefore.
func (b *directoryView) cached(sender uint32, to v1alpha1.Recipient, notBefore time.Time) (DirectorySnapshot, bool) {
	self := v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: sender}
	at, sure := b.lastSeen[self]
	toAt, there := b.lastSeen[to]
	if toAt.Before(at) {
		at = toAt
	}
	if !sure || !there || at.Before(notBefore) {
		return DirectorySnapshot{}, false
	}
	snapshot := DirectorySnapshot{At: at, Users: map[uint32]*wire.UserInfo{sender: {}}}
	if to.Type == v1alpha1.RecipientGroup {
		snapshot.Groups = map[uint32]*wire.GroupInfo{to.ID: {GroupMemberList: []uint32{sender}}}
	} else {
		snapshot.Users[to.ID] = &wire.UserInfo{}
	}
	return snapshot, true
}

// next asks for those who wait, unless a question is under way: then they wait
// for its end, or until it is overdue. A goroutine does, so that those who come
// at the same moment go along.
func (d *directoryCache) next(key viewKey, b *directoryView) {
	if b.asking || len(b.waiting) == 0 {
		return
	}
	b.asking = true
	d.batches.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		d.mu.Lock()
		users, groups, waiters := b.gather(key.sender)
		q := &batch{waiters: waiters, waiting: len(waiters), cancel: cancel}
		for _, a := range waiters {
			a.batch = q
		}
		if len(waiters) == 0 {
			b.asking = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		overdue := time.AfterFunc(batchPatience, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !q.ended {
				q.overdue, b.asking = true, false
				d.next(key, b)
			}
		})
		defer overdue.Stop()
		snapshot, err := ask(ctx, key, users, groups)
		d.settle(key, b, q, snapshot, err)
	})
}

func ask(ctx context.Context, key viewKey, users, groups []uint32) (DirectorySnapshot, error) {
	path, err := key.server.Path()
	if err != nil {
		return DirectorySnapshot{}, err
	}
	return fetchDirectory(ctx, path, key.sender, users, groups)
}

// gather takes as many of those who wait as one question may ask for; who has
// become known meanwhile is served at once.
func (b *directoryView) gather(sender uint32) (users, groups []uint32, waiters []*lookupWaiter) {
	maxUsers, maxGroups := maxUsersPerRequest>>b.shrunk, max(1, maxGroupsPerRequest>>b.shrunk)
	asked := map[v1alpha1.Recipient]bool{}
	var rest []*lookupWaiter
	for _, a := range b.waiting {
		snapshot, known := b.cached(sender, a.to, a.notBefore)
		group := a.to.Type == v1alpha1.RecipientGroup
		switch {
		case a.left:
			continue
		case known:
			a.snapshot = snapshot
			close(a.done)
			continue
		case asked[a.to]:
		case group && len(groups) < maxGroups:
			groups = append(groups, a.to.ID)
		case !group && len(users) < maxUsers:
			users = append(users, a.to.ID)
		default:
			rest = append(rest, a)
			continue
		}
		asked[a.to] = true
		waiters = append(waiters, a)
	}
	b.waiting = rest
	return users, groups, waiters
}

// settle answers those who asked, remembers who is there, and lets the next
// question be asked.
func (d *directoryCache) settle(key viewKey, b *directoryView, q *batch, snapshot DirectorySnapshot, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		b.remember(key.sender, q, snapshot)
	case errors.Is(err, dbproxy.ErrTooLong):
		b.shrunk = min(maxShrunk, b.shrunk+1)
	}
	q.ended = true
	for _, a := range q.waiters {
		if !a.left {
			a.snapshot, a.err = snapshot, err
			close(a.done)
		}
	}
	if !q.overdue {
		b.asking = false
	}
	d.next(key, b)
}

// remember keeps who is there. Who is missing is only no longer believed to be
// there: whether that is evidence is for those who asked to judge.
func (b *directoryView) remember(sender uint32, q *batch, snapshot DirectorySnapshot) {
	if !snapshot.respondsWithData() {
		return
	}
	keep := func(r v1alpha1.Recipient, there bool) {
		switch at, known := b.lastSeen[r]; {
		case known && at.After(snapshot.At):
			// An answer that was late.
		case there:
			b.lastSeen[r] = snapshot.At
		default:
			delete(b.lastSeen, r)
		}
	}
	keep(v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: sender}, snapshot.Users[sender] != nil)
	for _, a := range q.waiters {
		if a.to.Type == v1alpha1.RecipientGroup {
			// Empty ones are sent to, too, but do not show the sender in them.
			keep(a.to, snapshot.isMember(a.to.ID, sender))
		} else {
			keep(a.to, snapshot.Users[a.to.ID] != nil)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// userNamesTTL is how long the names of all users are used, and the least time between two requests for them.
	userNamesTTL = time.Minute
	// groupNamesTTL is the same for the names of a sender's groups.
	groupNamesTTL = 10 * time.Second
	// pacedGrace is the wait after which the status tells that the names will be read later because they were read
	// recently.
	pacedGrace = 5 * time.Second
)

var (
	// nameBackoff is between reads of the names of groups that fail.
	nameBackoff = backoff{time.Second, time.Minute}
	// unsentNameBackoff is while there is no connection.
	unsentNameBackoff = backoff{500 * time.Millisecond, 2 * time.Second}
)

// Messages of resources that wait for names.
const (
	msgNoGroupNames = "TeamTalk does not show the sender's groups; its database may be down"
	msgNoUserNames  = "TeamTalk does not show its users; its database may be down. They are requested once a minute"
	msgNamesPaced   = "waits for the names of all users, which are requested once a minute"
	msgTooManyNames = "TeamTalk has too many users or groups to be searched for names: use ids"
)

// errNoNames reports an answer that may be due to an outage.
var errNoNames = errors.New("the directory shows nothing")

// nameCache holds the names of TeamTalks' users, and of the groups of senders. The zero value is ready to use.
type nameCache struct {
	reads sync.WaitGroup

	mu    sync.Mutex
	needs map[NameRequester]*nameNeeds
	views map[nameViewKey]*nameView
	// userReads outlive the sessions of a server.
	userReads map[types.NamespacedName]userRead
	ended     bool
}

// nameNeeds describes a resource that waits for names.
type nameNeeds struct {
	// since is from when it has needed them.
	since  time.Time
	server Directory
	// absentSince is when the names of the server were read that lacked one first.
	absentSince map[v1alpha1.Recipient]time.Time
}

// userRead is the last request for all users of a server.
type userRead struct {
	// ended is when the request was answered or abandoned.
	ended   time.Time
	running bool
}

// nameViewKey identifies the names of all users, or those of the groups of a sender.
type nameViewKey struct {
	server Directory
	// groupsOf is 0 for users.
	groupsOf uint32
}

// nameView holds the known names of a key.
type nameView struct {
	nameViewKey
	serverKey types.NamespacedName
	// sender is the user in whose name the requests are sent.
	sender uint32
	ttl    time.Duration
	// latest is the last answer. It is dropped before the next one is read: two of them take too much memory.
	latest *nameRead
	// absent holds names of users that the last answer lacked. They are searched for next among the users who have left.
	absent map[string]struct{}
	// failure is the cause of the last failed request. failures counts consecutive failures.
	failure  *v1alpha1.Cause
	failures int32
	// waiting are called after the next read.
	waiting map[NameRequester]func()
	// reading is true while a read is in flight or scheduled.
	reading  bool
	next     time.Time
	lastUsed time.Time
}

// nameRead is an answer, and the time of its request.
type nameRead struct {
	nameTable
	departedUsers
	at time.Time
}

func (d *nameCache) view(q NameQuery, kind v1alpha1.RecipientType, now time.Time) *nameView {
	key, ttl := nameViewKey{server: q.Server}, userNamesTTL
	if kind == v1alpha1.RecipientGroup {
		key.groupsOf, ttl = q.Sender, groupNamesTTL
	}
	v := d.views[key]
	if v == nil {
		v = &nameView{
			nameViewKey: key, serverKey: q.ServerKey, ttl: ttl,
			waiting: map[NameRequester]func(){}, absent: map[string]struct{}{},
		}
		d.views[key] = v
		d.expire(v)
	}
	v.sender, v.lastUsed = q.Sender, now
	return v
}

// expire drops a view that is not used any more.
func (d *nameCache) expire(v *nameView) {
	time.AfterFunc(2*userNamesTTL, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.ended {
			return
		}
		if v.reading || time.Since(v.lastUsed) < 2*userNamesTTL {
			d.expire(v)
			return
		}
		delete(d.views, v.nameViewKey)
		if v.groupsOf == 0 && d.untilPaced(v, time.Now()) <= 0 {
			delete(d.userReads, v.serverKey)
		}
	})
}

func (v *nameView) isFresh(now time.Time) bool {
	return v.latest != nil && now.Before(v.latest.at.Add(v.ttl))
}

// awaitNames registers a requester to be woken after the next read. The cache is locked.
func (e *Engine) awaitNames(v *nameView, q NameQuery) {
	v.waiting[q.Requester] = q.Wake
	if v.reading || e.names.ended {
		return
	}
	v.reading = true
	now, wait := time.Now(), time.Duration(0)
	switch {
	case v.failures > 0 && v.failure.Reason == v1alpha1.ReasonServerNotReady:
		wait = e.environmentAt(now).backoff(unsentNameBackoff, v.failures).Sub(now)
	case v.groupsOf == 0: // see untilPaced
	case v.failures > 0:
		wait = e.environmentAt(now).backoff(nameBackoff, v.failures).Sub(now)
	case v.latest != nil:
		wait = v.latest.at.Add(v.ttl).Sub(now)
	}
	e.readNamesAfter(v, max(wait, e.names.untilPaced(v, now)))
}

// untilPaced returns the time until all users may be requested again. The result of the last request does not matter:
// db_proxy executes it even if it was cancelled. The cache is locked.
func (d *nameCache) untilPaced(v *nameView, now time.Time) time.Duration {
	last, known := d.userReads[v.serverKey]
	switch {
	case v.groupsOf != 0 || !known:
		return 0
	case last.running:
		return time.Second
	}
	return last.ended.Add(userNamesTTL).Sub(now)
}

// readNamesAfter reads the names of a view after a time, or later if another session of the server has requested them
// meanwhile. The cache is locked.
func (e *Engine) readNamesAfter(v *nameView, wait time.Duration) {
	d := &e.names
	if v.next = time.Now().Add(wait); wait > 0 {
		time.AfterFunc(wait, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !d.ended {
				e.readNamesAfter(v, d.untilPaced(v, time.Now()))
			}
		})
		return
	}
	v.latest = nil
	before := d.userReads[v.serverKey]
	if v.groupsOf == 0 {
		d.userReads[v.serverKey] = userRead{ended: before.ended, running: true}
	}
	d.reads.Go(func() { e.readNames(v, before) })
}

// notRead returns why the names of a view are not known, or nil while they are being read. The cache is locked.
func (v *nameView) notRead(now time.Time) *v1alpha1.Cause {
	if v.failure == nil && v.next.Sub(now) > pacedGrace {
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotReady, Message: msgNamesPaced}
	}
	return v.failure
}

func (e *Engine) environmentAt(now time.Time) environment {
	return environment{now: now, jitter: e.jitter}
}

// end waits for the reads in flight, after their context has ended.
func (d *nameCache) end() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.reads.Wait()
}

// readNames reads the names of a view, and wakes the requesters. Names without a user are then searched for among the
// users who have left, which does not delay other requesters. before is the last request for all users.
func (e *Engine) readNames(v *nameView, before userRead) {
	d := &e.names
	d.mu.Lock()
	sender, wanted := v.sender, v.absent
	v.absent = map[string]struct{}{}
	d.mu.Unlock()
	read := &nameRead{at: time.Now()}
	err := v.fetch(e.base, sender, read)
	d.mu.Lock()
	if v.groupsOf == 0 {
		last := userRead{ended: time.Now()}
		if errors.Is(err, dbproxy.ErrNotSent) {
			last = before
		}
		d.userReads[v.serverKey] = last
	}
	if err == nil {
		v.latest, v.failure, v.failures = read, nil, 0
		maps.DeleteFunc(wanted, func(name string, _ struct{}) bool { return len(read.find(name)) > 0 })
	} else {
		v.failures++
		v.failure = v.nameFailure(err)
		maps.Copy(v.absent, wanted)
	}
	for searches := err == nil && v.groupsOf == 0 && len(wanted) > 0; ; searches = false {
		v.reading = searches
		woken := v.waiting
		v.waiting = map[NameRequester]func(){}
		d.mu.Unlock()
		for _, wake := range woken {
			wake()
		}
		if !searches {
			return
		}
		found := v.searchDeparted(e.base, sender, &read.nameTable, wanted)
		d.mu.Lock()
		if read.departedUsers = found; found.searched == nil {
			maps.Copy(v.absent, wanted)
		}
	}
}

func (v *nameView) nameFailure(err error) *v1alpha1.Cause {
	switch {
	case errors.Is(err, dbproxy.ErrNotSent):
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotReady, Message: msgNotConnected}
	case errors.Is(err, errTableFull), errors.Is(err, dbproxy.ErrTooLong):
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonNoAnswer, Message: msgTooManyNames}
	case v.groupsOf != 0:
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonNoAnswer, Message: msgNoGroupNames}
	}
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonNoAnswer, Message: msgNoUserNames}
}

// fetch reads the names of the view.
func (v *nameView) fetch(ctx context.Context, sender uint32, into *nameRead) error {
	path, done, err := v.server.Path()
	if err != nil {
		return err
	}
	defer done()
	if v.groupsOf != 0 {
		if err := fetchGroupNames(ctx, path, v.groupsOf, &into.nameTable); err != nil {
			return err
		}
		return into.finish()
	}
	if err := path.ScanUsers(ctx, sender, &into.nameTable); err != nil {
		return err
	}
	if len(into.entries) == 0 && !into.full {
		return errNoNames
	}
	return into.finish()
}

// fetchGroupNames reads the names of a user's normal groups. An empty list is accepted only if the same answer path
// shows the user.
func fetchGroupNames(ctx context.Context, reads dbproxy.Reads, user uint32, into *nameTable) error {
	ids, err := reads.GroupsOf(ctx, user)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		users, err := reads.Users(ctx, user, []uint32{user})
		if err == nil && len(users) == 0 {
			err = errNoNames
		}
		return err
	}
	for size := maxGroupsPerRequest; len(ids) > 0; {
		chunk := ids[:min(size, len(ids))]
		groups, err := reads.Groups(ctx, user, chunk, keepGroupName)
		switch {
		case errors.Is(err, dbproxy.ErrTooLong) && size > 1:
			size /= 2
			continue
		case err != nil:
			return err
		}
		for _, id := range chunk {
			g := groups[id]
			if g == nil {
				return errNoNames // one of two tables cannot be read
			}
			into.add(id, []byte(g.GetGroupName()))
		}
		ids = ids[len(chunk):]
	}
	return nil
}

// keepGroupName drops the members of a group.
func keepGroupName(g *wire.GroupInfo) {
	id, name := g.GetGroupId(), g.GetGroupName()
	proto.Reset(g)
	g.GroupId, g.GroupName = &id, &name
}

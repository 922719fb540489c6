// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// userNamesTTL is how long the names of all users are used, and how often they are read at most.
	userNamesTTL = time.Minute
	// groupNamesTTL is the same for the names of a sender's groups.
	groupNamesTTL = 10 * time.Second
)

var (
	// nameBackoff is between reads of names that fail.
	nameBackoff = backoff{time.Second, time.Minute}
	// unsentNameBackoff is while there is no connection.
	unsentNameBackoff = backoff{500 * time.Millisecond, 2 * time.Second}
)

// Messages of what waits for names.
const (
	msgNoNames      = "TeamTalk does not show its users or groups; its database may be down"
	msgTooManyNames = "TeamTalk has too many users or groups to be searched for names: use ids"
)

// errNoNames reports an answer that may be that of an outage.
var errNoNames = errors.New("the directory shows nothing")

// nameCache holds the names of TeamTalks' users, and of the groups of senders. The zero value is ready to use.
type nameCache struct {
	reads sync.WaitGroup

	mu sync.Mutex
	// since is from when resources have needed names.
	since map[NameRequester]time.Time
	views map[nameViewKey]*nameView
	ended bool
}

// nameViewKey identifies the names of all users, or those of the groups of a sender.
type nameViewKey struct {
	server Directory
	// groupsOf is 0 for users.
	groupsOf uint32
}

// nameView is what is known of the names of a key.
type nameView struct {
	nameViewKey
	// sender is the user who asks.
	sender uint32
	lag    time.Duration
	ttl    time.Duration
	// latest is the last answer, and before an earlier one: by at least the replica lag, as soon as there is one.
	latest, before *nameRead
	// failure is why there was no answer since; failures counts those in a row.
	failure  *v1alpha1.Cause
	failures int32
	// waiting are called after the next read.
	waiting map[NameRequester]func()
	// reading: a read is under way, or scheduled.
	reading  bool
	lastUsed time.Time
}

// nameRead is an answer, and when it was asked for.
type nameRead struct {
	nameTable
	at time.Time
}

func (d *nameCache) view(q NameQuery, kind v1alpha1.RecipientType, now time.Time) *nameView {
	key, ttl := nameViewKey{server: q.Server}, userNamesTTL
	if kind == v1alpha1.RecipientGroup {
		key.groupsOf, ttl = q.Sender, groupNamesTTL
	}
	v := d.views[key]
	if v == nil {
		v = &nameView{nameViewKey: key, ttl: ttl, waiting: map[NameRequester]func(){}}
		d.views[key] = v
		d.expire(v)
	}
	v.sender, v.lag, v.lastUsed = q.Sender, q.ReplicaLag, now
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
	})
}

func (v *nameView) isFresh(now time.Time) bool {
	return v.latest != nil && now.Before(v.latest.at.Add(v.ttl))
}

// awaitNames has a requester woken after the next read. The cache is locked.
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
	case v.failures > 0:
		wait = e.environmentAt(now).backoff(nameBackoff, v.failures).Sub(now)
	case v.latest != nil:
		wait = v.latest.at.Add(v.ttl).Sub(now)
	}
	if wait <= 0 {
		e.names.reads.Go(func() { e.readNames(v) })
		return
	}
	time.AfterFunc(wait, func() {
		e.names.mu.Lock()
		defer e.names.mu.Unlock()
		if !e.names.ended {
			e.names.reads.Go(func() { e.readNames(v) })
		}
	})
}

func (e *Engine) environmentAt(now time.Time) environment {
	return environment{now: now, jitter: e.jitter}
}

// end waits for the reads under way, after their context has ended.
func (d *nameCache) end() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.reads.Wait()
}

// readNames reads the names of a view, and wakes who waits for them.
func (e *Engine) readNames(v *nameView) {
	d := &e.names
	d.mu.Lock()
	sender := v.sender
	d.mu.Unlock()
	read := &nameRead{at: time.Now()}
	err := v.fetch(e.base, sender, &read.nameTable)
	if err == nil {
		err = read.finish()
	}
	d.mu.Lock()
	v.reading = false
	if err == nil {
		if v.before == nil || v.latest.at.Sub(v.before.at) >= v.lag {
			v.before = v.latest
		}
		v.latest, v.failure, v.failures = read, nil, 0
	} else {
		v.failures++
		v.failure = nameFailure(err)
	}
	woken := v.waiting
	v.waiting = map[NameRequester]func(){}
	d.mu.Unlock()
	for _, wake := range woken {
		wake()
	}
}

func nameFailure(err error) *v1alpha1.Cause {
	switch {
	case errors.Is(err, dbproxy.ErrNotSent):
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotReady, Message: msgNotConnected}
	case errors.Is(err, errTableFull), errors.Is(err, dbproxy.ErrTooLong):
		return &v1alpha1.Cause{Reason: v1alpha1.ReasonNoAnswer, Message: msgTooManyNames}
	}
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonNoAnswer, Message: msgNoNames}
}

// fetch reads the names of the view.
func (v *nameView) fetch(ctx context.Context, sender uint32, into *nameTable) error {
	path, done, err := v.server.Path()
	if err != nil {
		return err
	}
	defer done()
	if v.groupsOf != 0 {
		return fetchGroupNames(ctx, path, v.groupsOf, into)
	}
	if err := path.ScanUsers(ctx, sender, into); err != nil {
		return err
	}
	if len(into.entries) == 0 && !into.full {
		return errNoNames
	}
	return nil
}

// fetchGroupNames reads the names of a user's normal groups. That it has none is believed beside the user itself.
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

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// GroupHold is how long a change of a group's members holds messages to the group back.
const GroupHold = 30 * time.Second

// GroupChanges holds the groups whose members are being changed. A message to one of them waits for the end of the
// change, for GroupHold at most. So it is sent to the new members. The time counts from the first message that could
// be sent: an outage, without changes and messages, does not consume it. The zero value is ready to use.
type GroupChanges struct {
	mu      sync.Mutex
	changes map[types.UID]groupKey
	groups  map[groupKey]*changingGroup
}

// groupKey is a group of a TeamTalkServer.
type groupKey struct {
	server types.NamespacedName
	id     uint32
}

// changingGroup is a group with changes.
type changingGroup struct {
	changes int
	// since is when the first message began to wait for the change, or zero.
	since time.Time
	// wake are called at the end of the last one.
	wake []func()
}

// Begin records that a resource will change the members of a group. A second call does not restart the time.
func (g *GroupChanges) Begin(by types.UID, server types.NamespacedName, id uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.changes[by]; known {
		return
	}
	if g.changes == nil {
		g.changes, g.groups = map[types.UID]groupKey{}, map[groupKey]*changingGroup{}
	}
	key := groupKey{server, id}
	g.changes[by] = key
	group := g.groups[key]
	if group == nil {
		group = &changingGroup{}
		g.groups[key] = group
	}
	group.changes, group.since = group.changes+1, time.Time{}
}

// Restart records that the change begins only now. The time restarts for messages that have not waited.
func (g *GroupChanges) Restart(by types.UID) {
	g.mu.Lock()
	key := g.changes[by]
	g.mu.Unlock()
	g.restart(key)
}

// restart restarts the time of a group's changes.
func (g *GroupChanges) restart(key groupKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if group := g.groups[key]; group != nil {
		group.since = time.Time{}
	}
}

// End records that a resource has ended its change.
func (g *GroupChanges) End(by types.UID) {
	g.mu.Lock()
	var wake []func()
	if key, known := g.changes[by]; known {
		delete(g.changes, by)
		group := g.groups[key]
		if group.changes--; group.changes == 0 {
			wake = group.wake
			delete(g.groups, key)
		}
	}
	g.mu.Unlock()
	for _, f := range wake {
		f()
	}
}

// heldUntil returns the time until which messages to a group wait at most, or zero. If they wait, wake is called at the
// end of the change. It must not block.
func (g *GroupChanges) heldUntil(server types.NamespacedName, id uint32, now time.Time, wake func()) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	group := g.groups[groupKey{server, id}]
	if group == nil {
		return time.Time{}
	}
	if group.since.IsZero() {
		group.since = now
	}
	until := group.since.Add(GroupHold)
	if !until.After(now) {
		return time.Time{}
	}
	group.wake = append(group.wake, wake)
	return until
}

// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Reads are the requests that store nothing. See Path for each of them.
type Reads interface {
	DirectoryReads
	MessageReads
}

// DirectoryReads read users and groups.
type DirectoryReads interface {
	Users(ctx context.Context, requester uint32, ids []uint32) (map[uint32]*wire.UserInfo, error)
	Groups(ctx context.Context, requester uint32, ids []uint32, reduce func(*wire.GroupInfo)) (
		map[uint32]*wire.GroupInfo, error)
	ScanUsers(ctx context.Context, requester uint32, to UserScanner) error
	GroupsOf(ctx context.Context, user uint32) ([]uint32, error)
}

// MessageReads read the tables of messages.
type MessageReads interface {
	Scan(ctx context.Context, s Session, count uint32, to Scanner) error
	ByID(ctx context.Context, s Session, ids []uint32) ([]*wire.MsgInfo, error)
	LatestID(ctx context.Context, s Session) (uint32, error)
	RecentSessions(ctx context.Context, user uint32) ([]*wire.ContactSessionInfo, error)
}

// Path sends reads over one connection, and so to one db_proxy process, even if there are several behind the address.
// So its answers prove something about each other. Its requests fail with ErrNotSent after the connection has ended.
type Path struct {
	client *Client
	conn   *conn // nil: for each request, the one with the fewest requests
}

var _ Reads = (*Path)(nil)

// OpenPath returns a path over a connection that accepts requests, or ErrNotSent. The caller calls done after the last
// request: until then, the connection stays open even if another one takes its place.
func (c *Client) OpenPath() (p *Path, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cn := c.leastLoaded(nil)
	if cn == nil {
		return nil, nil, notSent(ErrNotConnected)
	}
	cn.paths.Add(1)
	return &Path{client: c, conn: cn}, func() {
		cn.paths.Add(-1)
		cn.closeUnused()
	}, nil
}

// acquire waits for a slot of one of the db_proxies behind the connections that may take the request. It returns a
// connection to that db_proxy, on which the request is counted.
func (p *Path) acquire(ctx context.Context, x *exchange) (*conn, *slot, error) {
	for {
		shares, moved := p.shares()
		if len(shares) == 0 {
			return nil, nil, ErrNotConnected
		}
		w := &waiter{group: x.group, shares: shares, moved: moved, queued: x.queued}
		slot, err := p.client.opts.Limits.acquire(ctx, w)
		switch {
		case errors.Is(err, errMoved):
			continue // another db_proxy may be connected
		case err != nil:
			return nil, nil, err
		}
		if cn := p.pick(slot.share); cn != nil {
			return cn, slot, nil
		}
		slot.release()
	}
}

// shares returns the shares whose slots suit a request, those with the best connections first, and a channel that is
// closed when they have changed.
func (p *Path) shares() (shares []*share, moved <-chan struct{}) {
	c := p.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.conn != nil {
		if p.conn.takesOfPath() {
			shares = []*share{p.conn.share}
		}
		return shares, c.moved
	}
	var best []*conn // of each share
	for cn := range c.conns {
		if !cn.takes() {
			continue
		}
		i := slices.IndexFunc(best, func(other *conn) bool { return other.share == cn.share })
		switch {
		case i < 0:
			best = append(best, cn)
		case cn.compare(best[i]) < 0:
			best[i] = cn
		}
	}
	slices.SortFunc(best, (*conn).compare)
	for _, cn := range best {
		shares = append(shares, cn.share)
	}
	return shares, c.moved
}

// pick returns the connection for a request and counts the request on it, or nil if there is none.
func (p *Path) pick(of *share) *conn {
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	cn := p.conn
	switch {
	case cn == nil:
		if cn = p.client.leastLoaded(of); cn == nil {
			return nil
		}
	case !cn.takesOfPath():
		return nil
	}
	// If the connection ends now, register fails.
	cn.load.Add(1)
	return cn
}

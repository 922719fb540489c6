// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Reads are the requests that store nothing. See Path for each of them.
type Reads interface {
	DirectoryReads
	MessageReads
}

// DirectoryReads read users and groups.
type DirectoryReads interface {
	Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error)
	Groups(ctx context.Context, asker uint32, ids []uint32, reduce func(*wire.GroupInfo)) (
		map[uint32]*wire.GroupInfo, error)
}

// MessageReads read the tables of messages.
type MessageReads interface {
	Scan(ctx context.Context, s Session, count uint32, to Scanner) error
	ByID(ctx context.Context, s Session, ids []uint32) ([]*wire.MsgInfo, error)
	LatestID(ctx context.Context, s Session) (uint32, error)
	RecentSessions(ctx context.Context, user uint32) ([]*wire.ContactSessionInfo, error)
}

// Path sends reads over one connection, and so to one db_proxy process, even if there are several behind
// the address: its answers prove something about each other. Its requests fail with ErrNotSent
// after the connection has ended.
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

// acquire waits for a slot of the db_proxy behind the connection with the fewest requests. It returns a connection
// to that db_proxy, on which the request is counted.
func (p *Path) acquire(ctx context.Context, group bool) (*conn, func(), error) {
	for {
		next := p.next(nil)
		if next == nil {
			return nil, nil, ErrNotConnected
		}
		release, err := next.share.acquire(ctx, group)
		switch {
		case errors.Is(err, errNoConnections):
			continue // another db_proxy may be connected
		case err != nil:
			return nil, nil, err
		}
		if cn := p.pick(next.share); cn != nil {
			return cn, release, nil
		}
		release()
	}
}

// next returns a connection that accepts requests, or nil. If of is set, it is a connection of that share.
func (p *Path) next(of *share) *conn {
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	if p.conn == nil {
		return p.client.leastLoaded(of)
	}
	if p.conn.takesOfPath() {
		return p.conn
	}
	return nil
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

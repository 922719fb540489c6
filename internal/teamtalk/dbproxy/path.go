// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"

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

// OpenPath returns a path over a connection that accepts requests, or ErrNotSent.
func (c *Client) OpenPath() (*Path, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cn := c.leastLoaded()
	if cn == nil {
		return nil, notSent(ErrNotConnected)
	}
	return &Path{client: c, conn: cn}, nil
}

// pick returns the connection for a request and counts the request on it, or nil if there is none.
func (p *Path) pick() *conn {
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	cn := p.conn
	if cn == nil {
		cn = p.client.leastLoaded()
	}
	if cn == nil || !cn.takes() {
		return nil
	}
	// If the connection ends now, register fails.
	cn.load.Add(1)
	return cn
}

package dbproxy

import (
	"context"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Reads are the questions that db_proxy answers without storing anything; see
// Client and Path for each.
type Reads interface {
	Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error)
	Groups(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.GroupInfo, error)
	Scan(ctx context.Context, s Session, count uint32, to Scanner) error
	ByID(ctx context.Context, s Session, ids []uint32) ([]*wire.MsgInfo, error)
	LatestID(ctx context.Context, s Session) (uint32, error)
}

// Path is a Client's reads over one connection, and so through one db_proxy
// process, however many stand behind the address: what one answer vouches for
// holds for the others. Its requests fail with ErrNotSent once the connection is
// gone.
type Path struct {
	client *Client
	conn   *conn // nil: whichever has the least to do
}

var _ Reads = (*Path)(nil)

// Path returns a path over a connection that takes requests, or ErrNotSent.
func (c *Client) Path() (*Path, error) {
	cn := c.pick()
	if cn == nil {
		return nil, notSent(ErrNotConnected)
	}
	cn.load.Add(-1) // it was counted for a request, and this is none yet
	return &Path{client: c, conn: cn}, nil
}

func (c *Client) anyPath() *Path { return &Path{client: c} }

// pick returns the path's connection with one more request counted on it, or nil
// where it takes none.
func (p *Path) pick() *conn {
	if p.conn == nil {
		return p.client.pick()
	}
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	if !p.conn.takes() {
		return nil
	}
	// One that is lost meanwhile refuses to register the call.
	p.conn.load.Add(1)
	return p.conn
}

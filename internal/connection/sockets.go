// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

const (
	// maxSockets limits the connections of the process to db_proxies and routers, including those being dialed. One server
	// may have a third of them, and the servers of one namespace a half.
	maxSockets = 2_000
	// firstSockets is the number of connections that each namespace has in any case: enough for several servers with
	// default settings.
	firstSockets = 16
)

// errTooManySockets reports a dial beyond the part of a namespace.
var errTooManySockets = errors.New("the namespace has reached its limit of connections")

// sockets limits the connections of a process. It leaves a part of the limit to other namespaces.
type sockets struct {
	first int

	mu   sync.Mutex
	used *fairqueue.Shares
}

func newSockets(limit, first int) *sockets {
	return &sockets{first: first, used: fairqueue.NewShares(limit, 1)}
}

// take reserves a connection for a server, and returns a function that releases it. It returns false if the limit is
// reached.
func (s *sockets) take(of fairqueue.Flow) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used.UsedBy(of.Tenant) >= s.first && !s.used.Fits(of, 1) {
		return nil, false
	}
	s.used.Take(of, 1)
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.used.Return(of, 1)
	}), true
}

// socket releases its reservation when it is closed.
type socket struct {
	net.Conn
	release func()
}

func (s socket) Close() error {
	defer s.release()
	return s.Conn.Close()
}

// dial reserves a connection and dials it.
func (s *sockets) dial(ctx context.Context, of fairqueue.Flow, dial func(context.Context) (net.Conn, error)) (
	net.Conn, error,
) {
	release, ok := s.take(of)
	if !ok {
		return nil, errTooManySockets
	}
	conn, err := dial(ctx)
	if err != nil {
		release()
		return nil, err
	}
	return socket{conn, release}, nil
}

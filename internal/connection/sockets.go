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
	// maxSockets is how many connections the process has to db_proxies and routers, those that are being dialed
	// included. One server has up to a third of them, and the servers of one namespace up to a half.
	maxSockets = 2_000
	// firstSockets of each namespace do not depend on what the others have: they are enough for several servers with the
	// defaults.
	firstSockets = 16
)

// errTooManySockets reports a dial beyond the part of a namespace.
var errTooManySockets = errors.New("the namespace has reached its limit of connections")

// sockets limits the connections of a process. A namespace that has much leaves some for others.
type sockets struct {
	first int

	mu   sync.Mutex
	used *fairqueue.Shares
}

func newSockets(limit, first int) *sockets {
	return &sockets{first: first, used: fairqueue.NewShares(limit, 1)}
}

// take reserves a connection of a server, and returns what gives it back; false: there is none for it now.
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

// socket gives its reservation back when it is closed.
type socket struct {
	net.Conn
	release func()
}

func (s socket) Close() error {
	defer s.release()
	return s.Conn.Close()
}

// dial reserves a connection and makes it.
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

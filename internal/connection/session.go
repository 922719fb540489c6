// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Config configures a session. Endpoints are host:port.
type Config struct {
	DBProxy     []string
	Connections int
	// MaxInFlight and MaxGroupInFlight limit the requests of this session to each db_proxy. They cannot exceed the
	// limits of the process.
	MaxInFlight, MaxGroupInFlight int
	Router                        []string
	// Rate is the limit of messages per second, or 0. Burst messages may be sent at once.
	Rate, Burst int
	// Policy restricts the endpoints of the session. If nil, all are allowed.
	Policy AddressPolicy
}

// Health counts a session's connections.
type Health struct {
	DBProxyConnected, DBProxyDesired int
	RouterConnected, RouterDesired   int
}

// Session is a connected TeamTalk. Its requests return the errors of dbproxy.Client and router.Client.
type Session struct {
	config Config
	// flow identifies the owner of its sockets: the namespace and the name of the TeamTalkServer.
	flow    fairqueue.Flow
	sockets *sockets
	dbProxy []*dbproxy.Client
	routers []*router.Client
	// next is the index of the db_proxy for the next request, modulo their number.
	next  atomic.Uint32
	pacer *pacer
	// calls waits for the requests in flight before the session is closed.
	calls sync.WaitGroup
	// inFlight is their number, for Stats.
	inFlight atomic.Int64

	mu       sync.Mutex
	keys     cipher.Keys
	changed  chan struct{}
	closing  bool
	refusals Refusals
}

// answerRate and relayRate limit the bytes per second that a session reads from all its db_proxies and routers. So a
// flooding peer does not occupy a core. A db_proxy stores 1,500 messages per second of less than 5 KiB each, and a
// router relays all of them.
const (
	answerRate = 64 << 20
	relayRate  = 16 << 20
)

// sessionEvents are the callbacks of a session. read and group may be nil.
type sessionEvents struct {
	change, address func()
	read            func(router.Read)
	group           func(id uint32)
}

// shared is the state that all sessions of a process share.
type shared struct {
	limits  *dbproxy.Limits
	memory  *dbproxy.Memory
	sockets *sockets
	// gate may prevent the write of a request by an error.
	gate func() error
}

// newSession returns a session of a server that does not connect until run.
func newSession(server types.NamespacedName, c Config, with shared, log logr.Logger, on sessionEvents) *Session {
	s := &Session{
		config: c, changed: make(chan struct{}), pacer: newPacer(c.Rate, c.Burst),
		flow: fairqueue.Flow{Tenant: server.Namespace, Name: server.Name}, sockets: with.sockets,
	}
	change := func() {
		s.broadcast()
		on.change()
	}
	quota := &dbproxy.Quota{Tenant: server.Namespace, MaxInFlight: c.MaxInFlight, MaxGroupInFlight: c.MaxGroupInFlight}
	answers, relayed := link.NewReadLimiter(answerRate), link.NewReadLimiter(relayRate)
	for _, address := range c.DBProxy {
		s.dbProxy = append(s.dbProxy, dbproxy.New(dbproxy.Options{
			Address: address, Connections: c.Connections, Dial: s.dialer(address, change),
			Limits: with.limits, Quota: quota, Memory: with.memory, Reads: answers,
			Gate: with.gate, OnChange: change, OnAddress: on.address, Log: log.WithValues("dbProxy", address),
		}))
	}
	for _, address := range c.Router {
		s.routers = append(s.routers, router.New(router.Options{
			Address: address, Reads: relayed, OnRead: on.read, OnGroup: on.group, Dial: s.dialer(address, change),
			Gate: with.gate, OnChange: change, Log: log.WithValues("router", address),
		}))
	}
	return s
}

// run keeps the connections up until ctx is done, and returns when all are closed. Without a key nothing can be sent or
// found, so the session connects only after it has one.
func (s *Session) run(ctx context.Context) {
	if s.wait(ctx, func() bool { return s.Keys().Current != nil }) != nil {
		return
	}
	var wg sync.WaitGroup
	for _, c := range s.dbProxy {
		wg.Go(func() { c.Run(ctx) })
	}
	for _, c := range s.routers {
		wg.Go(func() { c.Run(ctx) })
	}
	wg.Wait()
}

// addresses returns all addresses of its db_proxy servers, as in the Config and as resolved.
func (s *Session) addresses() []string {
	addresses := normalized(s.config.DBProxy)
	for _, c := range s.dbProxy {
		addresses = append(addresses, c.Addresses()...)
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

// Health counts the current connections.
func (s *Session) Health() Health {
	h := Health{DBProxyDesired: len(s.dbProxy) * s.config.Connections, RouterDesired: len(s.routers)}
	for _, c := range s.dbProxy {
		h.DBProxyConnected += c.Connected()
	}
	for _, c := range s.routers {
		if !c.ConnectedSince().IsZero() {
			h.RouterConnected++
		}
	}
	return h
}

// Keys returns the current keys, which are empty if the Secret holds none.
func (s *Session) Keys() cipher.Keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *Session) setKeys(k cipher.Keys) {
	s.mu.Lock()
	s.keys = k
	s.mu.Unlock()
	s.broadcast()
}

// broadcast wakes the callers of WaitReady.
func (s *Session) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// WaitReady waits for a connection to db_proxy and a key. It returns no nil for a session that is closing.
func (s *Session) WaitReady(ctx context.Context) error {
	return s.wait(ctx, func() bool { return s.Keys().Current != nil && s.isDBProxyConnected() })
}

// WaitRouter waits for a connection to a router. It returns no nil for a session that is closing.
func (s *Session) WaitRouter(ctx context.Context) error {
	return s.wait(ctx, s.isRouterConnected)
}

func (s *Session) isDBProxyConnected() bool {
	return slices.ContainsFunc(s.dbProxy, func(c *dbproxy.Client) bool { return c.Connected() > 0 })
}

func (s *Session) isRouterConnected() bool {
	return slices.ContainsFunc(s.routers, func(c *router.Client) bool { return !c.ConnectedSince().IsZero() })
}

// wait waits until the session is ready, and not closing, or ctx is done.
func (s *Session) wait(ctx context.Context, ready func() bool) error {
	for {
		s.mu.Lock()
		changed, closing := s.changed, s.closing
		s.mu.Unlock()
		if !closing && ready() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errClosing reports a request to a session that was replaced.
var errClosing = errors.New("the session is closing")

// begin counts a request, or returns false if the session is closing.
func (s *Session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.calls.Add(1)
	s.inFlight.Add(1)
	return true
}

// end undoes begin.
func (s *Session) end() {
	s.inFlight.Add(-1)
	s.calls.Done()
}

// close refuses new requests and waits for those in flight, which have timeouts.
func (s *Session) close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.calls.Wait()
}

// client returns the next connected db_proxy, round robin.
func (s *Session) client() *dbproxy.Client {
	n := s.next.Add(1)
	for i := range s.dbProxy {
		if c := s.dbProxy[(int(n)+i)%len(s.dbProxy)]; c.Connected() > 0 {
			return c
		}
	}
	return s.dbProxy[0]
}

// request runs one request of the session.
func request[T any](s *Session, do func() (T, error)) (T, error) {
	if !s.begin() {
		var none T
		return none, fmt.Errorf("%w: %w", dbproxy.ErrNotSent, errClosing)
	}
	defer s.end()
	return do()
}

// path is a dbproxy.Path whose reads count as requests of the session.
type path struct {
	session *Session
	reads   dbproxy.Reads
}

var _ dbproxy.Reads = path{}

// Path returns reads over one connection to one db_proxy, or dbproxy.ErrNotSent. The caller calls done after the last
// of them.
func (s *Session) Path() (reads dbproxy.Reads, done func(), err error) {
	p, done, err := s.client().OpenPath()
	if err != nil {
		return nil, nil, err
	}
	return path{session: s, reads: p}, done, nil
}

func (p path) Users(ctx context.Context, requester uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	return request(p.session, func() (map[uint32]*wire.UserInfo, error) { return p.reads.Users(ctx, requester, ids) })
}

func (p path) Groups(ctx context.Context, requester uint32, ids []uint32, reduce func(*wire.GroupInfo)) (
	map[uint32]*wire.GroupInfo, error,
) {
	return request(p.session, func() (map[uint32]*wire.GroupInfo, error) {
		return p.reads.Groups(ctx, requester, ids, reduce)
	})
}

func (p path) ScanUsers(ctx context.Context, requester uint32, to dbproxy.UserScanner) error {
	_, err := request(p.session, func() (struct{}, error) { return struct{}{}, p.reads.ScanUsers(ctx, requester, to) })
	return err
}

func (p path) GroupsOf(ctx context.Context, user uint32) ([]uint32, error) {
	return request(p.session, func() ([]uint32, error) { return p.reads.GroupsOf(ctx, user) })
}

func (p path) Scan(ctx context.Context, c dbproxy.Session, count uint32, to dbproxy.Scanner) error {
	_, err := request(p.session, func() (struct{}, error) { return struct{}{}, p.reads.Scan(ctx, c, count, to) })
	return err
}

func (p path) ByID(ctx context.Context, c dbproxy.Session, ids []uint32) ([]*wire.MsgInfo, error) {
	return request(p.session, func() ([]*wire.MsgInfo, error) { return p.reads.ByID(ctx, c, ids) })
}

func (p path) LatestID(ctx context.Context, c dbproxy.Session) (uint32, error) {
	return request(p.session, func() (uint32, error) { return p.reads.LatestID(ctx, c) })
}

func (p path) RecentSessions(ctx context.Context, user uint32) ([]*wire.ContactSessionInfo, error) {
	return request(p.session, func() ([]*wire.ContactSessionInfo, error) { return p.reads.RecentSessions(ctx, user) })
}

// Unread is dbproxy.Path.Unread.
func (s *Session) Unread(ctx context.Context, user uint32) ([]*wire.UnreadInfo, error) {
	return request(s, func() ([]*wire.UnreadInfo, error) { return s.client().Unread(ctx, user) })
}

// ListensSince returns since when all routers are connected, or the zero time if one of them is not.
func (s *Session) ListensSince() (since time.Time) {
	for _, c := range s.routers {
		connected := c.ConnectedSince()
		if connected.IsZero() {
			return time.Time{}
		}
		if connected.After(since) {
			since = connected
		}
	}
	return since
}

// Send is dbproxy.Client.SendLatest within the rate of the session. build is called when the message is about to be
// written. A message that waits for db_proxy reserves no token meanwhile.
func (s *Session) Send(
	ctx, queue context.Context, kind wire.MsgType, build func() (dbproxy.Message, bool), late func(),
) (uint32, error) {
	return request(s, func() (uint32, error) {
		isGroup := kind.SessionType() == wire.SessionType_SESSION_TYPE_GROUP
		token := s.pacer.reservation(fairqueue.TenantOf(queue), isGroup)
		defer token.release()
		for client := (*dbproxy.Client)(nil); ; {
			if err := token.acquire(queue); err != nil {
				return 0, fmt.Errorf("%w: %w", dbproxy.ErrNotSent, err)
			}
			if client == nil || client.Connected() == 0 {
				client = s.client()
			}
			hasToken := true
			id, err := client.SendLatest(ctx, queue, kind, dbproxy.Sending{
				Build: func() (dbproxy.Message, bool) {
					m, ok := build()
					hasToken = !ok || token.take()
					return m, ok && hasToken
				},
				Queued: token.release, Late: late,
			})
			if hasToken {
				return id, err
			}
		}
	})
}

// Route announces a stored message through the longest connected router, as message servers do, or another.
func (s *Session) Route(ctx context.Context, m dbproxy.Message, msgID uint32) error {
	return s.announce(func(r *router.Client) error { return r.Route(ctx, m, msgID) })
}

// announce calls send with one router after the other; see Route.
func (s *Session) announce(send func(*router.Client) error) error {
	if !s.begin() {
		return errClosing
	}
	defer s.end()
	oldestFirst := slices.SortedStableFunc(slices.Values(s.routers), func(a, b *router.Client) int {
		return a.ConnectedSince().Compare(b.ConnectedSince())
	})
	err := dbproxy.ErrNotSent
	for _, c := range oldestFirst {
		if c.ConnectedSince().IsZero() {
			continue
		}
		if err = send(c); err == nil {
			break
		}
	}
	return err
}

// CreateGroup is dbproxy.Client.CreateGroup.
func (s *Session) CreateGroup(ctx, queue context.Context, g dbproxy.NewGroup) (uint32, error) {
	return request(s, func() (uint32, error) { return s.client().CreateGroup(ctx, queue, g) })
}

// ChangeMembers is dbproxy.Client.ChangeMembers.
func (s *Session) ChangeMembers(ctx, queue context.Context, c dbproxy.MemberChange) (dbproxy.Membership, error) {
	return request(s, func() (dbproxy.Membership, error) { return s.client().ChangeMembers(ctx, queue, c) })
}

// Announce announces a change of a group, as Route does for a message.
func (s *Session) Announce(ctx context.Context, c dbproxy.MemberChange, m dbproxy.Membership) error {
	return s.announce(func(r *router.Client) error { return r.Announce(ctx, c, m) })
}

// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/inbox"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// Server is a running development server.
type Server struct {
	store   *store.Store
	faults  *fault.Set
	dbproxy *dbproxy
	router  *router
	inbox   *inbox.Inbox
	reader  *inbox.Reader

	cancel  context.CancelFunc
	once    sync.Once
	stopped chan struct{}
}

// Run runs a development server until ctx is done.
func Run(ctx context.Context, o Options) error {
	s, err := Start(ctx, o)
	if err != nil {
		return err
	}
	o.Log.Info("TeamTalk for development is ready", "dbProxy", s.DBProxyAddr(), "router", s.RouterAddr(),
		"inbox", s.InboxURL())
	<-ctx.Done()
	s.Stop()
	return nil
}

// Start starts a development server, which ends with ctx or Stop.
func Start(ctx context.Context, o Options) (*Server, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	messages, err := cipher.New(o.AESKey)
	if err != nil {
		return nil, err
	}
	changes := inbox.NewChanges()
	db, err := store.Open(store.Options{File: o.Database, LaxSQL: o.LaxSQL, Now: o.Now, Changed: changes.Notify})
	if err != nil {
		return nil, err
	}
	s := &Server{store: db, reader: inbox.NewReader(db, messages), stopped: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(ctx)
	s.faults = fault.NewSet(o.FaultSeed, func(added []Fault) {
		s.faultsChanged(added)
		changes.Notify()
	})
	endpoint := func(target fault.Target) *endpoint {
		return &endpoint{
			target: target, options: o, faults: s.faults, log: o.Log.WithName(string(target)),
			ctx: ctx, peers: map[*peer]struct{}{},
		}
	}
	s.dbproxy = newDBProxy(endpoint(fault.DBProxy), db, messages)
	s.router = &router{endpoint: endpoint(fault.Router), store: db}
	s.router.handle = s.router.handleFrame
	s.router.setOnline(o.Seed.Online)
	if err := s.start(ctx, o, changes); err != nil {
		s.Stop()
		return nil, err
	}
	context.AfterFunc(ctx, s.Stop)
	return s, nil
}

func (s *Server) start(ctx context.Context, o Options, changes *inbox.Changes) (err error) {
	if err := o.Seed.apply(s.store); err != nil {
		return err
	}
	s.dbproxy.start()
	if err := s.dbproxy.listen(ctx, o.DBProxyAddress); err != nil {
		return err
	}
	if err := s.router.listen(ctx, o.RouterAddress); err != nil {
		return err
	}
	s.inbox, err = inbox.Start(ctx, inbox.Options{
		Address: o.InboxAddress, Reader: s.reader, Faults: s.faults, Changes: changes, Log: o.Log.WithName("inbox"),
		Read: s.router.tellRead, DBProxy: s.DBProxyAddr(), Router: s.RouterAddr(),
	})
	if err != nil {
		return err
	}
	for _, f := range o.Faults {
		if _, err := s.faults.Add(f); err != nil {
			return err
		}
	}
	return nil
}

// Stop closes every connection, and waits until the server has ended.
func (s *Server) Stop() {
	s.once.Do(func() {
		defer close(s.stopped)
		s.cancel()
		if s.inbox != nil {
			s.inbox.Stop()
		}
		s.dbproxy.stop()
		s.router.stop()
		if err := s.store.Close(); err != nil {
			s.dbproxy.log.Error(err, "Cannot close the message store")
		}
	})
	<-s.stopped
}

// faultsChanged starts what begins with a fault's being added.
func (s *Server) faultsChanged(added []Fault) {
	s.dbproxy.applyFaults(added)
	s.router.applyFaults(added)
	for _, f := range added {
		if f.Kind == fault.ReplicaStopped {
			s.dbproxy.stopReplica(f)
		}
		if f.Kind == fault.StopReceiving && f.Command == 0 && s.faults.Fire(f.ID) {
			s.dbproxy.stopReceiving(f)
		}
	}
}

// DBProxyAddr returns host:port of db_proxy.
func (s *Server) DBProxyAddr() string { return s.dbproxy.bound() }

// RouterAddr returns host:port of the router.
func (s *Server) RouterAddr() string { return s.router.bound() }

// InboxURL returns the address of the inbox's page.
func (s *Server) InboxURL() string { return s.inbox.URL() }

// Faults returns the server's faults.
func (s *Server) Faults() *Faults { return s.faults }

// StoredMessage is a row of the store, decrypted.
type StoredMessage = inbox.Message

// Messages returns every stored message in the order of storing.
func (s *Server) Messages(ctx context.Context) ([]StoredMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.reader.All()
}

// Table returns the name of TeamTalk's table that holds the messages of a session, written user:ID:ID or group:ID. It
// is empty for two users without a session.
func (s *Server) Table(session string) (string, error) {
	parsed, err := store.ParseSession(session)
	if err != nil {
		return "", err
	}
	return s.store.Table(parsed)
}

// Age makes every stored message older by the duration, as if the clock had been moved on.
func (s *Server) Age(by time.Duration) error { return s.store.Age(by) }

// AddUser adds or replaces a user.
func (s *Server) AddUser(u User) error { return s.store.AddUsers(u) }

// RemoveUser removes a user's record. Its messages and memberships remain.
func (s *Server) RemoveUser(id uint32) error { return s.store.RemoveUser(id) }

// AddGroup adds or replaces a group whose members have been there for ever.
func (s *Server) AddGroup(id uint32, name string, members ...uint32) error {
	return s.PutGroup(Group{ID: id, Name: name, Members: members})
}

// PutGroup adds a group, or replaces it. Its members have been there for ever.
func (s *Server) PutGroup(g Group) error {
	if g.ID == 0 {
		return errors.New("a group's id must not be 0")
	}
	_, err := s.store.AddGroup(g, time.Unix(0, 0))
	return err
}

// Groups returns all groups.
func (s *Server) Groups() ([]Group, error) { return s.store.Groups(nil) }

// RemoveGroup removes a group. Its messages remain.
func (s *Server) RemoveGroup(id uint32) error { return s.store.RemoveGroup(id) }

// SetMembers replaces the group's members. New members join now.
func (s *Server) SetMembers(group uint32, members ...uint32) error {
	return s.store.SetMembers(group, members)
}

// SetOnline sets the users that the router reports as online.
func (s *Server) SetOnline(users ...uint32) { s.router.setOnline(users) }

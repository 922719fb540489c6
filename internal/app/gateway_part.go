package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// gatewayPart is the gateway as a part of the operator's process: each replica serves
// it. It puts messages on record, which whichever replica leads then delivers. Direct
// mode is not to be had here: each replica would send past the Lease that has one at a
// time send.
type gatewayPart struct {
	server *httpserver.Server
	log    logr.Logger

	begun   atomic.Bool
	leaving chan struct{}
	ended   chan struct{}
}

var (
	_ manager.Runnable               = (*gatewayPart)(nil)
	_ manager.LeaderElectionRunnable = (*gatewayPart)(nil)
)

// serveGateway adds the gateway to the operator's manager; nil: it is not wanted.
func serveGateway(mgr manager.Manager, o Options) (*gatewayPart, error) {
	if !o.servesGateway() {
		return nil, nil
	}
	log := mgr.GetLogger().WithName("gateway")
	s := httpserver.New(o.Gateway.httpOptions(), log)
	if _, err := wireGateway(mgr, s, o.Gateway, modeRecord); err != nil {
		return nil, err
	}
	if _, err := s.Listen(); err != nil {
		return nil, err
	}
	g := &gatewayPart{server: s, log: log, leaving: make(chan struct{}), ended: make(chan struct{})}
	return g, mgr.Add(g)
}

// Start serves until ctx is done, or it is to leave.
func (g *gatewayPart) Start(ctx context.Context) error {
	g.begun.Store(true)
	defer close(g.ended)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-g.leaving:
			stop()
		case <-serving.Done():
		}
	}()
	err := g.server.Start(serving)
	if err != nil && serving.Err() != nil {
		// No reason for the rest of the process to end in disorder.
		g.log.Info("the gateway was not drained", "reason", err.Error())
		return nil
	}
	return err
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*gatewayPart) NeedLeaderElection() bool { return false }

// leave takes no new requests, and waits until those in flight are answered, which
// takes the rest of the process. It may be nil.
func (g *gatewayPart) leave(within time.Duration) {
	if g == nil {
		return
	}
	close(g.leaving)
	if !g.begun.Load() {
		return
	}
	select {
	case <-g.ended:
	case <-time.After(within):
	}
}

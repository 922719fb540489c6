// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// InProcess is the gateway in the operator's process. Every replica serves it, and the leader delivers its messages.
// It has no direct mode: each replica would send, while the Lease lets one operator send at a time.
type InProcess struct {
	server *httpserver.Server
	log    logr.Logger

	started atomic.Bool
	// draining is cancelled by drain.
	draining context.Context
	drain    context.CancelFunc
	ended    chan struct{}
}

var (
	_ manager.Runnable               = (*InProcess)(nil)
	_ manager.LeaderElectionRunnable = (*InProcess)(nil)
)

// NewInProcess adds a gateway to the operator's manager.
func NewInProcess(mgr manager.Manager, o Options) (*InProcess, error) {
	log := mgr.GetLogger().WithName("gateway")
	s := o.NewServer(log)
	if _, err := Wire(mgr, s, o, ModeRecord); err != nil {
		return nil, err
	}
	if err := s.Listen(); err != nil {
		return nil, err
	}
	g := &InProcess{server: s, log: log, ended: make(chan struct{})}
	g.draining, g.drain = context.WithCancel(context.Background())
	return g, mgr.Add(g)
}

// Start serves until ctx is done or Drain is called.
func (g *InProcess) Start(ctx context.Context) error {
	g.started.Store(true)
	defer close(g.ended)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(g.draining, stop)()
	err := g.server.Start(ctx)
	if err != nil && ctx.Err() != nil {
		// The rest of the process is still shut down cleanly.
		g.log.Info("the gateway was not drained", "reason", err.Error())
		return nil
	}
	return err
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*InProcess) NeedLeaderElection() bool { return false }

// Drain stops accepting requests, and waits until those in flight are answered. The rest of the process must still
// run, as they wait for it. g may be nil.
func (g *InProcess) Drain(timeout time.Duration) {
	if g == nil {
		return
	}
	g.drain()
	if !g.started.Load() {
		return
	}
	select {
	case <-g.ended:
	case <-time.After(timeout):
	}
}

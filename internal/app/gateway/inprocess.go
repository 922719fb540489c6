// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"sync/atomic"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// InProcess adds a gateway to the operator's manager. Every replica serves it, and the leader delivers its messages. It
// has no direct mode: each replica would send, but only the holder of the Lease may.
//
// drain stops accepting requests, and waits until those in flight are answered. The rest of the process must still run,
// because requests wait for it.
func InProcess(mgr manager.Manager, o Options) (drain func(timeout time.Duration), err error) {
	log := mgr.GetLogger().WithName("gateway")
	s := o.NewServer(log)
	if _, err := Wire(mgr, s, o, ModeRecord, nil); err != nil {
		return nil, err
	}
	if err := s.Listen(); err != nil {
		return nil, err
	}
	var started atomic.Bool
	ended := make(chan struct{})
	draining, startDrain := context.WithCancel(context.Background())
	serve := func(ctx context.Context) error {
		started.Store(true)
		defer close(ended)
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(draining, stop)()
		err := s.Start(ctx)
		if err != nil && ctx.Err() != nil {
			// The rest of the process is still shut down cleanly.
			log.Info("the gateway was not drained", "reason", err.Error())
			return nil
		}
		return err
	}
	drain = func(timeout time.Duration) {
		startDrain()
		if !started.Load() {
			return
		}
		select {
		case <-ended:
		case <-time.After(timeout):
		}
	}
	return drain, mgr.Add(everyReplica{manager.RunnableFunc(serve)})
}

// everyReplica runs in every replica, not only in the leader.
type everyReplica struct{ manager.Runnable }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everyReplica) NeedLeaderElection() bool { return false }

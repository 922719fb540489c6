// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// stopTimeout is how long Send waits for a request to TeamTalk that is in flight when its time is over.
const stopTimeout = 300 * time.Millisecond

// Sender sends through a delivery engine of its own. It is a manager's Runnable.
type Sender struct {
	servers *Servers
	engine  *delivery.Engine
	// started is the time by which an earlier process had stopped sending. No other process runs concurrently.
	started time.Time
	// sequence numbers the requests in the order of arrival.
	sequence atomic.Uint64
	// inFlight are the requests with a key.
	inFlight singleflight.Group

	// waiting holds a chan struct{} for each UID of a task, which is notified of its progress.
	waiting sync.Map
}

// New returns a Sender.
func New(servers *Servers) *Sender {
	s := &Sender{servers: servers, started: time.Now()}
	s.engine = delivery.NewEngine(s.notify)
	return s
}

// SetAddresses is for connection.Events. Each request names a server of its own namespace, so servers of several share
// no conversations.
func (s *Sender) SetAddresses(server types.NamespacedName, addresses []string) {
	s.engine.SetAddresses(server, addresses)
}

// Start runs the engine until ctx is done.
func (s *Sender) Start(ctx context.Context) error { return s.engine.Start(ctx) }

// Drain stops sending, and waits for the requests to TeamTalk in flight.
func (s *Sender) Drain(ctx context.Context) error {
	_, err := s.engine.Drain(ctx, math.MaxInt64)
	return err
}

// Send implements api.Sender.
func (s *Sender) Send(ctx context.Context, r api.Request) (api.Result, error) {
	if r.Wait <= 0 {
		return api.Result{}, api.Refuse(v1alpha1.ReasonContentInvalid,
			"wait must be above 0: this gateway keeps no record after the request")
	}
	ctx, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	server, session, err := s.servers.session(ctx, r.Namespace, r.Server)
	if err != nil {
		return api.Result{}, err
	}
	if err := check(server, r); err != nil {
		return api.Result{}, err
	}
	return s.once(ctx, r, func() (api.Result, error) { return s.send(ctx, s.newTask(server, session, r)) })
}

// once calls send. A request with a key joins the same one in flight, or both would find the message of the first in
// the store and route it again. It calls send itself if that one was not delivered.
func (s *Sender) once(ctx context.Context, r api.Request, send func() (api.Result, error)) (api.Result, error) {
	if r.Key == "" {
		return send()
	}
	for {
		var first atomic.Bool
		done := s.inFlight.DoChan(requestID(r), func() (_ any, err error) {
			first.Store(true)
			defer func() { // or singleflight would end the process
				if recover() != nil {
					err = fmt.Errorf("send: panic: %s", debug.Stack())
				}
			}()
			return send()
		})
		var got singleflight.Result
		select {
		case got = <-done:
		case <-ctx.Done():
			timeout := time.After(2 * stopTimeout)
			if first.Load() {
				timeout = nil // send returns soon, as ctx is done
			}
			select {
			case got = <-done:
			case <-timeout:
				return api.Result{State: api.Unknown, Cause: v1alpha1.Cause{
					Message: "another request with its key is still in progress",
				}}, nil
			}
		}
		result, _ := got.Val.(api.Result)
		delivered := got.Err == nil && result.State == api.Delivered
		if first.Load() || delivered || ctx.Err() != nil {
			return result, got.Err
		}
	}
}

// send submits a task to the engine and waits for its end. When ctx is done, the engine sends nothing more.
func (s *Sender) send(ctx context.Context, task delivery.Task) (api.Result, error) {
	notified := make(chan struct{}, 1)
	s.waiting.Store(task.UID, notified)
	defer s.waiting.Delete(task.UID)
	if _, ok := s.engine.Submit(task); !ok {
		s.engine.Forget(task.UID)
		return api.Result{}, errors.New("send: shutting down")
	}
	over, timeout := ctx.Done(), (<-chan time.Time)(nil)
	for {
		now, _ := s.engine.Snapshot(task.UID)
		if !now.Running {
			s.engine.Forget(task.UID)
			return resultOf(now), nil
		}
		select {
		case <-notified:
		case <-over:
			s.engine.Stop(task.UID)
			over, timeout = nil, time.After(stopTimeout)
		case <-timeout:
			now, _ = s.engine.Snapshot(task.UID)
			s.waiting.Delete(task.UID)
			s.notify(task.Key) // or the engine does so later
			return resultOf(now), nil
		}
	}
}

// notify is called by the engine on progress of a task. It forgets a task that has ended and no request waits for.
func (s *Sender) notify(key types.NamespacedName) {
	uid := types.UID(key.Name)
	if notified, ok := s.waiting.Load(uid); ok {
		select {
		case notified.(chan struct{}) <- struct{}{}:
		default:
		}
		return
	}
	if now, known := s.engine.Snapshot(uid); known && !now.Running {
		s.engine.Forget(uid)
	}
}

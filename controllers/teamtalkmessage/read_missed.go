// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

const (
	// counterWorkers is the number of servers whose counters are read concurrently.
	counterWorkers = 4
	// counterReads is the number of concurrent requests for counters of a server.
	counterReads = 8
	// counterUsers is the number of users whose counters are read before the statuses are reviewed.
	counterUsers = 1000
	// counterTimeout limits the wait for a counter.
	counterTimeout = 10 * time.Second
	// silentAfter consecutive requests without an answer pause the requests to a server.
	silentAfter = 2 * counterReads
	// counterRetry is the time after which the counters are requested again, for comparison.
	counterRetry = 5 * time.Second
	// missedDelay batches messages that are taken up together, so that the counters of a user are requested once.
	missedDelay = 3 * time.Second
)

// missedReads returns what the status says about reads that may have been missed, or "", and of how many recipients.
// After the deadline, it does not wait for counters: nobody looks at the message again.
func (r *Reconciler) missedReads(m *v1alpha1.TeamTalkMessage, now time.Time) (text string, missed int) {
	var l readreceipt.Listening
	if session, ok := r.Sessions.Get(m.ServerKey()); ok {
		l.Since = session.ListensSince()
	}
	missed, ok := r.Receipts.Missed(trackedMessage(m), l, now)
	if !ok && !isReadOver(m, now) {
		if text = recordedMissed(m); text != "" {
			return text, readreceipt.UnknownMissed
		}
		return "", 0
	}
	if missed == 0 {
		return "", 0
	}
	return plural(missed, "recipient") + " may have read it while the operator did not listen to all routers", missed
}

// unreadCounters finds out which messages with a readPolicy are still unread after a time in which reads may have been
// missed: it asks for the unread counters of their recipients. The counters of a user prove this of all messages to the
// user, which need not be read for it.
type unreadCounters struct {
	receipts *readreceipt.Tracker
	sessions *connection.Manager
	client   client.Reader
	log      logr.Logger

	mu sync.Mutex
	// runs are the current ones, by server.
	runs map[types.NamespacedName]*counterRun
	// silent holds the time since when a server does not answer.
	silent map[types.NamespacedName]time.Time
}

// counterRun counts the requests to a server until all of its messages are known to be unread, or not to be.
type counterRun struct {
	// began is the time of the first answers.
	began time.Time
	asked int
}

func newUnreadCounters(
	receipts *readreceipt.Tracker, sessions *connection.Manager, c client.Reader, log logr.Logger,
) *unreadCounters {
	return &unreadCounters{
		receipts: receipts, sessions: sessions, client: c, log: log,
		runs: map[types.NamespacedName]*counterRun{}, silent: map[types.NamespacedName]time.Time{},
	}
}

// setup adds the controller of servers of whose messages reads may have been missed.
func (c *unreadCounters) setup(mgr ctrl.Manager) error {
	wake := &apiwatch.Trigger{}
	c.receipts.MayBeMissed = func(server types.NamespacedName) {
		wake.WakeWith(priorityqueue.AddOpts{After: missedDelay}, server)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("teamtalkmessage-unread").
		WatchesRawSource(wake).
		WithOptions(controller.Options{MaxConcurrentReconciles: counterWorkers}).
		Complete(reconcile.Func(c.reconcile))
}

// reconcile requests counters of a server, and wakes the messages whose status is not up to date.
func (c *unreadCounters) reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	server, l, isMore := req.NamespacedName, readreceipt.Listening{}, false
	session, ok := c.sessions.Get(server)
	if ok {
		l.Since = session.ListensSince()
	} else {
		c.forget(server)
	}
	if !l.Since.IsZero() { // else the connections to the routers wake it
		l.ReplicaLag = c.replicaLag(ctx, server)
		l.Silent, isMore = c.ask(ctx, server, l, session.Unread)
	}
	if ctx.Err() != nil {
		return reconcile.Result{}, ctx.Err() //nolint:wrapcheck // the operator stops
	}
	review := c.receipts.Review(server, l, time.Now())
	again := []time.Duration{review.Grace}
	switch {
	case l.Since.IsZero():
	case isMore:
		again = append(again, time.Millisecond)
	case review.Waiting+review.Unanswered == 0:
		c.report(server, review)
	default:
		if review.Waiting > 0 {
			again = append(again, counterRetry)
		}
		if review.Unanswered > 0 {
			again = append(again, readreceipt.UnansweredRetry)
		}
	}
	return reconcile.Result{RequeueAfter: soonest(again...)}, nil
}

// ask asks for the counters that are due. It reports whether the server does not answer, and whether more are due.
func (c *unreadCounters) ask(
	ctx context.Context, server types.NamespacedName, l readreceipt.Listening,
	unread func(context.Context, uint32) ([]*wire.UnreadInfo, error),
) (isSilent, isMore bool) {
	if c.isSilent(server) {
		return true, false
	}
	due := c.receipts.DueChats(server, l, time.Now(), counterUsers)
	var asking errgroup.Group
	asking.SetLimit(counterReads)
	var failures atomic.Int32 // in a row
	var isAway atomic.Bool    // its connections wake it
	for user, chats := range due {
		if failures.Load() >= silentAfter || isAway.Load() || ctx.Err() != nil {
			break
		}
		asking.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, counterTimeout)
			defer cancel()
			asked := time.Now()
			sessions, err := unread(ctx, user)
			switch {
			case errors.Is(err, dbproxy.ErrNotSent):
				isAway.Store(true)
				return nil
			case err != nil:
				failures.Add(1)
				c.receipts.NoteUnanswered(server, chats, asked)
				return nil // others may be answered
			}
			failures.Store(0)
			for _, chat := range chats {
				counter := readreceipt.Counter{Asked: asked}
				counter.Count, counter.Latest = unreadOf(sessions, chat.Sender)
				c.receipts.NoteCounter(server, chat, counter, l)
			}
			return nil
		})
	}
	_ = asking.Wait()
	isSilent = failures.Load() >= silentAfter
	c.noteRun(server, len(due), isSilent)
	isSilent = isSilent || isAway.Load()
	return isSilent, !isSilent && len(due) == counterUsers
}

// isSilent reports whether a server has not answered for the last time, which is not long ago.
func (c *unreadCounters) isSilent(server types.NamespacedName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.silent[server]
	if ok && time.Since(at) >= readreceipt.UnansweredRetry {
		delete(c.silent, server)
		return false
	}
	return ok
}

func (c *unreadCounters) noteRun(server types.NamespacedName, asked int, isSilent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if isSilent {
		c.silent[server] = time.Now()
	}
	if c.runs[server] == nil && asked > 0 {
		c.runs[server] = &counterRun{began: time.Now()}
	}
	if run := c.runs[server]; run != nil {
		run.asked += asked
	}
}

// forget drops the state of a server that is gone.
func (c *unreadCounters) forget(server types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs, server)
	delete(c.silent, server)
}

// report logs what counters have proved.
func (c *unreadCounters) report(server types.NamespacedName, review readreceipt.Review) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run := c.runs[server]
	if run == nil {
		return
	}
	delete(c.runs, server)
	c.log.Info("looked for reads that were missed", "server", server.String(), "counters", run.asked,
		"unread", review.Unread, "maybeRead", review.MayBeRead, "seconds", time.Since(run.began).Seconds())
}

// unreadOf returns the counter and the latest id of a single chat; 0: it is not among the sessions.
func unreadOf(sessions []*wire.UnreadInfo, peer uint32) (count, latest uint32) {
	for _, s := range sessions {
		if s.GetSessionId() == peer && s.GetSessionType() == wire.SessionType_SESSION_TYPE_SINGLE {
			return s.GetUnreadCnt(), s.GetLatestMsgId()
		}
	}
	return 0, 0
}

// replicaLag returns that of a server, or of one with default values.
func (c *unreadCounters) replicaLag(ctx context.Context, server types.NamespacedName) time.Duration {
	found, err := tenancy.FindServer(ctx, c.client, server, server.Namespace)
	if err != nil {
		return delivery.PeerPatience
	}
	return delivery.PolicyOf(found, 0).ReplicaLag
}

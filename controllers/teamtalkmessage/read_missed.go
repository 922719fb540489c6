// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

const (
	// counterReads is how many unread counters are read at a time for a message.
	counterReads = 8
	// counterTimeout limits how long a worker waits for the unread counters of a message.
	counterTimeout = 10 * time.Second
	// lostGrace is how long routers or db_proxy may be away until the status says that reads may be missed.
	lostGrace = 30 * time.Second
	// lostRetry is how soon the unread counters are asked for again to compare them.
	lostRetry = 5 * time.Second
	// unansweredRetry is how soon a server is asked again that has not answered.
	unansweredRetry = time.Minute
)

// missedReads returns what the status says about reads that may have been missed, or "", and when to look again; 0:
// when something wakes the message. An unread counter can prove that a single chat is unread, and never that it was
// read.
func (r *Reconciler) missedReads(ctx context.Context, m *v1alpha1.TeamTalkMessage, now time.Time) (
	missed string, again time.Duration,
) {
	listens := time.Time{}
	session, ok := r.Sessions.Get(m.ServerKey())
	if ok {
		listens = session.ListensSince()
	}
	lost := r.lostReceipts(m, listens)
	proofs := map[proof]int{proofUnanswered: len(lost)}
	if len(lost) > 0 && !listens.IsZero() { // else the connections to the routers wake it
		proofs = r.confirmUnread(ctx, m, lost, session.Unread)
		again = unansweredRetry
		if proofs[proofPending] > 0 {
			again = lostRetry
		}
	}
	waiting := proofs[proofPending] + proofs[proofUnanswered]
	may := proofs[proofNone] + waiting
	since := r.Receipts.NoteLost(trackedMessage(m), may > 0, now)
	if waiting == 0 {
		again = 0
	}
	grace := since.Add(lostGrace).Sub(now)
	switch {
	case may == 0:
		return "", 0
	case proofs[proofNone] == 0 && grace > 0:
		return recordedMissed(m), soonest(again, grace)
	}
	return fmt.Sprintf("%s; %s may have read it while the operator did not listen to all routers",
		readStateOf(m), plural(may, "recipient")), again
}

// lostReceipts returns the receipts of recipients that may have read the message since they were last known not to
// have. listens is since when all routers are connected. An unread counter from before that counts as not asked for: the
// message may have been read since.
func (r *Reconciler) lostReceipts(m *v1alpha1.TeamTalkMessage, listens time.Time) []readreceipt.Receipt {
	receipts, _ := r.Receipts.Receipts(trackedMessage(m))
	for i := range receipts {
		if receipts[i].UnreadAt.Before(listens) {
			receipts[i].Unread, receipts[i].UnreadAt = 0, time.Time{}
		}
	}
	return slices.DeleteFunc(receipts, func(r readreceipt.Receipt) bool {
		isHeard := !listens.IsZero() && !r.HeardSince.IsZero() && !listens.After(r.HeardSince)
		return isHeard || r.ReadBy > 0 || !isUnread(m, r.To)
	})
}

// confirmUnread asks for the unread counters of lost recipients. It returns how many of them prove what. A counter that
// proves nothing is not asked for again.
func (r *Reconciler) confirmUnread(
	ctx context.Context, m *v1alpha1.TeamTalkMessage, lost []readreceipt.Receipt,
	ask func(context.Context, uint32) ([]*wire.UnreadInfo, error),
) map[proof]int {
	server, lag, results := m.ServerKey(), r.replicaLag(ctx, m), make([]proof, len(lost))
	at, ok := r.unanswered.Load(server)
	isSilent := ok && time.Since(at.(time.Time)) < unansweredRetry
	ctx, cancel := context.WithTimeout(ctx, counterTimeout)
	defer cancel()
	var asking errgroup.Group
	asking.SetLimit(counterReads)
	var answered, failed atomic.Bool
	for i, l := range lost {
		switch {
		case l.Unprovable || l.To.Type == v1alpha1.RecipientGroup:
			results[i] = proofNone
			continue
		case !l.UnreadAt.IsZero() && time.Since(l.UnreadAt) < lag:
			results[i] = proofPending
			continue
		case isSilent:
			results[i] = proofUnanswered
			continue
		}
		asking.Go(func() error {
			asked := time.Now()
			sessions, err := ask(ctx, l.To.ID)
			if err != nil {
				results[i] = proofUnanswered
				failed.Store(true)
				return nil //nolint:nilerr // others may be answered
			}
			answered.Store(true)
			count, latest := unreadOf(sessions, uint32(*m.Status.SenderID))
			results[i] = r.noteCounter(m, l, asked, latest, count, lag)
			return nil
		})
	}
	_ = asking.Wait()
	if failed.Load() && !answered.Load() {
		r.unanswered.Store(server, time.Now()) // a silent server delays those of others once per unansweredRetry
	}
	proofs := map[proof]int{}
	for _, result := range results {
		proofs[result]++
	}
	return proofs
}

// noteCounter records what a recipient's unread counter proves.
func (r *Reconciler) noteCounter(
	m *v1alpha1.TeamTalkMessage, l readreceipt.Receipt, asked time.Time, latest, count uint32, lag time.Duration,
) proof {
	tracked, result := trackedMessage(m), proveUnread(l, asked, latest, count, lag)
	if result == proofUnread && !r.Receipts.ConfirmUnread(tracked, l.To, l.UnreadAt) {
		result = proofPending // a notify was dropped since
		l.UnreadAt = time.Time{}
	}
	switch {
	case result == proofNone:
		r.Receipts.NoteUnprovable(tracked, l.To)
	case result == proofUnread || l.UnreadAt.IsZero():
		r.Receipts.NoteUnread(tracked, l.To, count, asked)
	}
	return result
}

// proof is what an unread counter proves.
type proof int

const (
	// proofNone: the message may have been read.
	proofNone proof = iota
	// proofPending: the latest message is not known yet.
	proofPending
	// proofUnanswered: the counter could not be read.
	proofUnanswered
	// proofUnread: the message was unread when the counter was read.
	proofUnread
)

// proveUnread compares an unread counter with the id of the latest message of the conversation: the counter counts the
// last messages to the user, and the ids after the message are at least as many as the messages after it. The latest id
// comes from a replica. So it is read later than the counter, by the replica lag.
func proveUnread(l readreceipt.Receipt, now time.Time, latest, count uint32, lag time.Duration) proof {
	switch {
	case count == 0:
		return proofNone
	case l.Unread == 0 || now.Sub(l.UnreadAt) < lag:
		return proofPending
	case latest >= l.Last && l.Unread > latest-l.Last:
		return proofUnread
	}
	return proofNone
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

// replicaLag returns that of the message's server, or of one with default values.
func (r *Reconciler) replicaLag(ctx context.Context, m *v1alpha1.TeamTalkMessage) time.Duration {
	server, err := tenancy.FindServer(ctx, r.Client, m.ServerKey(), m.Namespace)
	if err != nil {
		return delivery.PeerPatience
	}
	return delivery.PolicyOf(server, 0).ReplicaLag
}

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// recordedPatience is how long a search waits for the rows of finished messages. With few of them it need not be
	// repeated.
	recordedPatience = time.Second
	// recordedRetry is how long after a failure they are read again.
	recordedRetry = 10 * time.Second
	// recordedGrace is the minimum time that a doubt waits for them, regardless of its deadline.
	recordedGrace = 5 * time.Minute
)

// RecordedRow is a row that the status of a finished message shows.
type RecordedRow struct {
	// Server names the TeamTalkServer that it was stored through.
	Server    types.NamespacedName
	Sender    uint32
	Recipient v1alpha1.Recipient
	ID        uint32
	// By is when it was stored, or later.
	By time.Time
}

// recordedRowsKnown reports whether the rows of finished messages have been read. They are read once: when the first
// conversation without a known row is empty.
func (e *Engine) recordedRowsKnown(ctx context.Context) bool {
	if e.Recorded == nil {
		return true
	}
	e.startReadingRecorded()
	patience := time.NewTimer(recordedPatience)
	defer patience.Stop()
	select {
	case <-e.recordedRead:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	return false
}

func (e *Engine) startReadingRecorded() {
	if e.Recorded != nil {
		e.readRecordedOnce.Do(func() { e.unfinished.Go(e.readRecorded) }) // a caller is counted, so Start still waits
	}
}

func (e *Engine) readRecorded() {
	err := wait.PollUntilContextCancel(e.base, recordedRetry, true, func(ctx context.Context) (bool, error) {
		return e.Recorded(ctx, e.noteRecorded) == nil, nil
	})
	if err == nil {
		close(e.recordedRead)
	}
}

func (e *Engine) noteRecorded(r RecordedRow) {
	c := queue.ConversationOf(r.Server, r.Sender, r.Recipient)
	s := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: r.Sender, ID: r.Recipient.ID}
	if r.Recipient.Type == v1alpha1.RecipientGroup {
		s.Type = wire.SessionType_SESSION_TYPE_GROUP
	}
	e.known.noteRecorded(c, s, knownRow{r.ID, uint32(r.By.Unix())})
}

// needsRecorded reports whether the rows do not prove that the store's replica is running. That is so if this process
// has not seen rows from after the attempt, or from before it.
func (q *question) needsRecorded() bool { return q.to.fromPriorTerm || q.to.takenOver }

// findRecorded looks for the row that a finished message has recorded, if the search needs it. It returns why it
// cannot.
func (q *question) findRecorded(ctx context.Context) (why string, err error) {
	if !q.needsRecorded() {
		return "", nil
	}
	if !q.recorded(ctx) {
		return whyRecorded, nil
	}
	row, known := q.known.recordedRow(q.conversation)
	if !known {
		return "", nil
	}
	rows, err := q.path.ByID(ctx, q.task.session(q.to), []uint32{row.id})
	if !slices.ContainsFunc(rows, func(r *wire.MsgInfo) bool { return r.GetMsgId() == row.id }) {
		q.unshown = row
	}
	return "", err
}

// whyUnshown returns why a scan may be older than the recorded row. Another member of a group may be shown the row
// where the sender is not.
func (q *question) whyUnshown(found conversationScan) string {
	if q.unshown.id == 0 || q.to.Type == v1alpha1.RecipientGroup && found.recorded {
		return ""
	}
	return whyMissing(q.unshown.id)
}

// recordedRow returns the newest row of a conversation that a finished message has recorded.
func (k *knownRows) recordedRow(c queue.Conversation) (knownRow, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	row, known := k.storeOf(c).recorded[c.Participants]
	return row, known
}

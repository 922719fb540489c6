// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// SearchResult is the result of a search of the store.
type SearchResult struct {
	// Row is the message, if it was found.
	Row *wire.MsgInfo
	// KeyConflict: the row has the message's key, and another text.
	KeyConflict bool
	// Standalone: no other segment of the text was ever sent, see Task.isStandalone.
	Standalone bool
	// Conclusive is true if the message is proved absent when there is no Row. Otherwise Why tells why it is not proved.
	Conclusive bool
	Why        string
	// Unwitnessed is true if no row is known to be stored after the last attempt, so that a stopped replica would look the
	// same.
	Unwitnessed bool
	// Empty: the conversation has shown no row to the sender.
	Empty bool
	// Limits are the limits of the recipient's next search. Members are the other members as which a group was read so
	// far.
	Limits  scanLimits
	Members membersAsked
}

// question is one search of the store for the message to a recipient, over one path: its answers vouch for each other.
type question struct {
	task         Task
	to           recipientState
	askedAt      time.Time
	path         dbproxy.Reads
	conversation queue.Conversation
	known        *knownRows
	// recorded reports whether the rows of finished messages are known.
	recorded func(context.Context) bool
	// unshown is the row that a finished message has recorded, if the sender is not shown it; id 0: there is none.
	unshown knownRow
	// begins is the known beginning of a group.
	begins beginning
	// unwitnessed: see SearchResult.
	unwitnessed bool
}

// searchStore searches for the message. Absence is proved only if enough time has passed.
func (e *Engine) searchStore(ctx context.Context, t Task, p recipientState, askedAt time.Time) (SearchResult, error) {
	path, done, err := t.Server.Path()
	if err != nil {
		return SearchResult{Limits: p.limits, Members: p.members}, err
	}
	defer done()
	q := &question{
		task: t, to: p, askedAt: askedAt, path: path, known: e.known, recorded: e.recordedRowsKnown,
		conversation: t.conversation(p),
	}
	q.begins = e.known.beginning(q.conversation)
	canProve, stale, freshErr := !askedAt.Before(p.provableAt(t.Policy)), "", error(nil)
	if canProve { // before the scan: a replica that catches up in between is no evidence for it
		if stale, freshErr = q.proveFresh(ctx); stale == "" && freshErr == nil {
			stale, freshErr = q.findRecorded(ctx)
		}
	}
	found, err := q.scan(ctx, t.session(p))
	result := SearchResult{Empty: found.rows == 0, Why: found.why}
	switch {
	case err != nil || found.row != nil:
	case canProve:
		if result.Why, err = q.proveAbsent(ctx, &found); err == nil && found.row == nil {
			result.Why, err = cmp.Or(result.Why, stale, q.whyUnshown(found)), freshErr
		}
		result.Conclusive = err == nil && result.Why == ""
	case found.rows == 0 && !q.hasKnownRow(), q.needsRecorded():
		e.startReadingRecorded() // it will be needed
	}
	result.Limits, result.Members, result.Unwitnessed = found.limits, found.members, q.unwitnessed
	if err != nil && result.Why == "" {
		result.Why = whySilent
	}
	if result.Row = found.row; result.Row != nil {
		result.KeyConflict, result.Standalone = t.isKeyConflict(p, found.row), t.isStandalone(p, found.row)
		if result.KeyConflict {
			result.Why = t.whyConflict(found.row)
		}
	}
	return result, err
}

func (q *question) hasKnownRow() bool {
	_, known := q.known.shownOrRecorded(q.conversation)
	return known
}

// scan reads the conversation's rows as a reader, and remembers the newest.
func (q *question) scan(ctx context.Context, reader dbproxy.Session) (conversationScan, error) {
	before, _ := q.known.shown(q.conversation)
	found, err := q.task.scanConversation(ctx, q.path, reader, q.to, before, q.unshown)
	if err != nil {
		return found, err
	}
	switch {
	case found.missing:
		found.whole, found.why = false, whyMissing(before.id)
	case found.rows > 0:
		q.known.note(q.conversation, reader, found.newest)
	}
	return found, nil
}

// isKeyConflict reports whether row is of another resource with the same key: its text is neither the current nor the
// recorded one. A UID is of one resource only, and the token of a name tells its texts apart. A revision may have
// been sent before with another text, if a backup has brought an older status back. The first line of an escalation
// depends on the readPolicy of the resource that was first. So does what is in each of several segments.
func (t Task) isKeyConflict(p recipientState, row *wire.MsgInfo) bool {
	if t.Identity.Role == RoleEscalation {
		isComparable := len(t.Payload.Data) > 0 && t.Payload.segmentCount() == 1
		return t.Identity.Key != "" && t.Token && isComparable && !t.isSameBelow(row)
	}
	tellsTextsApart := t.Identity.Key != "" || t.Identity.Revision > 0
	return tellsTextsApart && t.Token && !t.fingerprint(p).Verifies(row, t.Server.Keys())
}

// isSameBelow reports whether row is an escalation with the text at hand, below any first line.
func (t Task) isSameBelow(row *wire.MsgInfo) bool {
	_, text, _ := bytes.Cut(t.Payload.Data, []byte("\n"))
	return t.Server.Keys().Open(row.GetMsgData(), func(p cipher.Plain) bool {
		_, stored, _ := bytes.Cut(p.Text, []byte("\n"))
		return bytes.Equal(stored, text)
	})
}

// whyConflict tells what to do about a row that isKeyConflict.
func (t Task) whyConflict(row *wire.MsgInfo) string {
	if t.Identity.Key == "" {
		return fmt.Sprintf("message %d of this conversation was sent as this revision with another text; "+
			"it is not sent: edit it again", row.GetMsgId())
	}
	return fmt.Sprintf("message %d of this conversation has the same key and another text; "+
		"it is not sent: use another key",
		row.GetMsgId())
}

// isStandalone reports whether row has the first segment's token, but was sent as all of a shorter text. A split
// text is recorded before its first segment is sent, so the row is no segment of another one.
func (t Task) isStandalone(p recipientState, row *wire.MsgInfo) bool {
	if p.segmentIndex() > 0 || len(t.Payload.Digests) < 2 {
		return false
	}
	fingerprint, keys := t.fingerprint(p), t.Server.Keys()
	return fingerprint.Matches(row, keys) && !fingerprint.sameContent(row, keys)
}

// readBack reads the message by its id; nil if the store does not show it with the content that was sent.
func (t Task) readBack(ctx context.Context, p recipientState) (*wire.MsgInfo, error) {
	path, done, err := t.Server.Path()
	if err != nil {
		return nil, err
	}
	defer done()
	rows, err := path.ByID(ctx, t.session(p), []uint32{p.MessageID})
	if err != nil {
		return nil, err
	}
	fingerprint, keys := t.fingerprint(p), t.Server.Keys()
	for _, r := range rows {
		if r.GetMsgId() != p.MessageID {
			continue
		}
		// The content of a row that an earlier process found is not compared: the declared text may have changed since.
		if fingerprint.Verifies(r, keys) || p.State == v1alpha1.StateStored && fingerprint.Matches(r, keys) {
			return r, nil
		}
	}
	return nil, nil
}

package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// How many rows of a conversation are asked for: few at first, more until they reach
// back far enough. None but the one that is looked for is held.
const (
	askCount    = 16
	askGrowth   = 8
	askCountMax = 65536
	// askWorth: by less than one for so many, it is not worth asking again.
	askWorth = 8
)

// SearchResult is what asking the store has shown.
type SearchResult struct {
	// Row is the message, if it was found.
	Row *wire.MsgInfo
	// KeyConflict: it bears the message's key, and another text.
	KeyConflict bool
	// Standalone: it is all that was ever meant to be sent, see Task.isStandalone.
	Standalone bool
	// Conclusive: the answer reached back to before the message's time, and the reads
	// before and after it showed that the path is alive.
	Conclusive bool
}

// readBack reads the message by its id; nil if the store does not show it with
// the content that was sent.
func (t Task) readBack(ctx context.Context, p Progress) (*wire.MsgInfo, error) {
	path, err := t.Server.Path()
	if err != nil {
		return nil, err
	}
	rows, err := path.ByID(ctx, t.session(p), []uint32{p.MessageID})
	if err != nil {
		return nil, err
	}
	fingerprint, keys := t.fingerprint(p), t.Server.Keys()
	for _, r := range rows {
		if r.GetMsgId() != p.MessageID {
			continue
		}
		// What an earlier process found is known by its mark alone: the declared
		// text may have changed since.
		if fingerprint.Verifies(r, keys) || p.State == v1alpha1.StateStored && fingerprint.Matches(r, keys) {
			return r, nil
		}
	}
	return nil, nil
}

// searchStore looks for the message in its conversation. When enough time has passed for
// absence to be proved, it is flanked by reads that show the path is alive.
func (t Task) searchStore(ctx context.Context, p Progress, askedAt time.Time) (SearchResult, error) {
	path, err := t.Server.Path()
	if err != nil {
		return SearchResult{}, err
	}
	prove := !askedAt.Before(p.lastAttempt.Add(t.Policy.proofAfter()))
	if prove {
		if alive, err := t.readsRespond(ctx, path, p); err != nil || !alive {
			prove = false
		}
	}
	row, whole, err := t.scanConversation(ctx, path, p)
	if err != nil || row != nil {
		return SearchResult{
			Row:         row,
			KeyConflict: row != nil && t.isKeyConflict(p, row),
			Standalone:  row != nil && t.isStandalone(p, row),
		}, err
	}
	if !prove || !whole {
		return SearchResult{}, nil
	}
	alive, err := t.readsRespond(ctx, path, p)
	return SearchResult{Conclusive: alive}, err
}

// isKeyConflict reports whether row, which bears the recipient's token, holds another
// text under the same key. A UID is one object's for good, and its text may have
// changed since; so may that of what has been sent already. What is on hold does
// not know its text.
func (t Task) isKeyConflict(p Progress, row *wire.MsgInfo) bool {
	return t.keyed() && !t.PayloadPending && p.Attempts == 0 && !t.fingerprint(p).Verifies(row, t.Server.Keys())
}

// isStandalone reports whether row, which bears the token of a first part, is no part: it was
// sent as all of a text that has become longer since. A text of several parts is on
// record before its first one leaves, so it was none of another such text.
func (t Task) isStandalone(p Progress, row *wire.MsgInfo) bool {
	if p.partIndex() > 0 || !t.Payload.Recorded {
		return false
	}
	fingerprint, keys := t.fingerprint(p), t.Server.Keys()
	return fingerprint.Matches(row, keys) && !fingerprint.sameContent(row, keys)
}

// scanConversation looks for the message among the newest rows of its conversation.
func (t Task) scanConversation(ctx context.Context, path dbproxy.Reads, p Progress) (*wire.MsgInfo, bool, error) {
	for count, before := uint32(askCount), uint32(0); ; {
		// A new one each time: one that has failed may still be given rows.
		s := &rowScanner{fingerprint: t.fingerprint(p), bound: t.bound(), keys: t.Server.Keys()}
		if err := path.Scan(ctx, t.session(p), count, s); err != nil {
			if errors.Is(err, dbproxy.ErrTooLong) {
				err = unreadableError{before}
			}
			return nil, false, err
		}
		row, whole := s.result(count)
		next := s.next(count)
		if p.rowLimit != 0 {
			next = min(next, p.rowLimit)
		}
		switch {
		case row != nil || whole:
			return row, whole, nil
		case s.fingerprint.Reach != 0 && s.rows == 0:
			// A group in which nobody has said anything yet has nothing to hide.
			latest, err := path.LatestID(ctx, t.session(p))
			return nil, err == nil && latest == 0, err
		case s.rows < uint64(count) || next == count:
			return nil, false, nil
		}
		before, count = count, next
	}
}

// readsRespond reports whether the reads that a history depends on return data: the
// sender's record; for a group, its members with the sender among them.
func (t Task) readsRespond(ctx context.Context, path dbproxy.Reads, p Progress) (bool, error) {
	if p.Type == v1alpha1.RecipientUser {
		users, err := path.Users(ctx, t.Sender, []uint32{t.Sender})
		return users[t.Sender] != nil, err
	}
	groups, err := path.Groups(ctx, t.Sender, []uint32{p.ID})
	if err != nil {
		return false, err
	}
	return slices.Contains(groups[p.ID].GetGroupMemberList(), t.Sender), nil
}

// Search looks for the marked message in rows (newest first by create_time) of
// which want were asked for. whole says that no older row could be it: the
// conversation has no more, or a row from before bound (unix seconds) is there;
// and no row hides what it is, as after a key was replaced without being kept as
// the previous one.
//
// A group shows its history from its reader's joining on, and hides what bears an
// earlier time, as from a clock that is slow. So a group's answer is whole only if
// it shows a row as old as mark.Reach, too.
func Search(rows []*wire.MsgInfo, want, bound uint32, fingerprint Fingerprint, keys cipher.Keys) (row *wire.MsgInfo, whole bool) {
	s := rowScanner{fingerprint: fingerprint, bound: bound, keys: keys}
	s.Begin()
	for _, r := range rows {
		s.Row(r)
	}
	return s.result(want)
}

// rowScanner is a Search that takes the rows one by one, and keeps none but the one that
// was looked for.
type rowScanner struct {
	fingerprint Fingerprint
	bound       uint32
	keys        cipher.Keys
	scanState
}

// scanState is what the rows have shown.
type scanState struct {
	row *wire.MsgInfo
	// rows and bytes count what came; longest is the longest row's bytes.
	rows, bytes, longest       uint64
	reached, before, concealed bool
}

var _ dbproxy.Scanner = (*rowScanner)(nil)

// Begin implements dbproxy.Scanner.
func (s *rowScanner) Begin() { s.scanState = scanState{} }

// Row implements dbproxy.Scanner.
func (s *rowScanner) Row(r *wire.MsgInfo) {
	length := rowOverhead + uint64(len(r.GetMsgData()))
	s.rows++
	s.bytes += length
	s.longest = max(s.longest, length)
	switch {
	case s.row != nil:
	case s.fingerprint.Matches(r, s.keys):
		s.row = r
	default:
		s.reached = s.reached || r.GetCreateTime() <= s.fingerprint.Reach
		if r.GetCreateTime() < s.bound {
			s.before = true
		} else {
			s.concealed = s.concealed || s.fingerprint.conceals(r, s.keys)
		}
	}
}

const (
	// rowOverhead is what a row takes beside its content, in bytes, at most.
	rowOverhead = 32
	// textRow is the longest row of a text, in bytes.
	textRow = rowOverhead + cipher.MaxData
	// scanRest is more than an answer takes beside its rows.
	scanRest = 4 << 10
)

func (s *rowScanner) result(want uint32) (row *wire.MsgInfo, whole bool) {
	if s.row != nil {
		return s.row, true
	}
	short := s.before || s.rows < uint64(want)
	return nil, (s.reached || s.fingerprint.Reach == 0) && short && !s.concealed
}

// next returns how many rows to ask for after count came: count, where more might be
// more than can be looked through. The connection does not survive that, so those that
// have not come yet are taken to be as long as a text can be, however short the others
// were; or, where there were longer ones, sounds, to be twice as long as the longest.
// And they must let half of the bound be expected, as such an answer takes its time.
func (s *rowScanner) next(count uint32) uint32 {
	longest := uint64(textRow)
	if s.longest > longest {
		longest = 2 * s.longest
	}
	mean := max(1, s.bytes/max(1, s.rows))
	more := min(s.fit(dbproxy.MaxScan-scanRest, longest), s.fit(dbproxy.MaxScan/2, mean))
	if more < uint64(count)/askWorth {
		return count
	}
	return uint32(min(uint64(count)+more, uint64(count)*askGrowth, askCountMax))
}

// fit returns how many more rows of a length fit into a bound.
func (s *rowScanner) fit(bound, length uint64) uint64 {
	return (bound - min(bound, s.bytes)) / length
}

// unreadableError: the answer was too long, and one with so many rows was not; 0: there
// was none before.
type unreadableError struct{ before uint32 }

// Error implements error.
func (unreadableError) Error() string { return dbproxy.ErrTooLong.Error() }

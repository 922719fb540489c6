// SPDX-License-Identifier: Apache-2.0

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

// The number of rows that are asked for: few at first, more until they reach back far enough.
const (
	scanCount    = 16
	scanGrowth   = 8
	scanCountMax = 65536
	// scanWorth: an increase by less than one in so many is not worth another scan.
	scanWorth = 8
)

// SearchResult is what a search of the store has shown.
type SearchResult struct {
	// Row is the message, if it was found.
	Row *wire.MsgInfo
	// KeyConflict: the row has the message's key, and another text.
	KeyConflict bool
	// Standalone: no other segment of the text was ever sent, see Task.isStandalone.
	Standalone bool
	// Conclusive: the answer reached back far enough, and the reads before and after it returned data.
	Conclusive bool
	// TooLong: an answer with rows was too long to be read.
	TooLong bool
	// Readable is how many rows an answer had that was not too long to be read; 0: none was read.
	Readable uint32
}

// searchStore looks for the message. If absence can be proved by now, it reads other data before and after.
func (t Task) searchStore(ctx context.Context, p recipientState, askedAt time.Time) (SearchResult, error) {
	path, err := t.Server.Path()
	if err != nil {
		return SearchResult{}, err
	}
	prove := !askedAt.Before(p.provableAt(t.Policy))
	if prove {
		responds, err := t.readsRespond(ctx, path, p)
		prove = responds && err == nil
	}
	found, err := t.scanConversation(ctx, path, p)
	switch {
	case err != nil:
	case found.Row != nil:
		found.KeyConflict, found.Standalone = t.isKeyConflict(p, found.Row), t.isStandalone(p, found.Row)
	case prove && found.Conclusive:
		found.Conclusive, err = t.readsRespond(ctx, path, p)
	default:
		found.Conclusive = false
	}
	return found, err
}

// isKeyConflict reports whether row is of another resource with the same key: its text is neither the one at hand nor
// the recorded one. A UID is of one resource only, and the token of a name tells its texts apart.
func (t Task) isKeyConflict(p recipientState, row *wire.MsgInfo) bool {
	return t.Identity.Key != "" && t.Token && !t.fingerprint(p).Verifies(row, t.Server.Keys())
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

// scanConversation looks among the newest rows. The result is conclusive if no other row can be the message.
func (t Task) scanConversation(ctx context.Context, path dbproxy.Reads, p recipientState) (SearchResult, error) {
	var found SearchResult
	for count := uint32(scanCount); ; {
		// A new one each time: a scan that has failed may still be given rows.
		s := &rowScanner{fingerprint: t.fingerprint(p), bound: t.bound(), keys: t.Server.Keys()}
		if err := path.Scan(ctx, t.session(p), count, s); err != nil {
			found.TooLong = errors.Is(err, dbproxy.ErrTooLong)
			return found, err
		}
		found.Row, found.Conclusive = s.result(count)
		found.Readable = count
		next := s.next(count)
		if p.rowLimit != 0 {
			next = min(next, p.rowLimit)
		}
		switch {
		case found.Row != nil || found.Conclusive:
			return found, nil
		case s.fingerprint.Reach != 0 && s.rows == 0:
			// A group without any message hides none.
			latest, err := path.LatestID(ctx, t.session(p))
			found.Conclusive = err == nil && latest == 0
			return found, err
		case s.rows < uint64(count) || next == count:
			return found, nil
		}
		count = next
	}
}

// readsRespond reports whether reads that a history depends on return data: the sender, or a group with the sender.
func (t Task) readsRespond(ctx context.Context, path dbproxy.Reads, p recipientState) (bool, error) {
	if p.Type == v1alpha1.RecipientUser {
		users, err := path.Users(ctx, t.Sender, []uint32{t.Sender})
		return users[t.Sender] != nil, err
	}
	groups, err := path.Groups(ctx, t.Sender, []uint32{p.ID})
	return err == nil && slices.Contains(groups[p.ID].GetGroupMemberList(), t.Sender), err
}

// readBack reads the message by its id; nil if the store does not show it with the content that was sent.
func (t Task) readBack(ctx context.Context, p recipientState) (*wire.MsgInfo, error) {
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
		// The content of what an earlier process found is not compared: the declared text may have changed since.
		if fingerprint.Verifies(r, keys) || p.State == v1alpha1.StateStored && fingerprint.Matches(r, keys) {
			return r, nil
		}
	}
	return nil, nil
}

// rowScanner looks for a message in rows, newest first by create_time. It keeps no row but the message.
//
// A group shows its history from the time at which its reader joined, and hides what has an earlier time, as from
// a slow clock. So a group's answer is whole only if it shows a row as old as the fingerprint's Reach.
type rowScanner struct {
	fingerprint Fingerprint
	// bound is the earliest create_time of the message, in unix seconds.
	bound uint32
	keys  cipher.Keys
	scanState
}

// scanState is what the rows have shown.
type scanState struct {
	row *wire.MsgInfo
	// rows and bytes count what came; longest is the longest row's bytes.
	rows, bytes, longest uint64
	// reached: a row is as old as Reach. before: one is from before bound. concealed: one may be the message.
	reached, before, concealed bool
}

var _ dbproxy.Scanner = (*rowScanner)(nil)

func (s *rowScanner) Begin() { s.scanState = scanState{} }

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

// result returns the message; or whether no row can be it, of an answer to a request for count rows: the
// conversation has no more rows, or an older one was shown, and none conceals what it is.
func (s *rowScanner) result(count uint32) (row *wire.MsgInfo, whole bool) {
	if s.row != nil {
		return s.row, true
	}
	complete := s.before || s.rows < uint64(count)
	return nil, (s.reached || s.fingerprint.Reach == 0) && complete && !s.concealed
}

// next returns how many rows to ask for after count: count, if more might be too long to read, which would end
// the connection. The rows that have not come yet are assumed to be as long as a text can be; or, after longer
// ones (audio), twice as long as the longest. With the mean length so far, the answer must stay below half of the
// bound, as such an answer takes its time.
func (s *rowScanner) next(count uint32) uint32 {
	longest := uint64(textRow)
	if s.longest > longest {
		longest = 2 * s.longest
	}
	mean := max(1, s.bytes/max(1, s.rows))
	more := min(s.fit(dbproxy.MaxScan-scanRest, longest), s.fit(dbproxy.MaxScan/2, mean))
	if more < uint64(count)/scanWorth {
		return count
	}
	return uint32(min(uint64(count)+more, uint64(count)*scanGrowth, scanCountMax))
}

// fit returns how many more rows of a length fit into a bound.
func (s *rowScanner) fit(bound, length uint64) uint64 {
	return (bound - min(bound, s.bytes)) / length
}

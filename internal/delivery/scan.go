// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// The number of rows to read: few at first, then more until they reach back far enough.
const (
	scanCount    = 16
	scanGrowth   = 8
	scanCountMax = 65536
	// scanWorth is the smallest increase for another scan, as a fraction: one in scanWorth rows.
	scanWorth = 8
	// scanTime is the longest expected time of an answer: half of a request's timeout. A stock db_proxy takes 0.1 s for
	// each row with audio.
	scanTime = 5 * time.Second
)

// conversationScan is the result of reading a conversation as one reader.
type conversationScan struct {
	// row is the message, if it was found.
	row *wire.MsgInfo
	// whole is true if the rows prove that no other row is the message. Otherwise why tells the reason.
	whole bool
	why   string
	// rows is how many rows the last answer had, the newest first.
	rows           uint64
	newest, oldest knownRow
	// missing is true if the known row should be among them, but is not. unreached is true if a group may hide rows from
	// its reader.
	missing, unreached bool
	// recorded: the row is shown that a finished message has recorded.
	recorded bool
	// old: a row is from before the message's bound.
	old bool
	// members are the other members as which the group was read for this recipient.
	members membersAsked
	// limits of the next search.
	limits scanLimits
}

// scanLimits hold the limits for the rows of one request that earlier searches of a conversation have shown.
type scanLimits struct {
	// long: an answer with more was too long, and ended the connection for all others. slow: one with more did not
	// come in time. 0: none.
	long, slow uint32
	// silent counts the searches in a row without any answer, or with a slow one: the next asks for fewer rows at first.
	silent int32
}

// slowRetry is an interval: one in slowRetry searches reads more rows although an earlier answer timed out. Not each
// timeout is due to the length.
const slowRetry = 8

// of returns the first number of rows for the nth search, and the highest; why is what it is due to.
func (l scanLimits) of(search int32) (first, highest uint32, why string) {
	first, highest, why = uint32(max(1, scanCount>>min(l.silent, 30))), scanCountMax, whyTooLong
	if l.long > 0 {
		highest = l.long
	}
	if 0 < l.slow && l.slow < highest && (search+1)%slowRetry != 0 {
		highest, why = l.slow, whyTooSlow
	}
	return min(first, highest), highest, why
}

// after returns the limits after an answer to a request for failed rows has not come. before it, one with readable
// rows came in the same search; 0: none.
func (l scanLimits) after(ctx context.Context, err error, readable, failed uint32) scanLimits {
	switch {
	case errors.Is(err, dbproxy.ErrTooLong):
		l.long = max(1, readable)
	case !errors.Is(err, dbproxy.ErrNoAnswer) || ctx.Err() != nil:
	case readable == 0:
		l.silent++
	default:
		l.slow = max(readable, failed/2)
	}
	return l
}

// scanConversation searches the newest rows that a reader sees. It also reports whether they contain known and
// recorded.
func (t Task) scanConversation(
	ctx context.Context, path dbproxy.Reads, reader dbproxy.Session, p recipientState, known, recorded knownRow,
) (conversationScan, error) {
	count, highest, limitedBy := p.limits.of(p.asked)
	found, readable := conversationScan{limits: p.limits, members: p.members}, uint32(0)
	for pace := (scanPace{}); ; {
		// A new one each time: a scan that has failed may still be given rows.
		s := &rowScanner{
			fingerprint: t.fingerprint(p), bound: t.bound(p), keys: t.Server.Keys(), toBeginning: t.searchesAll(),
			known: known, recorded: recorded.id,
		}
		began := time.Now()
		if err := path.Scan(ctx, reader, count, s); err != nil {
			found.why, found.limits = whySilent, found.limits.after(ctx, err, readable, count)
			if readable > 0 {
				_, _, found.why = found.limits.of(0)
			}
			return found, err
		}
		readable = count
		if pace = pace.next(s.rows, time.Since(began)); pace.each*scanCount < scanTime {
			found.limits.silent = 0
		}
		next, limit := s.grow(count, pace)
		if next = max(count, min(next, highest)); next == count && limit == "" {
			limit = limitedBy
		}
		found.row, found.whole = s.result(count, next == count)
		found.rows, found.newest, found.oldest = s.rows, s.newest, s.oldest
		found.old, found.recorded = s.before, s.recordedShown
		found.unreached, found.missing = s.ends(count) && !s.reaches(), s.misses(count)
		if found.why = ""; !found.whole {
			found.why = s.why(count, limit)
		}
		if found.row != nil || found.whole || s.ends(count) || next == count {
			return found, nil
		}
		count = next
	}
}

// searchesAll reports whether other resources may have sent the message at any time. Then the search continues to the
// conversation's beginning, and Since is the bound only if a limit ends it earlier.
func (t Task) searchesAll() bool { return t.keyed() && !t.Since.IsZero() }

// scanPace is the speed of db_proxy's answers: of the last answer as a whole, and of its additional rows.
type scanPace struct {
	rows       uint64
	took, each time.Duration // each is the time of one more row
}

func (p scanPace) next(rows uint64, took time.Duration) scanPace {
	each := took / time.Duration(max(1, rows))
	if rows > p.rows && took > p.took {
		each = max(each, (took-p.took)/time.Duration(rows-p.rows))
	}
	return scanPace{rows, took, each}
}

// more returns how many more rows can be expected in time.
func (p scanPace) more() uint64 {
	if p.each <= 0 {
		return scanCountMax
	}
	return uint64(max(0, scanTime-p.took) / p.each)
}

// rowScanner searches rows for a message, newest first by create_time. It keeps only the message's row.
//
// A group shows its history from the time at which its reader joined, and hides what has an earlier time, as from
// a slow clock. So a group's answer is whole only if it shows a row as old as the fingerprint's Reach.
type rowScanner struct {
	fingerprint Fingerprint
	// bound is the earliest create_time of the message, in unix seconds. With toBeginning the message may be older, but
	// older rows conceal nothing.
	bound       uint32
	toBeginning bool
	keys        cipher.Keys
	// known is a row that is also searched for, and recorded the id of another one, or 0.
	known    knownRow
	recorded uint32
	scanState
}

// scanState is the result of the rows so far.
type scanState struct {
	row *wire.MsgInfo
	// newest and oldest are the first and the last row.
	newest, oldest knownRow
	// rows and bytes count the rows that were read. longest is the size of the longest row in bytes.
	rows, bytes, longest uint64
	// reached is true if a row is as old as Reach, and before if a row is older than bound. shown is true if a row is
	// known, and recordedShown if a row has the recorded id.
	reached, before, shown, recordedShown bool
	// concealed is true if a row may be the message. concealing is the id of the first such row.
	concealed  bool
	concealing uint32
}

var _ dbproxy.Scanner = (*rowScanner)(nil)

func (s *rowScanner) Begin() { s.scanState = scanState{} }

func (s *rowScanner) Row(r *wire.MsgInfo) {
	length := rowOverhead + uint64(len(r.GetMsgData()))
	s.rows++
	s.bytes += length
	s.longest = max(s.longest, length)
	seen := knownRowOf(r)
	if s.rows == 1 {
		s.newest = seen
	}
	s.oldest = seen
	s.shown = s.shown || seen == s.known
	s.recordedShown = s.recordedShown || s.recorded != 0 && seen.id == s.recorded
	switch {
	case s.row != nil:
	case s.fingerprint.Matches(r, s.keys):
		s.row = r
	default:
		s.reached = s.reached || r.GetCreateTime() <= s.fingerprint.Reach
		switch {
		case r.GetCreateTime() < s.bound:
			s.before = true
		case !s.concealed && s.fingerprint.conceals(r, s.keys):
			s.concealed, s.concealing = true, r.GetMsgId()
		}
	}
}

const (
	// rowOverhead is the largest size of a row without its content, in bytes.
	rowOverhead = 32
	// textRow is the longest row of a text, in bytes.
	textRow = rowOverhead + cipher.MaxData
	// scanRest is larger than an answer without its rows.
	scanRest = 4 << 10
)

// result returns the message, or whether no row can be it, for an answer to a request for count rows. No row can be it
// if the conversation has no more rows, or an older one was shown, and none conceals it. last is true if no more rows
// can be requested.
func (s *rowScanner) result(count uint32, last bool) (row *wire.MsgInfo, whole bool) {
	if s.row != nil {
		return s.row, true
	}
	complete := s.before && (last || !s.toBeginning) || s.rows < uint64(count)
	return nil, s.reaches() && complete && !s.concealed
}

// ends reports whether more rows cannot show the message.
func (s *rowScanner) ends(count uint32) bool {
	return s.rows < uint64(count) || s.before && !s.toBeginning
}

func (s *rowScanner) reaches() bool { return s.reached || s.fingerprint.Reach == 0 }

// misses reports whether the known row is not shown although it is as new as the shown rows.
func (s *rowScanner) misses(count uint32) bool {
	if s.rows == 0 || s.known.id == 0 || s.shown || s.known.createTime < s.newest.createTime {
		return false
	}
	// Where all rows are of its second, more of them may follow.
	return s.oldest.createTime < s.known.createTime || s.rows < uint64(count)
}

// why tells why count rows prove nothing. limit tells why no more can be requested.
func (s *rowScanner) why(count uint32, limit string) string {
	switch {
	case s.concealed:
		return whyConcealed(s.concealing, s.fingerprint.HasToken)
	case limit != "" && !s.ends(count):
		return limit
	}
	return whyHidden
}

// grow returns the number of rows to request after count. It is count if more might be too long to read, or arrive too
// late. limit tells which.
func (s *rowScanner) grow(count uint32, pace scanPace) (next uint32, limit string) {
	more := pace.more()
	switch next = s.next(count); {
	case next == count:
		return count, whyTooLong
	case more < uint64(count)/scanWorth || more == 0:
		return count, whyTooSlow
	}
	return uint32(min(uint64(next), uint64(count)+more)), ""
}

// next returns the number of rows to request after count. It is count if more might be too long to read, which would
// end the connection. Further rows are assumed to be as long as the longest possible text, or, after longer ones
// (audio), twice as long as the longest. With the mean length so far, the answer must remain below half of the bound,
// because a longer one takes too much time.
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

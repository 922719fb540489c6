package delivery

import (
	"bytes"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Mark is how a message is known again among the rows of its conversation.
// Ciphertexts are never compared: keys rotate.
type Mark struct {
	Sender uint32
	// Reach, in unix seconds: a group's history must show a row as old as this, or it
	// may hide newer ones. 0: it need not.
	Reach uint32
	// Token of a text. Where it is not sent with one (HasToken), CreateTime and the
	// payload decide as well.
	Token      cipher.Token
	HasToken   bool
	CreateTime uint32
	Payload    Payload
}

// Matches reports whether row is the marked message.
func (m Mark) Matches(row *wire.MsgInfo, keys cipher.Keys) bool {
	if row.GetFromSessionId() != m.Sender || row.GetMsgType().Audio() != m.Payload.Audio {
		return false
	}
	// Whether it carries one or not now: an earlier operator may have been told to.
	if !m.Payload.Audio && keys.Open(row.GetMsgData(), func(p cipher.Plain) bool { return p.HasToken && p.Token == m.Token }) {
		return true
	}
	if m.HasToken {
		return false
	}
	if m.CreateTime == 0 || row.GetCreateTime() != m.CreateTime {
		return false
	}
	return m.sameContent(row, keys)
}

// conceals reports whether row may be the marked message without showing it: no
// key at hand opens it, or it bears the time by which the message is known and
// other content. db_proxy answers so where it cannot read a sound, and a ConfigMap
// may have changed since.
func (m Mark) conceals(row *wire.MsgInfo, keys cipher.Keys) bool {
	if row.GetFromSessionId() != m.Sender || row.GetMsgType().Audio() != m.Payload.Audio {
		return false
	}
	if !m.HasToken && (m.CreateTime == 0 || row.GetCreateTime() == m.CreateTime) {
		return true
	}
	return !m.Payload.Audio && !keys.Open(row.GetMsgData(), func(cipher.Plain) bool { return true })
}

// Verifies reports whether row is the marked message with the very content that
// was sent.
func (m Mark) Verifies(row *wire.MsgInfo, keys cipher.Keys) bool {
	return m.Matches(row, keys) && m.sameContent(row, keys)
}

func (m Mark) sameContent(row *wire.MsgInfo, keys cipher.Keys) bool {
	if m.Payload.Audio {
		return bytes.Equal(row.GetMsgData(), m.Payload.Data)
	}
	return keys.Open(row.GetMsgData(), func(p cipher.Plain) bool { return bytes.Equal(p.Text, m.Payload.Data) })
}

// Finding is what asking the store has shown.
type Finding struct {
	// Row is the message, if it was found.
	Row *wire.MsgInfo
	// Other: it bears the message's key, and another text.
	Other bool
	// Alone: it is all that was ever meant to be sent, see Task.alone.
	Alone bool
	// Whole: the answer reached back to before the message's time, and the reads
	// before and after it showed that the path is alive.
	Whole bool
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
func Search(rows []*wire.MsgInfo, want, bound uint32, mark Mark, keys cipher.Keys) (row *wire.MsgInfo, whole bool) {
	s := search{mark: mark, bound: bound, keys: keys}
	s.Begin()
	for _, r := range rows {
		s.Row(r)
	}
	return s.result(want)
}

// search is a Search that takes the rows one by one, and keeps none but the one that
// was looked for.
type search struct {
	mark  Mark
	bound uint32
	keys  cipher.Keys
	seen
}

// seen is what the rows have shown.
type seen struct {
	row *wire.MsgInfo
	// rows and bytes count what came; longest is the longest row's bytes.
	rows, bytes, longest       uint64
	reached, before, concealed bool
}

var _ dbproxy.Scanner = (*search)(nil)

// Begin implements dbproxy.Scanner.
func (s *search) Begin() { s.seen = seen{} }

// Row implements dbproxy.Scanner.
func (s *search) Row(r *wire.MsgInfo) {
	length := rowOverhead + uint64(len(r.GetMsgData()))
	s.rows++
	s.bytes += length
	s.longest = max(s.longest, length)
	switch {
	case s.row != nil:
	case s.mark.Matches(r, s.keys):
		s.row = r
	default:
		s.reached = s.reached || r.GetCreateTime() <= s.mark.Reach
		if r.GetCreateTime() < s.bound {
			s.before = true
		} else {
			s.concealed = s.concealed || s.mark.conceals(r, s.keys)
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

func (s *search) result(want uint32) (row *wire.MsgInfo, whole bool) {
	if s.row != nil {
		return s.row, true
	}
	short := s.before || s.rows < uint64(want)
	return nil, (s.reached || s.mark.Reach == 0) && short && !s.concealed
}

// next returns how many rows to ask for after count came: count, where more might be
// more than can be looked through. The connection does not survive that, so those that
// have not come yet are taken to be as long as a text can be, however short the others
// were; or, where there were longer ones, sounds, to be twice as long as the longest.
// And they must let half of the bound be expected, as such an answer takes its time.
func (s *search) next(count uint32) uint32 {
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
func (s *search) fit(bound, length uint64) uint64 {
	return (bound - min(bound, s.bytes)) / length
}

// unreadableError: the answer was too long, and one with so many rows was not; 0: there
// was none before.
type unreadableError struct{ before uint32 }

// Error implements error.
func (unreadableError) Error() string { return dbproxy.ErrTooLong.Error() }

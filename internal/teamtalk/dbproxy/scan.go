package dbproxy

import (
	"context"
	"errors"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// MaxScan is how long an answer can be, in bytes, that is looked through row by row.
// The connection does not survive a longer one.
const MaxScan = pdu.MaxSkip

// Scanner takes the rows of an answer one by one, on the goroutine that reads the
// connection.
type Scanner interface {
	// Begin comes before the first row; all rows before it were of another answer.
	Begin()
	Row(*wire.MsgInfo)
}

// Scan gives the scanner what List returns, without holding it all: an answer may have
// MaxScan bytes. Where Scan returns an error, the scanner may be called even later.
func (p *Path) Scan(ctx context.Context, s Session, count uint32, to Scanner) error {
	x, _ := listing(s, count)
	x.scan = to
	return p.do(ctx, x)
}

// listField is the number of the rows in an answer to a list.
const listField = 5

// maxRest is far above the size, in bytes, of all that an answer has beside its rows.
const maxRest = 4 << 10

// rows is an io.Writer for the body of an answer that is too long to hold.
type rows struct {
	scanner Scanner
	// field is the one that has not come whole yet, rest all those that are no rows.
	field, rest []byte
	bad         bool
}

// Write implements io.Writer; it never fails.
func (r *rows) Write(b []byte) (int, error) {
	if r.bad {
		return len(b), nil
	}
	r.field = append(r.field, b...)
	left := r.field
	for len(left) > 0 {
		n := r.take(left)
		if n == 0 {
			break
		}
		left = left[n:]
	}
	r.field = r.field[:copy(r.field, left)]
	r.bad = r.bad || len(r.field) > pdu.MaxIn || len(r.rest) > maxRest
	return len(b), nil
}

// take takes the first field, and returns its length; 0: it has not come whole, or is
// none.
func (r *rows) take(b []byte) int {
	number, kind, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		r.malformed(tag)
		return 0
	}
	length := protowire.ConsumeFieldValue(number, kind, b[tag:])
	if length < 0 {
		r.malformed(length)
		return 0
	}
	if number != listField || kind != protowire.BytesType {
		r.rest = append(r.rest, b[:tag+length]...)
		return tag + length
	}
	value, _ := protowire.ConsumeBytes(b[tag:])
	row := &wire.MsgInfo{}
	if proto.Unmarshal(value, row) != nil {
		r.bad = true
		return 0
	}
	r.scanner.Row(row)
	return tag + length
}

func (r *rows) malformed(code int) {
	r.bad = r.bad || !errors.Is(protowire.ParseError(code), io.ErrUnexpectedEOF)
}

// body is the answer without its rows; nil where it was none.
func (r *rows) body() []byte {
	if r.bad || len(r.field) > 0 {
		return nil
	}
	return r.rest
}

// stream returns what takes the body of a frame that is too long to hold; nil: nothing
// does.
func (cn *conn) stream(p pdu.PDU) io.Writer {
	cn.mu.Lock()
	cl := cn.calls[p.Seq]
	cn.mu.Unlock()
	if cl == nil || cl.scan == nil || cl.want != p.Command {
		return nil
	}
	cl.scan.Begin()
	cl.rows = &rows{scanner: cl.scan}
	return cl.rows
}

// streamed returns what is known of a frame whose body went to a call's rows, and
// whether it answers that call.
func (cl *call) streamed() (outcome, bool) {
	r := cl.rows
	cl.rows = nil
	if r == nil {
		return outcome{err: ErrTooLong}, true
	}
	body := r.body()
	handle, ok := handleOf(body)
	switch {
	case body == nil || !ok:
		return outcome{err: ErrTooLong}, true
	case handle != cl.handle:
		return outcome{}, false
	}
	return outcome{body: body, scanned: true}, true
}

// deliver gives the scanner, if there is one, the rows of an answer that was held.
func (x exchange) deliver() {
	list, ok := x.answer.(interface{ GetMsgList() []*wire.MsgInfo })
	if x.scan == nil || !ok {
		return
	}
	x.scan.Begin()
	for _, row := range list.GetMsgList() {
		x.scan.Row(row)
	}
}

// SPDX-License-Identifier: Apache-2.0

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

// MaxScan is the longest answer, in bytes, that Scan can read. A longer one ends the connection.
const MaxScan = pdu.MaxSkip

// Scanner gets the rows of an answer one by one, on the goroutine that reads the connection.
type Scanner interface {
	// Begin is called before the first row of an answer.
	Begin()
	Row(*wire.MsgInfo)
}

// Scan passes the rows of List to the scanner without holding all of them. If it returns an error, the scanner
// may still be called later.
func (p *Path) Scan(ctx context.Context, s Session, count uint32, to Scanner) error {
	answer := &wire.IMGetMsgListRsp{}
	x := s.list(count, answer)
	x.scan = to
	if err := p.do(ctx, x); err != nil || x.streamed {
		return err
	}
	to.Begin()
	for _, row := range answer.GetMsgList() {
		to.Row(row)
	}
	return nil
}

// listField is the field number of the rows.
const listField = 5

// maxRest is far more than the size, in bytes, of an answer without its rows.
const maxRest = 4 << 10

// rows parses the body of an answer that is too long to hold.
type rows struct {
	scanner Scanner
	// field is the incomplete field at the end, rest are the fields that are not rows.
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
		n := r.consumeField(left)
		if n == 0 {
			break
		}
		left = left[n:]
	}
	r.field = r.field[:copy(r.field, left)]
	r.bad = r.bad || len(r.field) > pdu.MaxIn || len(r.rest) > maxRest
	return len(b), nil
}

// consumeField handles the first field and returns its length, or 0 if it is incomplete or malformed.
func (r *rows) consumeField(b []byte) int {
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

// body returns the answer without its rows, or nil if it is malformed.
func (r *rows) body() []byte {
	if r.bad || len(r.field) > 0 {
		return nil
	}
	return r.rest
}

// streamed returns the outcome of a frame whose body was streamed, and whether it answers the call.
func (cl *call) streamed() (outcome, bool) {
	r := cl.rows
	cl.rows = nil
	if r == nil {
		return outcome{err: ErrTooLong}, true
	}
	body := r.body()
	handle, ok := handleOf(body)
	if !ok {
		return outcome{err: ErrTooLong}, true
	}
	return outcome{body: body, streamed: true}, handle == cl.handle
}

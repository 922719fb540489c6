// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
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
	var answer *wire.IMGetMsgListRsp
	var x *exchange
	try := &scanTry{}
	if err := p.read(ctx, func() *exchange {
		try.end()
		try = &scanTry{to: messageRows{to}}
		answer = &wire.IMGetMsgListRsp{}
		x = s.list(count, answer)
		x.scan, x.scanField, x.maxRow, x.within = try, messageField, maxRow, time.Duration(count)*rowTime
		return x
	}); err != nil || x.scanned {
		return err
	}
	to.Begin()
	for _, row := range answer.GetMsgList() {
		to.Row(row)
	}
	return nil
}

// rowScanner gets the elements of an answer's repeated field one by one, as bytes that are valid during the call.
type rowScanner interface {
	// Begin is called before the first row of an answer.
	Begin()
	row(b []byte) error
}

// messageRows parses messages.
type messageRows struct{ Scanner }

func (m messageRows) row(b []byte) error {
	row := &wire.MsgInfo{}
	if wire.Unmarshal(b, row, 0) != nil {
		return errField
	}
	m.Row(row)
	return nil
}

// scanTry passes rows on until it has ended: when the same request is sent again, the answer to the first one may still
// come.
type scanTry struct {
	mu    sync.Mutex
	ended bool
	to    rowScanner
}

func (t *scanTry) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// Begin implements rowScanner.
func (t *scanTry) Begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.to.Begin()
	}
}

func (t *scanTry) row(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil
	}
	return t.to.row(b)
}

const (
	// rowTime is how long a stock db_proxy takes for a row of an answer, at most: it loads the file of each sound.
	rowTime = 100 * time.Millisecond
	// messageField is the field number of the rows of messages, and userField that of users.
	messageField, userField = 5, 3
	// maxRest is far more than the size, in bytes, of an answer without its rows, or without the message.
	maxRest = 4 << 10
)

var (
	// errField reports a body that does not parse, or has too much of something.
	errField = errors.New("malformed field")
	// errFinished reports that the request has an outcome.
	errFinished = errors.New("the request is finished")
)

// receiveFields reads an answer that is not small field by field: the scanner gets the rows, and only the other
// fields are held.
func (cl *call) receiveFields(f *pdu.Frame) (outcome, bool) {
	r := fieldReader{Frame: f, call: cl}
	if cl.scan != nil {
		cl.scan.Begin()
	}
	var err error
	for err == nil && f.Left() > 0 {
		err = r.next()
	}
	switch {
	case errors.Is(err, link.ErrSlowFrame):
		return outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, err)}, true
	case errors.Is(err, ErrNoMemory):
		return outcome{err: err}, true
	case errors.Is(err, errField):
		return outcome{err: ErrTooLong}, true
	case err != nil:
		return outcome{}, false
	}
	handle, ok := pdu.HandleOf(r.rest)
	switch {
	case !ok:
		return outcome{err: ErrTooLong}, true
	case handle != cl.handle:
		return outcome{}, false
	}
	return outcome{body: r.rest, scanned: cl.scan != nil}, true
}

// fieldReader reads the fields of an answer.
type fieldReader struct {
	*pdu.Frame
	call *call
	rows int
	row  []byte
	// rest are the fields that are neither rows nor unused.
	rest []byte
}

// next reads a field.
func (r *fieldReader) next() error {
	tag, err := r.uvarint()
	if err != nil {
		return err
	}
	number, kind := protowire.DecodeTag(tag)
	if number < protowire.MinValidNumber || len(r.rest) > maxRest {
		return errField
	}
	begin := len(r.rest)
	r.rest = protowire.AppendVarint(r.rest, tag)
	switch kind {
	case protowire.VarintType:
		value, err := r.uvarint()
		r.rest = protowire.AppendVarint(r.rest, value)
		return err
	case protowire.Fixed32Type:
		return r.keep(4)
	case protowire.Fixed64Type:
		return r.keep(8)
	case protowire.BytesType:
	default: // TeamTalk has no groups
		return errField
	}
	length, err := r.uvarint()
	switch {
	case err != nil:
		return err
	case length > uint64(r.Left()):
		return errField
	case r.call.scan != nil && number == r.call.scanField:
		r.rest = r.rest[:begin]
		return r.scanRow(int(length))
	case number == r.call.unused:
		r.rest = protowire.AppendVarint(r.rest, 0) // it may be required
		_, err := io.CopyN(io.Discard, r.Frame, int64(length))
		return err
	}
	r.rest = protowire.AppendVarint(r.rest, length)
	return r.keep(int(length))
}

// uvarint reads a number.
func (r *fieldReader) uvarint() (value uint64, err error) {
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF): // of the frame
			return 0, errField
		case err != nil:
			return 0, err
		}
		value |= uint64(b&0x7F) << shift
		if b < 0x80 {
			return value, nil
		}
	}
	return 0, errField
}

// keep reads n bytes into rest.
func (r *fieldReader) keep(n int) error {
	begin := len(r.rest)
	if n > r.Left() || begin+n > maxRest {
		return errField
	}
	r.rest = append(r.rest, make([]byte, n)...)
	_, err := io.ReadFull(r.Frame, r.rest[begin:])
	return err
}

// scanRow passes a row to the scanner.
func (r *fieldReader) scanRow(length int) error {
	cl := r.call
	switch r.rows++; {
	case r.rows > cl.rows, length > cl.maxRow:
		return errField
	case cl.conn.call(r.Seq) != cl:
		return errFinished
	case length > pdu.MaxSmall:
		row, release, err := cl.hold(r.Frame, length, rowSize)
		defer release()
		defer cl.conn.link.ReadBefore(time.Time{})
		if err != nil {
			return err
		}
		return cl.scan.row(row)
	}
	r.row = slices.Grow(r.row[:0], length)[:length]
	if _, err := io.ReadFull(r.Frame, r.row); err != nil {
		return err
	}
	return cl.scan.row(r.row)
}

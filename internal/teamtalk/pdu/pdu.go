// Package pdu frames TeamTalk's internal protocol: a 16-byte big-endian header
// (length u32, version u16, flag u16, service id u16, command id u16, seq u16,
// reserved u16) before a protobuf body. Length counts the header.
package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// HeaderLen is the size of a PDU's header in bytes.
	HeaderLen = 16
	// Version is the protocol version that servers send and expect.
	Version = 1
	// MaxIn is the longest PDU, in bytes, that a Reader holds. Servers set no
	// limit of their own; histories with audio are the largest answers.
	MaxIn = 4 << 20
	// MaxSkip is the longest PDU, in bytes, that a Reader skips to reach the
	// next one. A longer one is taken for garbage.
	MaxSkip = 64 << 20
	// MaxToClients keeps, in bytes, what is relayed to clients within what every
	// client accepts.
	MaxToClients = 400 << 10
)

var (
	// ErrLength reports a frame whose length field is shorter than a header or
	// over MaxSkip. Nothing after it can be trusted: close the connection.
	ErrLength = errors.New("PDU length out of bounds")
	// ErrTooLong reports a frame over the reader's limit that was skipped. The
	// reader stands at the next frame.
	ErrTooLong = errors.New("PDU too long to dialBackoff")
)

// LengthError is an ErrLength.
type LengthError struct {
	// PDU has the header's fields, as far as they can be trusted.
	PDU PDU
	// Length is the frame's, in bytes.
	Length uint32
}

// Error implements error.
func (e *LengthError) Error() string {
	return fmt.Sprintf("%v: %d, want %d to %d", ErrLength, e.Length, HeaderLen, MaxSkip)
}

// Unwrap returns ErrLength.
func (e *LengthError) Unwrap() error { return ErrLength }

// PDU is one frame. It leaves out the header's version, flag and reserved
// fields, on which no receiver acts: they are ignored when reading, and written
// as 1, 0 and 0.
type PDU struct {
	Service wire.Service
	Command wire.Command
	// Seq comes back in the answer.
	Seq uint16
	// Body is a protobuf message, empty for a heartbeat.
	Body []byte
}

// New marshals body into a PDU for the command.
func New(command wire.Command, seq uint16, body proto.Message) (PDU, error) {
	b, err := proto.Marshal(body)
	if err != nil {
		return PDU{}, fmt.Errorf("marshal command %#04x: %w", uint16(command), err)
	}
	return PDU{Service: command.Service(), Command: command, Seq: seq, Body: b}, nil
}

// Len returns the length of the whole frame in bytes.
func (p PDU) Len() int { return HeaderLen + len(p.Body) }

// Append appends the frame to b.
func (p PDU) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(p.Len()))
	b = binary.BigEndian.AppendUint16(b, Version)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Service))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Command))
	b = binary.BigEndian.AppendUint16(b, p.Seq)
	b = binary.BigEndian.AppendUint16(b, 0)
	return append(b, p.Body...)
}

// Reader reads frames. It is not safe for concurrent use.
type Reader struct {
	r      io.Reader
	max    int
	stream func(PDU) io.Writer
	header [HeaderLen]byte
}

// NewReader returns a Reader that holds frames of up to limit bytes and skips
// those between limit and MaxSkip; 0 means MaxIn.
func NewReader(r io.Reader, limit int) *Reader {
	if limit <= 0 {
		limit = MaxIn
	}
	return &Reader{r: r, max: min(limit, MaxSkip)}
}

// Stream has the body of a frame that is too long to dialBackoff written to what to returns
// for it, which must take all of it, instead of being skipped. It is skipped where to
// returns nil.
func (r *Reader) Stream(to func(PDU) io.Writer) { r.stream = to }

// Read returns the next frame; its Body is the caller's. It returns io.EOF
// between frames, io.ErrUnexpectedEOF inside one, and a LengthError for a
// length that cannot be; after these the Reader is of no more use. With
// ErrTooLong (wrapped) the PDU has its header's fields and no Body, and the
// Reader goes on with the frame after it.
func (r *Reader) Read() (PDU, error) {
	if _, err := io.ReadFull(r.r, r.header[:]); err != nil {
		return PDU{}, err
	}
	h := r.header[:]
	length := binary.BigEndian.Uint32(h)
	p := PDU{
		Service: wire.Service(binary.BigEndian.Uint16(h[8:])),
		Command: wire.Command(binary.BigEndian.Uint16(h[10:])),
		Seq:     binary.BigEndian.Uint16(h[12:]),
	}
	if length < HeaderLen || length > MaxSkip {
		return PDU{}, &LengthError{PDU: p, Length: length}
	}
	bodyLen := int(length) - HeaderLen
	if int(length) > r.max {
		out := io.Discard
		if r.stream != nil {
			if to := r.stream(p); to != nil {
				out = to
			}
		}
		if _, err := io.CopyN(out, r.r, int64(bodyLen)); err != nil {
			return PDU{}, insideFrame(err)
		}
		return p, fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLong, length, r.max)
	}
	body, err := readBody(r.r, bodyLen)
	if err != nil {
		return PDU{}, err
	}
	p.Body = body
	return p, nil
}

// insideFrame returns err as it is to be reported where a frame has begun.
func insideFrame(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readBody reads n bytes. It allocates as bytes arrive, so that a header that
// announces much and sends nothing costs nothing.
func readBody(r io.Reader, n int) ([]byte, error) {
	const chunk = 64 << 10
	body := make([]byte, 0, min(n, chunk))
	for len(body) < n {
		start := len(body)
		end := min(n, start+chunk)
		if cap(body) < end {
			grown := make([]byte, start, min(n, max(2*cap(body), end)))
			copy(grown, body)
			body = grown
		}
		body = body[:end]
		if _, err := io.ReadFull(r, body[start:end]); err != nil {
			return nil, insideFrame(err)
		}
	}
	return body, nil
}

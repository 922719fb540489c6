// SPDX-License-Identifier: Apache-2.0

package pdu

import (
	"bytes"
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
	// MaxIn is the longest PDU, in bytes, that a Reader holds. Servers have no limit. The longest answers are
	// histories with audio.
	MaxIn = 4 << 20
	// MaxSkip is the longest PDU, in bytes, that a Reader skips. A longer one is an error.
	MaxSkip = 64 << 20
	// MaxToClients is the longest PDU, in bytes, that all clients accept.
	MaxToClients = 400 << 10
)

var (
	// ErrLength reports a frame whose length is less than a header or more than MaxSkip. The rest of the stream
	// is invalid: close the connection.
	ErrLength = errors.New("PDU length out of bounds")
	// ErrTooLong reports a frame over the limit of the Reader, which was skipped.
	ErrTooLong = errors.New("PDU too long to hold")
)

// LengthError is an ErrLength.
type LengthError struct {
	// PDU has the other fields of the header.
	PDU PDU
	// Length is the length of the frame in bytes.
	Length uint32
}

// Error implements error.
func (e *LengthError) Error() string {
	return fmt.Sprintf("%v: %d, want %d to %d", ErrLength, e.Length, HeaderLen, MaxSkip)
}

// Unwrap returns ErrLength.
func (e *LengthError) Unwrap() error { return ErrLength }

// PDU is a frame. It has no version, flag and reserved fields, which no receiver uses: they are ignored when
// reading, and written as 1, 0 and 0.
type PDU struct {
	Service wire.Service
	Command wire.Command
	// Seq is repeated in the answer.
	Seq uint16
	// Body is a protobuf message, or empty for a heartbeat.
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

// NewReader returns a Reader that holds frames of up to limit bytes, and skips frames of up to MaxSkip bytes. If
// limit is 0, it is MaxIn.
func NewReader(r io.Reader, limit int) *Reader {
	if limit <= 0 {
		limit = MaxIn
	}
	return &Reader{r: r, max: min(limit, MaxSkip)}
}

// Stream sets the function that returns the writer for the body of a frame that is too long to hold. The writer
// must accept all of it. If the function returns nil, the body is skipped.
func (r *Reader) Stream(writer func(PDU) io.Writer) { r.stream = writer }

// Read returns the next frame. The caller owns its Body. It returns io.EOF between frames, io.ErrUnexpectedEOF
// inside a frame, and a LengthError for an invalid length; these are final. With ErrTooLong (wrapped), the
// PDU has no Body, and the next frame can be read.
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
	// The length is not trusted: memory is allocated as bytes arrive.
	var body bytes.Buffer
	body.Grow(min(bodyLen, 64<<10) + bytes.MinRead)
	if _, err := io.CopyN(&body, r.r, int64(bodyLen)); err != nil {
		return PDU{}, insideFrame(err)
	}
	p.Body = body.Bytes()
	return p, nil
}

// insideFrame replaces io.EOF inside a frame.
func insideFrame(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// attachType is the type of attach_data with a handle only, which message servers use for their own requests.
const attachType = 3

// AttachData returns 12 bytes that servers copy to the answer: type 3, the handle and service type 0, each as u32
// big-endian.
func AttachData(handle uint32) []byte {
	b := make([]byte, 0, 12)
	b = binary.BigEndian.AppendUint32(b, attachType)
	b = binary.BigEndian.AppendUint32(b, handle)
	return binary.BigEndian.AppendUint32(b, 0)
}

// Handle returns the handle in attach_data, or false if b is not from AttachData.
func Handle(b []byte) (uint32, bool) {
	if len(b) != 12 || binary.BigEndian.Uint32(b) != attachType {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), true
}

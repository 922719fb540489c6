// SPDX-License-Identifier: Apache-2.0

package pdu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// HeaderLen is the size of a PDU's header in bytes.
	HeaderLen = 16
	// Version is the protocol version that servers send and expect.
	Version = 1
	// MaxIn is the longest PDU, in bytes, that Reader.Read holds if it has no other limit.
	MaxIn = 4 << 20
	// MaxSkip is the longest PDU, in bytes, that a Reader skips. A longer one is an error. Servers have no limit.
	// The longest answers are histories with audio.
	MaxSkip = 64 << 20
	// MaxSmall is the longest PDU, in bytes, that Frame.Small returns. A stored text and its answers fit.
	MaxSmall = 16 << 10
	// MaxToClients is the longest PDU, in bytes, that all clients accept.
	MaxToClients = 400 << 10
)

var (
	// ErrLength reports a frame whose length is less than a header or more than MaxSkip. The rest of the stream
	// is invalid: close the connection.
	ErrLength = errors.New("PDU length out of bounds")
	// ErrTooLong reports a frame over the limit of the Reader, which was skipped.
	ErrTooLong = errors.New("PDU exceeds the memory limit")
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
	frame  Frame
	header [HeaderLen]byte
	small  *[]byte // for Frame.Small; nil between frames
}

// smallBuffers are for Frame.Small. Thousands of connections may be idle, and have none.
var smallBuffers = sync.Pool{New: func() any {
	b := make([]byte, MaxSmall)
	return &b
}}

// NewReader returns a Reader. Its Read holds frames of up to limit bytes, and skips longer ones, of up to MaxSkip
// bytes. If limit is 0, it is MaxIn.
func NewReader(r io.Reader, limit int) *Reader {
	if limit <= 0 {
		limit = MaxIn
	}
	return &Reader{r: r, max: min(limit, MaxSkip)}
}

// Next skips the rest of the current frame and returns the next one, which is valid until the following call. It
// returns io.EOF between frames, io.ErrUnexpectedEOF inside a frame, and a LengthError for an invalid length; these
// are final.
func (r *Reader) Next() (*Frame, error) {
	if err := r.frame.skip(); err != nil {
		return nil, err
	}
	if r.small != nil {
		smallBuffers.Put(r.small)
		r.small = nil
	}
	if _, err := io.ReadFull(r.r, r.header[:]); err != nil {
		return nil, err
	}
	h := r.header[:]
	length := binary.BigEndian.Uint32(h)
	p := PDU{
		Service: wire.Service(binary.BigEndian.Uint16(h[8:])),
		Command: wire.Command(binary.BigEndian.Uint16(h[10:])),
		Seq:     binary.BigEndian.Uint16(h[12:]),
	}
	if length < HeaderLen || length > MaxSkip {
		return nil, &LengthError{PDU: p, Length: length}
	}
	r.frame = Frame{
		Service: p.Service, Command: p.Command, Seq: p.Seq, Len: int(length), reader: r, left: int(length) - HeaderLen,
	}
	return &r.frame, nil
}

// Read returns the next frame with its body, which the caller owns. Its errors are those of Next. With ErrTooLong
// (wrapped), the PDU has no Body, and the next frame can be read.
func (r *Reader) Read() (PDU, error) {
	f, err := r.Next()
	if err != nil {
		return PDU{}, err
	}
	p := PDU{Service: f.Service, Command: f.Command, Seq: f.Seq}
	if f.Len > r.max {
		if err := f.skip(); err != nil {
			return PDU{}, err
		}
		return p, fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLong, f.Len, r.max)
	}
	if p.Body, err = f.Hold(); err != nil {
		return PDU{}, err
	}
	return p, nil
}

// Frame is a frame of a Reader, whose body is read from the stream when it is asked for.
type Frame struct {
	Service wire.Service
	Command wire.Command
	Seq     uint16
	// Len is the length of the whole frame in bytes.
	Len int

	reader *Reader
	left   int // bytes of the body that were not read
}

// Left returns how many bytes of the body have not been read.
func (f *Frame) Left() int { return f.left }

// Read implements io.Reader for the body.
func (f *Frame) Read(b []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n, err := f.reader.r.Read(b[:min(len(b), f.left)])
	f.left -= n
	if f.left == 0 && errors.Is(err, io.EOF) {
		err = nil // it is the end of the stream, too
	}
	return n, insideFrame(err)
}

// ReadByte implements io.ByteReader for the body.
func (f *Frame) ReadByte() (byte, error) {
	b := f.reader.header[:1] // it was parsed
	if _, err := io.ReadFull(f, b); err != nil {
		return 0, err
	}
	return b[0], nil
}

// Small returns the body of a frame of up to MaxSmall bytes, in a buffer that is valid until the next call of
// Reader.Next. It is for a look at a frame that may not be wanted. It returns false for a longer frame, and if the
// stream ends.
func (f *Frame) Small() (body []byte, ok bool) {
	if f.Len > MaxSmall {
		return nil, false
	}
	if f.reader.small == nil {
		f.reader.small = smallBuffers.Get().(*[]byte)
	}
	body = (*f.reader.small)[:f.left]
	_, err := io.ReadFull(f, body)
	return body, err == nil
}

// Hold returns the rest of the body.
func (f *Frame) Hold() ([]byte, error) {
	// The length is not trusted: memory is allocated as bytes arrive.
	var body bytes.Buffer
	body.Grow(min(f.left, 64<<10) + bytes.MinRead)
	if _, err := io.CopyN(&body, f, int64(f.left)); err != nil {
		return nil, insideFrame(err)
	}
	return body.Bytes(), nil
}

// skip discards the rest of the body.
func (f *Frame) skip() error {
	if f.left == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, f, int64(f.left))
	return insideFrame(err)
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

// attachField is the field number of attach_data in all messages.
const attachField = 20

// AppendHandle appends attach_data with the handle to the body of a message.
func AppendHandle(body []byte, handle uint32) []byte {
	body = protowire.AppendTag(body, attachField, protowire.BytesType)
	return protowire.AppendBytes(body, AttachData(handle))
}

// HandleOf returns the handle in attach_data of a message. It does not parse the rest of the message. Nested groups,
// each of which would take stack, are no part of TeamTalk's messages.
func HandleOf(body []byte) (handle uint32, ok bool) {
	for len(body) > 0 {
		num, typ, tag := protowire.ConsumeTag(body)
		if tag < 0 || typ == protowire.StartGroupType {
			break
		}
		length := protowire.ConsumeFieldValue(num, typ, body[tag:])
		if length < 0 {
			break
		}
		if num == attachField && typ == protowire.BytesType {
			// As always in protobuf, the last one counts.
			value, _ := protowire.ConsumeBytes(body[tag:])
			handle, ok = Handle(value)
		}
		body = body[tag+length:]
	}
	return handle, ok
}

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
	// MaxIn is the longest PDU, in bytes, that a Reader accepts. Servers set no
	// limit of their own; histories with audio are the largest answers.
	MaxIn = 4 << 20
	// MaxToClients keeps, in bytes, what is relayed to clients within what every
	// client accepts.
	MaxToClients = 400 << 10
)

// ErrLength reports a frame whose length field is shorter than a header or
// over the reader's limit. Nothing after it can be trusted: close the connection.
var ErrLength = errors.New("PDU length out of bounds")

// PDU is one frame. Version, flag and reserved say nothing that a receiver acts
// on: they are ignored when reading, and Append
// writes 1, 0 and 0.
type PDU struct {
	Service wire.Service
	Command wire.Command
	Seq     uint16
	Body    []byte
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
	header [HeaderLen]byte
}

// NewReader returns a Reader that accepts frames of up to limit bytes; 0 means MaxIn.
func NewReader(r io.Reader, limit int) *Reader {
	if limit <= 0 {
		limit = MaxIn
	}
	return &Reader{r: r, max: limit}
}

// Read returns the next frame; its Body is the caller's. It returns io.EOF
// between frames, io.ErrUnexpectedEOF inside one, and ErrLength (wrapped) for a
// length that cannot be.
func (r *Reader) Read() (PDU, error) {
	if _, err := io.ReadFull(r.r, r.header[:]); err != nil {
		return PDU{}, err
	}
	h := r.header[:]
	length := binary.BigEndian.Uint32(h)
	if length < HeaderLen || uint64(length) > uint64(r.max) {
		return PDU{}, fmt.Errorf("%w: %d, want %d to %d", ErrLength, length, HeaderLen, r.max)
	}
	p := PDU{
		Service: wire.Service(binary.BigEndian.Uint16(h[8:])),
		Command: wire.Command(binary.BigEndian.Uint16(h[10:])),
		Seq:     binary.BigEndian.Uint16(h[12:]),
	}
	body, err := readBody(r.r, int(length)-HeaderLen)
	if err != nil {
		return PDU{}, err
	}
	p.Body = body
	return p, nil
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
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return body, nil
}

package dbproxy

import (
	"errors"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
)

// What may become of a request. Every error of a Client's requests wraps
// exactly one of these; the texts name no address and hold nothing of a
// message.
var (
	// ErrNotSent: not one byte of the request was written. Beside it, the
	// reason: ErrNotConnected, the gate's error, the context's.
	ErrNotSent = link.ErrNotSent
	// ErrNoAnswer: the request was written, or may have been, and no answer
	// came within the request timeout or until the context was done. db_proxy
	// does not answer some requests at all.
	ErrNoAnswer = errors.New("no answer")
	// ErrConnectionLost: the request was written, or may have been, and then
	// the connection ended.
	ErrConnectionLost = errors.New("connection lost before the answer")
	// ErrTooLong: the answer is larger than this process holds. Over MaxScan the
	// connection has ended for it.
	ErrTooLong = errors.New("answer too long to hold")
	// ErrMalformed: the answer does not parse, or answers something else.
	ErrMalformed = errors.New("malformed answer")
)

// ErrNotConnected is the reason of an ErrNotSent where no connection takes
// requests.
var ErrNotConnected = errors.New("not connected")

// errNoMessage is the reason of an ErrNotSent where there was nothing to send any
// more when its turn came.
var errNoMessage = errors.New("there is no message to send")

// errTooManyHandles cannot be met with any sane limit.
var errTooManyHandles = errors.New("too many requests on one connection")

// MayHaveArrived reports whether the request whose outcome is err may have
// reached db_proxy. A nil error is an answer: it has.
func MayHaveArrived(err error) bool { return !errors.Is(err, ErrNotSent) }

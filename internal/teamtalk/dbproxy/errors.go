// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"errors"
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
)

// Each error of a request wraps exactly one of these. Their texts contain no addresses and no content.
var (
	// ErrNotSent: no byte of the request was written. The error also wraps the reason, such as
	// ErrNotConnected, or the error of the gate or the context.
	ErrNotSent = link.ErrNotSent
	// ErrNoAnswer: the request may have been written, and there was no answer within the request timeout or
	// until the context was done. db_proxy does not answer some requests.
	ErrNoAnswer = errors.New("no answer")
	// ErrConnectionLost: the request may have been written, and then the connection ended.
	ErrConnectionLost = errors.New("connection lost before the answer")
	// ErrTooLong: the answer exceeds the memory limit. If it is longer than MaxScan, the connection has ended.
	ErrTooLong = errors.New("answer exceeds the memory limit")
	// ErrNoMemory: the answer was skipped, because other answers took the memory for it. It is not a fault of db_proxy.
	ErrNoMemory = errors.New("no memory left for the answer, because of other answers")
	// ErrMalformed: the answer does not parse, or does not match the request.
	ErrMalformed = errors.New("malformed answer")
)

// ErrNotConnected is the reason of ErrNotSent if no connection accepts requests.
var ErrNotConnected = errors.New("not connected")

// errNoMessage is the reason of ErrNotSent if the message was not needed any more.
var errNoMessage = errors.New("there is no message to send")

// errOvertaken: a read was not answered in the usual time, and requests that were sent later were.
var errOvertaken = fmt.Errorf("%w: a thread of db_proxy hangs", ErrNoAnswer)

// errTooManyHandles is unreachable with usual limits.
var errTooManyHandles = errors.New("too many requests on one connection")

// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// Sender sends messages. It returns a Refusal for an error that the caller can fix. Any other error means that the
// gateway failed: nothing was sent, and no TeamTalkMessage exists unless the Result names one.
type Sender interface {
	Send(ctx context.Context, r Request) (Result, error)
}

// Request is a text to users or groups.
type Request struct {
	// Caller is who has sent the request, for limits.
	Caller    string
	Namespace string
	// Server is the name of the TeamTalkServer in the namespace. If empty, it is the default one.
	Server string
	// Sender is the TeamTalk user who the message is from.
	Sender uint32
	// Type of all recipients.
	Type v1alpha1.RecipientType
	// Recipients are distinct ids.
	Recipients []uint32
	Text       string
	// Key is the idempotency key: requests with one key are sent once for each namespace, sender and
	// recipient. If empty, the request is sent.
	Key string
	// Wait limits the wait for the delivery. If 0, Send does not wait.
	Wait time.Duration
}

// Result is the state of a request when it is answered.
type Result struct {
	// MessageName is the namespace/name of the TeamTalkMessage, empty if there is none.
	MessageName string
	State       State // of the whole request
	// Cause is why the state is not Delivered.
	Cause v1alpha1.Cause
	// Recipients in the order of the request, empty if nothing is known of them.
	Recipients []Recipient
}

// Recipient is the part of a Result for one recipient.
type Recipient struct {
	ID    uint32
	State State
	// MessageID is TeamTalk's id of the message in the conversation, 0 if it is not stored.
	MessageID int64
	// Cause is why the state is not Delivered.
	Cause v1alpha1.Cause
}

// State of a request, or of one recipient's part of it.
type State int

const (
	// Failed means that delivery ended, and that a recipient does not have the message.
	Failed State = iota
	// Delivered means that the store has the message for every recipient.
	Delivered
	// Pending means that delivery continues after the answer.
	Pending
	// Unknown means that delivery ended, and that the message may have been delivered.
	Unknown
	// Rejected means that TeamTalk has answered that the message cannot be delivered, but delivery continues: the answer
	// may come from a lagging replica, so the request is repeated.
	Rejected
)

// Summarize sets the state and the cause of the whole from those of the recipients.
func (r *Result) Summarize() {
	r.State, r.Cause = Delivered, v1alpha1.Cause{}
	if len(r.Recipients) == 0 {
		r.State = Unknown
	}
	undelivered, failed := 0, false
	for _, to := range r.Recipients {
		if to.State == Delivered {
			continue
		}
		undelivered++
		failed = failed || to.State == Failed
		if r.Cause.Reason == "" {
			r.State, r.Cause = to.State, to.Cause
		}
	}
	if failed {
		r.State = Failed
	}
	if all := len(r.Recipients); undelivered > 0 && all > 1 {
		r.Cause.Message = fmt.Sprintf("%d of %d recipients do not have it; one of them: %s",
			undelivered, all, r.Cause.Message)
	}
}

// Refusal is an error that the caller can act on. Nothing was sent, and no TeamTalkMessage exists.
type Refusal v1alpha1.Cause

// Refuse returns a Refusal.
func Refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason + ": " + r.Message }

// Groups changes groups. It returns a Refusal for a change that was not done, or is not permitted.
type Groups interface {
	CreateGroup(ctx context.Context, g NewGroup) (GroupResult, error)
	ChangeMembers(ctx context.Context, c MemberChange) (GroupResult, error)
}

// NewGroup is a group to be created.
type NewGroup struct {
	Namespace, Server string
	dbproxy.NewGroup
}

// MemberChange is a change of the members of a group.
type MemberChange struct {
	Namespace, Server string
	dbproxy.MemberChange
}

// GroupResult is the result of a change that is done.
type GroupResult struct {
	Group uint32
	// Detail says in one line what failed besides.
	Detail string
}

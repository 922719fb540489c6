// Package api says what a caller of the gateway wants sent, and what became of it:
// what the interfaces that callers see and the ways of sending have in common.
package api

import (
	"context"
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Request is one text to users or groups.
type Request struct {
	// Namespace whose message it is.
	Namespace string
	// Server names the TeamTalkServer in the namespace; empty: the default one.
	Server string
	// Sender is the TeamTalk user that it speaks as.
	Sender int64
	// Type of all recipients, and their ids, each once.
	Type       v1alpha1.RecipientType
	Recipients []int64
	Text       string
	// Key makes requests one: what bears the same is sent once per namespace, sender
	// and recipient. Empty: this request is one of its own.
	Key string
	// Wait is how long to wait for the end; 0: not at all.
	Wait time.Duration
}

// Result is what is known of a request when it is answered.
type Result struct {
	// Message names the TeamTalkMessage that holds it, as namespace/name; empty
	// where there is none.
	Message string
	// State is how far it has come as a whole.
	State State
	// Reason, one of the API's, and Detail, one line, say why it is not Delivered.
	Reason, Detail string
	// Recipients, in the request's order; nil where nothing is known of each.
	Recipients []Recipient
}

// State of a request.
type State int

// States of a request, and of one recipient's part of it.
const (
	// Failed: it has ended, and somebody has not got it.
	Failed State = iota
	// Delivered: the store has it for every recipient.
	Delivered
	// UnderWay: it goes on after the answer.
	UnderWay
	// Unknown: it has ended, and may have been delivered.
	Unknown
	// Objected: TeamTalk says that it cannot be delivered, for the Reason given. It
	// goes on after the answer all the same: a replica may be behind, and TeamTalk is
	// asked once more before that counts.
	Objected
)

// Recipient is one recipient's part of a Result.
type Recipient struct {
	ID    int64
	State State
	// MessageID is TeamTalk's id in the conversation, where the message is stored.
	MessageID      int64
	Reason, Detail string
}

// Refusal is an error that the caller can mend: what was asked for was refused at
// once, and nothing of it is on record.
type Refusal struct{ Reason, Detail string }

// Error implements error.
func (r *Refusal) Error() string { return r.Reason + ": " + r.Detail }

// Sender sends. What a caller can mend is a Result, or a Refusal; another error is a fault on the
// gateway's side, with nothing sent and nothing on record unless the Result names
// a Message.
type Sender interface {
	Send(ctx context.Context, r Request) (Result, error)
}

// Groups changes groups.
type Groups interface {
	CreateGroup(ctx context.Context, r NewGroup) (GroupResult, error)
	ChangeMembers(ctx context.Context, r MemberChange) (GroupResult, error)
}

// NewGroup is a group to be created.
type NewGroup struct {
	Namespace, Server string
	// By is the user who creates it.
	By           int64
	Name, Avatar string
	// Temporary groups are what clients create; the others are normal ones.
	Temporary bool
	Members   []int64
}

// MemberChange adds members to a group, or removes them.
type MemberChange struct {
	Namespace, Server string
	// By is the user who changes it.
	By      int64
	Group   int64
	Remove  bool
	Members []int64
}

// GroupResult is what became of a group or of a change of it.
type GroupResult struct {
	// Done: TeamTalk has done it.
	Done  bool
	Group int64
	// Detail says, in one line, why it is not done, or what could not be done
	// beside it.
	Detail string
}

// Sum concludes from the recipients how the request as a whole has ended, and why.
func (r *Result) Sum() {
	r.State, r.Reason, r.Detail = Delivered, "", ""
	if len(r.Recipients) == 0 {
		r.State = Unknown // nothing is known of anybody
	}
	missing, failed := 0, false
	for _, to := range r.Recipients {
		if to.State == Delivered {
			continue
		}
		missing++
		failed = failed || to.State == Failed
		if r.Reason == "" {
			// One recipient's reason says more than a word for all.
			r.State, r.Reason, r.Detail = to.State, to.Reason, to.Detail
		}
	}
	if failed {
		r.State = Failed
	}
	if all := len(r.Recipients); missing > 0 && all > 1 {
		r.Detail = fmt.Sprintf("%d of %d recipients have not got it, for one of them: %s", missing, all, r.Detail)
	}
}

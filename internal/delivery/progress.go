// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Progress is the state of one recipient as recorded in the resource's status.
type Progress struct {
	v1alpha1.Recipient
	// ByName and ByRef are the name or the TeamTalkGroup that the id was found by, if any.
	ByName, ByRef string

	State   v1alpha1.RecipientState
	Reason  string
	Message string
	// MessageID is TeamTalk's id in the conversation, or 0.
	MessageID uint32
	// Earlier are the ids of the segments before the current one, of a text that is split.
	Earlier []uint32
	// EarlierReason and EarlierMessage are of the segments before the current one.
	EarlierReason, EarlierMessage string
	// FormerID is the last id of an earlier revision in the conversation, or 0.
	FormerID uint32
	// Attempts counts sends.
	Attempts int32
	// CreateTime is TeamTalk's time in unix seconds, or 0. Without a token it is recorded before the send.
	CreateTime uint32
	// DoubtSince is when a send first ended without proof of its outcome.
	DoubtSince time.Time
	StoredAt   time.Time
	RoutedAt   time.Time
	// ReadAt and ReadBy tell when and by how many users it was read. The engine does not change them.
	ReadAt time.Time
	ReadBy int32
}

// LastID returns the id of the resource's last known row in the conversation, or 0.
func (p Progress) LastID() uint32 {
	switch n := len(p.Earlier); {
	case p.MessageID != 0:
		return p.MessageID
	case n > 0:
		return p.Earlier[n-1]
	}
	return p.FormerID
}

// FoundBy reports whether the id was found by a name or a TeamTalkGroup.
func (p Progress) FoundBy(r v1alpha1.Recipient) bool {
	return !r.Resolved() && p.Type == r.Type && p.ByName == r.Name && p.ByRef == r.Ref
}

// Done reports whether the engine will not retry the recipient.
func (p Progress) Done() bool {
	return p.State == v1alpha1.StateFailed || p.Delivered()
}

// Delivered reports whether the recipient has the message, routed or not.
func (p Progress) Delivered() bool {
	return p.State == v1alpha1.StateRouted || p.Reason == v1alpha1.ReasonStoredNotRouted
}

// FromPriorTerm returns the progress of a recipient that another operator may have sent to without recording it.
func (p Progress) FromPriorTerm(now time.Time) Progress {
	if p.State == v1alpha1.StatePending {
		return p.doubt(now, v1alpha1.ReasonNoAnswer, msgTakeover)
	}
	return p
}

// doubt keeps the recipient from being sent to again until the store has been searched.
func (p Progress) doubt(now time.Time, reason, message string) Progress {
	p.State, p.Reason, p.Message = v1alpha1.StateInDoubt, reason, message
	if p.DoubtSince.IsZero() {
		p.DoubtSince = now
	}
	return p
}

// segmentIndex is the number of the current segment, from 0.
func (p Progress) segmentIndex() uint32 { return uint32(len(p.Earlier)) }

// recipientState is a recipient's Progress with the working memory of this process.
type recipientState struct {
	Progress

	// checked: the directory has confirmed sender and recipient since the last failure.
	checked bool
	// tries counts transient failures of all steps.
	tries int32
	// lastAttempt is the last moment at which an attempt may have been sent: proof of absence counts from it.
	lastAttempt time.Time
	// sentAt is when this process has sent it last, or zero.
	sentAt time.Time
	// takenOver is true if the doubt is about a message that another operator may have sent.
	takenOver bool
	// fromPriorTerm is true if the message that may be stored was sent by another operator, or before a restart.
	fromPriorTerm bool
	// answered: the doubt is about a message that db_proxy returned an id for.
	answered bool
	// missing is the reason that the directory gave at missingSince.
	missing      string
	missingSince time.Time
	// askedAt is when the store was last searched.
	askedAt time.Time
	// asked counts searches that proved nothing, routeTries failed attempts to route.
	asked, routeTries int32
	// answeredSearch: at least one search of the doubt was answered.
	answeredSearch bool
	// limits are the limits of the next search.
	limits scanLimits
	// members are the other members as which the group's history was read.
	members membersAsked
	// routeSince is when the message could first be routed.
	routeSince time.Time
	// wakeAt is the end of a backoff.
	wakeAt time.Time
	// unsent counts requests in a row that a connection did not accept.
	unsent int32
	// waitReady is true if nothing is done before db_proxy is connected again.
	waitReady bool
	// waitRouter is true if nothing is done before a router is connected.
	waitRouter bool
	// row is the message as stored, to be routed.
	row *wire.MsgInfo
	// laterSegmentsInDoubt: an operator that recorded nothing may have sent the segments after the current one.
	laterSegmentsInDoubt bool
	// standalone is true if no segment follows the stored one.
	standalone bool
	// sentSince is when another resource with the key may have been sent first by this process, or zero.
	sentSince time.Time
	// unseenKey is true if nothing is known to have been sent, but another resource may have had the key.
	unseenKey bool
	// unwitnessed is true if absence was proved while no row was known to be stored after the last attempt.
	unwitnessed bool
}

// maybeStored reports whether the store has something of the message, or may have.
func (p recipientState) maybeStored() bool {
	isUnknown := p.State == v1alpha1.StateInDoubt || p.Reason == v1alpha1.ReasonOutcomeUnknown
	return isUnknown || p.MessageID != 0 || len(p.Earlier) > 0
}

// fail ends the delivery to the recipient.
func (p recipientState) fail(reason, message string) recipientState {
	p.State, p.Reason, p.Message = v1alpha1.StateFailed, reason, message
	p.waitReady, p.wakeAt = false, time.Time{}
	return p
}

// retry retries after a backoff, or fails when the policy's retries are used up. The message is the same for each
// retry, so that the status does not change. Call it only if nothing was stored.
func (p recipientState) retry(env environment, reason, message string) recipientState {
	p.tries++
	p.checked = false
	p.DoubtSince, p.answered, p.asked = time.Time{}, false, 0
	if p.tries > env.RetryLimit {
		stored := "nothing stored"
		if len(p.Earlier) > 0 {
			stored = "not all segments stored"
		}
		return p.fail(v1alpha1.ReasonRetriesExhausted, "gave up after retryLimit, "+stored+"; last: "+message)
	}
	p.State, p.Reason, p.Message = v1alpha1.StatePending, reason, message
	p.wakeAt = env.backoff(retryBackoff, p.tries)
	return p
}

func (p recipientState) doubt(now time.Time, reason, message string) recipientState {
	p.Progress = p.Progress.doubt(now, reason, message)
	p.asked, p.answeredSearch, p.members, p.unwitnessed = 0, false, membersAsked{}, false
	return p
}

// stored records that the store holds the message as row.
func (p recipientState) stored(now time.Time, row *wire.MsgInfo) recipientState {
	p.State, p.Reason, p.Message = v1alpha1.StateStored, "", ""
	p.MessageID, p.CreateTime, p.row = row.GetMsgId(), row.GetCreateTime(), row
	p.DoubtSince, p.wakeAt = time.Time{}, time.Time{}
	if p.StoredAt.IsZero() {
		p.StoredAt = now
	}
	return p
}

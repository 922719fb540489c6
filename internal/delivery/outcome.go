// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Messages of recipients whose deadline has passed.
const (
	MsgDeadline        = "the deadline passed before it was sent; nothing was stored"
	MsgDeadlineSegment = "the deadline passed before all segments were sent"
)

// Messages of recipients. They contain no address, duration or text, so that they are the same for each try.
const (
	msgNotConnected    = "waiting for a connection to db_proxy"
	msgNoDirectory     = "TeamTalk shows neither sender nor recipients; its database may be down"
	msgNoAnswer        = "db_proxy did not answer; the store is searched before anything is sent again"
	msgCounter         = "db_proxy's counter failed; the store is searched before anything is sent again"
	msgRejected        = "db_proxy answered with id 0: nothing was stored"
	msgLost            = "db_proxy did not answer; the store proves that nothing was stored"
	msgUnread          = "db_proxy answered with an id that the store does not show yet"
	msgNotStored       = "db_proxy answered with an id, but the store proves that nothing was stored"
	msgUnknown         = "may have been delivered; the store could not prove it either way"
	msgTakeover        = "another operator may have sent it; the store is searched first"
	msgNotRouted       = "no router accepted it in time; clients see it at their next sync"
	msgAdoptedOld      = "found in the store, too old to be announced again"
	msgAdopted         = "found in the store, not sent again"
	msgWaitRouter      = "stored; waiting for a router"
	msgKeyed           = "the store is searched before it is sent: another resource may have sent it"
	msgNothing         = "there is nothing to send"
	msgDeadlineUnasked = "not sent by its deadline; the store could not show whether another resource had sent it"
)

// whyGrace is the time after which the status tells why a doubt is not settled. Most doubts are settled by then, and a
// status write for each would delay the others.
const whyGrace = 10 * time.Second

// maxWaitingRow is the longest row that is kept in memory while it waits for a router. Tens of thousands may wait for
// minutes, and audio has hundreds of kilobytes.
const maxWaitingRow = 1 << 10

// searchPause is a factor: until absence can be proved, the pause after a search is at least this many times its
// duration.
const searchPause = 2

// minAsked is the number of searches of this process before a doubt ends, even if it is old.
const minAsked = 4

// afterReady is the state after an awaited connection is up, or when another server is tried. Earlier answers of the
// directory may be outdated, and failed requests do not count.
func afterReady(p recipientState, env environment) recipientState {
	p.waitReady, p.checked, p.asked = false, false, 0
	p.unsent++
	p.wakeAt = env.backoff(readyBackoff, p.unsent)
	return p
}

// afterPreflight is the state after sender and recipient were looked up in the directory. A missing entry is final if
// the snapshot shows any user, and another snapshot after the replica lag shows the same. In doubt, a missing group is
// final as well: nothing can be sent, and the store may prove nothing. So is a missing entry for a key with which
// nothing was sent.
func afterPreflight(
	p recipientState, snapshot DirectorySnapshot, err error, sender uint32, env environment,
) recipientState {
	inDoubt := p.State == v1alpha1.StateInDoubt
	refusal := snapshot.refusal(sender, p.Recipient)
	switch {
	case errors.Is(err, dbproxy.ErrNotSent):
		return p.notConnected()
	case inDoubt && (err != nil || !snapshot.respondsWithData() || !p.endsDoubt(refusal)):
		// The store is searched again.
		p.checked = true
		if p.missing != "" {
			p.missing, p.missingSince = "", time.Time{}
			p = p.doubtAgain()
		}
	case err != nil || !snapshot.respondsWithData():
		return p.retry(env, v1alpha1.ReasonNoAnswer, msgNoDirectory)
	case refusal == nil:
		p.checked, p.unsent = true, 0
		if p.missing != "" || p.Reason == v1alpha1.ReasonServerNotReady {
			p.missing, p.missingSince = "", time.Time{}
			p.Reason, p.Message = "", ""
		}
	case p.missing != refusal.Reason:
		p.missing, p.missingSince = refusal.Reason, snapshot.At
		if p.Message = refusal.Message; !inDoubt || p.unseenKey {
			p.Reason = refusal.Reason
		}
		p.wakeAt = snapshot.At.Add(env.ReplicaLag)
	case snapshot.At.Before(p.missingSince.Add(env.ReplicaLag)):
		p.wakeAt = p.missingSince.Add(env.ReplicaLag)
	default:
		if p.unseenKey {
			p.DoubtSince = time.Time{}
		}
		return p.fail(refusal.Reason, refusal.Message)
	}
	return p
}

// doubtAgain restores the reason of the doubt after a reason from the directory.
func (p recipientState) doubtAgain() recipientState {
	switch {
	case p.unseenKey:
		p.Reason, p.Message = v1alpha1.ReasonSending, msgKeyed
	case p.takenOver:
		p.Message = msgTakeover
	default:
		p.Message = msgNoAnswer
	}
	return p
}

// endsDoubt reports whether a doubt need not be settled because nothing can be sent.
func (p recipientState) endsDoubt(refusal *v1alpha1.Cause) bool {
	switch {
	case refusal == nil || refusal.Reason == v1alpha1.ReasonSenderNotInGroup: // other members can read the group
		return false
	case refusal.Reason == v1alpha1.ReasonGroupNotFound:
		return true
	}
	return p.unseenKey
}

// notConnected is the state where a request was not sent.
func (p recipientState) notConnected() recipientState {
	p.waitReady = true
	if p.State == v1alpha1.StatePending {
		p.Reason, p.Message = v1alpha1.ReasonServerNotReady, msgNotConnected
	}
	return p
}

// beforeSend ends a recipient to which nothing is left to send. It returns false if the message is sent.
func beforeSend(p recipientState, t Task) (recipientState, bool) {
	switch {
	case p.segmentIndex() > 0 && int(p.segmentIndex()) >= t.Payload.segmentCount():
		return p.complete(), true
	case len(t.Payload.Data) == 0:
		// Unreachable. An empty message would be stored.
		return p.fail(v1alpha1.ReasonContentEmpty, msgNothing), true
	}
	return p, false
}

// mayBeStored reports whether the message may be stored after an answer to a send, or without one.
func mayBeStored(id uint32, err error) bool {
	return !errors.Is(err, dbproxy.ErrNotSent) && (err != nil || id != 0)
}

// isMessageID reports whether the answer to a send is the id of a message.
func isMessageID(id uint32) bool { return id != 0 && id != wire.MsgIDUnknown }

// afterSend is the state after the answer to a send, or without one.
func afterSend(p recipientState, sent dbproxy.Message, id uint32, err error, env environment) recipientState {
	if errors.Is(err, dbproxy.ErrNotSent) {
		return p.notConnected()
	}
	p.Attempts++
	p.unwitnessed = false
	p.unsent, p.laterSegmentsInDoubt, p.unseenKey, p.takenOver, p.fromPriorTerm = 0, false, false, false, false
	p.lastAttempt = env.now
	p.CreateTime = sent.CreateTime
	switch {
	case err != nil:
		return p.doubt(env.now, v1alpha1.ReasonNoAnswer, msgNoAnswer)
	case id == 0:
		return p.retry(env, v1alpha1.ReasonStoreRejected, msgRejected)
	case id == wire.MsgIDUnknown:
		return p.doubt(env.now, v1alpha1.ReasonNoAnswer, msgCounter)
	}
	p.State, p.Reason, p.Message = v1alpha1.StateAcknowledged, "", ""
	p.MessageID = id
	p.row = &wire.MsgInfo{
		MsgId: &id, FromSessionId: &sent.From, CreateTime: &sent.CreateTime,
		MsgType: &sent.Type, MsgData: sent.Data,
	}
	return p
}

// afterReadBack is the state after a read by id. An id that the store does not show is a doubt.
func afterReadBack(p recipientState, t Task, row *wire.MsgInfo, err error, env environment) recipientState {
	if err == nil && row != nil {
		p.standalone = p.standalone || t.isStandalone(p, row)
		return p.stored(env.now, row)
	}
	if p.State == v1alpha1.StateStored {
		// It was read back before and remains stored. Only the row to route is missing.
		return p.routeLater(env)
	}
	p.MessageID = 0
	p.answered = true
	p = p.doubt(env.now, v1alpha1.ReasonNoAnswer, msgUnread)
	p.waitReady = errors.Is(err, dbproxy.ErrNotSent)
	p.asked++
	p.wakeAt = env.backoff(askBackoff, p.asked)
	return p
}

// sentUnderKey is the state before a search, if this process has sent under the key: a group that may hide that
// message proves nothing.
func (p recipientState) sentUnderKey(sent attempts) recipientState {
	p.unseenKey = false
	p.lastAttempt = later(p.lastAttempt, sent.last)
	p.sentSince = sent.first
	return p
}

// afterAsk is the state after a search of the store that began at askedAt.
func afterAsk(p recipientState, found SearchResult, err error, askedAt time.Time, env environment) recipientState {
	p.askedAt, p.limits, p.members = askedAt, found.Limits, found.Members
	proof := p.provableAt(env.Policy)
	canProve := !askedAt.Before(proof)
	switch {
	case err == nil && found.Row != nil && found.KeyConflict:
		return p.fail(v1alpha1.ReasonKeyReused, found.Why)
	case err == nil && found.Row != nil:
		return p.adopt(found, env)
	case err == nil && found.Conclusive && canProve:
		p.unwitnessed = found.Unwitnessed
		return p.absent(env)
	case errors.Is(err, dbproxy.ErrNotSent):
		// No request was sent: the doubt waits for db_proxy without a limit.
		p.waitReady = true
	case canProve && p.givesUp(found, env):
		return p.fail(v1alpha1.ReasonOutcomeUnknown, unknownBecause(found.Why))
	}
	p.asked++
	p.answeredSearch = p.answeredSearch || err == nil
	if p.unseenKey || found.Empty {
		p.checked = false
	}
	if found.Why != "" && env.now.Sub(later(proof, p.DoubtSince)) >= whyGrace {
		p.Message = found.Why
	}
	p.wakeAt = p.nextSearch(proof, env)
	return p
}

// givesUp reports whether a doubt ends without a result: it was searched for often enough, and its time is over.
func (p recipientState) givesUp(found SearchResult, env environment) bool {
	inDoubt, deadlinePassed := env.now.Sub(p.DoubtSince), env.deadlinePassed(env.now)
	timeIsOver := inDoubt >= InDoubtLimit || deadlinePassed
	if found.Why == whyRecorded { // the API server may be away, or have much to read
		timeIsOver = inDoubt >= 2*InDoubtLimit || deadlinePassed && inDoubt >= recordedGrace
	}
	return timeIsOver && p.asked >= minAsked
}

// nextSearch returns when to search again after a search that proved nothing. One search is due at the first moment
// at which absence can be proved. Until then a search only helps if it finds the message. So a slow search is not
// repeated soon. No search begins that could still be in flight at that moment. After it, a failed search is repeated
// soon, even after many failures: the message, and those behind it, wait for it.
func (p recipientState) nextSearch(proof time.Time, env environment) time.Time {
	backoff := askBackoff
	if env.now.Before(p.lastAttempt) { // an earlier operator's
		backoff = earlierAskBackoff
	}
	if late := env.now.Sub(proof); late >= 0 {
		backoff.limit = min(backoff.limit, max(time.Second, late))
	}
	next := env.backoff(backoff, p.asked)
	if env.now.Before(proof) {
		took := env.now.Sub(p.askedAt)
		if next = later(next, env.now.Add(searchPause*took)); next.Add(took).After(proof) {
			return proof
		}
	}
	return next
}

// unknownBecause is the message of a doubt that could not be settled.
func unknownBecause(why string) string {
	if why == "" {
		return msgUnknown
	}
	return "may have been delivered: " + why
}

// adopt accepts a row of the store as the message.
func (p recipientState) adopt(found SearchResult, env environment) recipientState {
	p = p.stored(env.now, found.Row)
	p.laterSegmentsInDoubt, p.standalone = true, found.Standalone
	if !p.answered {
		p.Reason, p.Message = v1alpha1.ReasonAdopted, msgAdopted
	}
	if env.now.Sub(time.Unix(int64(found.Row.GetCreateTime()), 0)) > RouteAdoptedWithin {
		p.Reason, p.Message = v1alpha1.ReasonStoredNotRouted, msgAdoptedOld
	}
	return p
}

// absent is the state where nothing was stored.
func (p recipientState) absent(env environment) recipientState {
	switch {
	case p.Attempts == 0 || p.takenOver:
		// No attempt is known: the next one is not a retry.
		p.DoubtSince, p.asked, p.checked = time.Time{}, 0, false
		p.State, p.Reason, p.Message = v1alpha1.StatePending, "", ""
		p.wakeAt = env.now
		return p
	case p.answered:
		return p.retry(env, v1alpha1.ReasonNotStored, msgNotStored)
	}
	return p.retry(env, v1alpha1.ReasonNoAnswer, msgLost)
}

// afterDeadline ends a recipient that has reached its deadline.
func afterDeadline(p recipientState) recipientState {
	switch {
	case p.State == v1alpha1.StateInDoubt && p.unseenKey:
		return p.fail(v1alpha1.ReasonOutcomeUnknown, msgDeadlineUnasked)
	case p.State == v1alpha1.StateInDoubt:
		return p.fail(v1alpha1.ReasonOutcomeUnknown, msgUnknown)
	case len(p.Earlier) > 0:
		return p.fail(v1alpha1.ReasonDeadlineExceeded, MsgDeadlineSegment)
	}
	return p.fail(v1alpha1.ReasonDeadlineExceeded, MsgDeadline)
}

// afterRoute is the state after a router was to take the message.
func afterRoute(p recipientState, err error, env environment) recipientState {
	if err != nil {
		return p.routeLater(env)
	}
	p.State = v1alpha1.StateRouted
	if p.Reason != v1alpha1.ReasonAdopted {
		p.Reason, p.Message = "", ""
	}
	p.RoutedAt = env.now
	return p
}

// routeLater waits for a router, until RouteTimeout after the message could be routed first.
func (p recipientState) routeLater(env environment) recipientState {
	if p.routeSince.IsZero() {
		p.routeSince = env.now
	}
	if p.routeTimedOut(env) {
		p.Reason, p.Message = v1alpha1.ReasonStoredNotRouted, msgNotRouted
		return p
	}
	if p.Reason == "" {
		p.Reason, p.Message = v1alpha1.ReasonServerNotReady, msgWaitRouter
	}
	p.waitRouter = true
	if len(p.row.GetMsgData()) > maxWaitingRow {
		p.row = nil // it is read again
	}
	return p
}

// afterRouter is the state after a router is connected, or after the time limit for it: then routing is tried once
// more. If a router was connected all the time, it is not tried immediately.
func (p recipientState) afterRouter(env environment) recipientState {
	p.waitRouter = false
	if !p.routeTimedOut(env) {
		p.routeTries++
		p.wakeAt = env.backoff(routeBackoff, p.routeTries)
	}
	return p
}

func (p recipientState) routeTimedOut(env environment) bool {
	return !env.SupersededAt.IsZero() || env.now.Sub(p.routeSince) >= RouteTimeout
}

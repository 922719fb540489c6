package delivery

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Messages of recipients. They hold no address, duration or text, so that they
// stay the same from try to try.
const (
	msgNotConnected = "waiting for a connection to db_proxy"
	msgNoDirectory  = "TeamTalk shows neither sender nor recipients; its database may be down"
	msgNoAnswer     = "db_proxy did not answer; the store is asked before anything is sent again"
	msgCounter      = "db_proxy's counter failed; the store is asked before anything is sent again"
	msgRejected     = "db_proxy answered with id 0: nothing was stored"
	msgLost         = "db_proxy did not answer; the store proves that nothing was stored"
	msgUnread       = "db_proxy gave an id that the store does not show yet"
	msgNotStored    = "db_proxy gave an id, and the store proves that nothing was stored"
	msgUnknown      = "may have been delivered; the store could not prove it either way"
	msgTakeover     = "another operator may have sent it; the store is asked first"
	msgNotRouted    = "no router took it in time; clients see it at their next sync"
	msgAdoptedOld   = "found in the store, too old to be announced again"
	msgAdopted      = "found in the store, not sent again"
	msgWaitRouter   = "stored; waiting for a router"
	msgKeyed        = "the store is asked first whether its key was used before"
	msgNothing      = "there is nothing to send"
	msgDeadline     = "the deadline came before it was sent; nothing was stored"
	msgDeadlinePart = "the deadline came before all parts were sent"
)

// afterRead settles a read that failed: it says nothing about what is stored.
func afterRead(p Progress, err error, pol Policy, now time.Time, message string) Progress {
	if errors.Is(err, dbproxy.ErrNotSent) {
		p.waitReady = true
		if p.State == v1alpha1.StatePending {
			p.Reason, p.Message = v1alpha1.ReasonServerNotReady, msgNotConnected
		}
		return p
	}
	return p.retry(pol, now, v1alpha1.ReasonNoAnswer, message)
}

// afterPreflight settles what the directory says of sender and recipient. What
// is missing is final only if the look shows that the directory is alive and it
// is still missing once replicas have caught up.
func afterPreflight(p Progress, snapshot DirectorySnapshot, sender uint32, pol Policy, now time.Time) Progress {
	reason, message := snapshot.refusal(sender, p.Recipient)
	switch {
	case reason == "":
		p.checked, p.unsent = true, 0
		if p.missing != "" || p.Reason == v1alpha1.ReasonServerNotReady {
			p.missing, p.missingSince = "", time.Time{}
			p.Reason, p.Message = "", ""
		}
		return p
	case !snapshot.respondsWithData():
		return p.retry(pol, now, v1alpha1.ReasonNoAnswer, msgNoDirectory)
	case p.missing != reason:
		p.missing, p.missingSince = reason, snapshot.At
		p.State, p.Reason, p.Message = v1alpha1.StatePending, reason, message
		p.wakeAt = snapshot.At.Add(pol.ReplicaLag)
		return p
	case snapshot.At.Before(p.missingSince.Add(pol.ReplicaLag)):
		p.wakeAt = p.missingSince.Add(pol.ReplicaLag)
		return p
	}
	return p.fail(reason, message)
}

// afterPreflightInDoubt settles what the directory says of a message of which nothing is known
// but that its key may have been used before. Without the sender, the group, or the
// sender's being a member of it, the store can prove nothing; but nothing can be sent
// either, and that is final under the conditions of afterPreflight.
func afterPreflightInDoubt(p Progress, snapshot DirectorySnapshot, err error, sender uint32, pol Policy) Progress {
	reason, message := snapshot.refusal(sender, p.Recipient)
	switch {
	case errors.Is(err, dbproxy.ErrNotSent):
		p.waitReady = true
	case err != nil || !snapshot.respondsWithData() || reason == "":
		// The store is to be asked again.
		p.checked, p.missing, p.missingSince = true, "", time.Time{}
		p.Reason, p.Message = v1alpha1.ReasonSending, msgKeyed
	case p.missing != reason:
		p.missing, p.missingSince = reason, snapshot.At
		p.Reason, p.Message = reason, message // so far
		p.wakeAt = snapshot.At.Add(pol.ReplicaLag)
	case snapshot.At.Before(p.missingSince.Add(pol.ReplicaLag)):
		p.wakeAt = p.missingSince.Add(pol.ReplicaLag)
	default:
		return p.fail(reason, message)
	}
	return p
}

// isDirectoryReason reports whether a reason is what a directory says of sender and recipient.
func isDirectoryReason(reason string) bool {
	switch reason {
	case v1alpha1.ReasonSenderNotFound, v1alpha1.ReasonRecipientNotFound, v1alpha1.ReasonGroupNotFound, v1alpha1.ReasonSenderNotInGroup:
		return true
	}
	return false
}

// afterSend settles the answer to a send.
func afterSend(p Progress, sent dbproxy.Message, id uint32, err error, pol Policy, now time.Time) Progress {
	if errors.Is(err, dbproxy.ErrNotSent) {
		p.waitReady = true
		p.Reason, p.Message = v1alpha1.ReasonServerNotReady, msgNotConnected
		return p
	}
	p.Attempts++
	p.unsent, p.laterPartsInDoubt, p.unseenKey = 0, false, false
	p.lastAttempt = now
	p.CreateTime = sent.CreateTime
	switch {
	case err != nil:
		return p.doubt(now, v1alpha1.ReasonNoAnswer, msgNoAnswer)
	case id == 0:
		return p.retry(pol, now, v1alpha1.ReasonStoreRejected, msgRejected)
	case id == wire.MsgIDUnknown:
		return p.doubt(now, v1alpha1.ReasonNoAnswer, msgCounter)
	}
	p.State, p.Reason, p.Message = v1alpha1.StateAcknowledged, "", ""
	p.MessageID = id
	p.row = &wire.MsgInfo{
		MsgId: &id, FromSessionId: &sent.From, CreateTime: &sent.CreateTime,
		MsgType: &sent.Type, MsgData: sent.Data,
	}
	return p
}

// afterReadBack settles a read by id. An id that the store does not show is a
// doubt: only the proof that asking needs makes it NotStored.
func afterReadBack(p Progress, row *wire.MsgInfo, err error, now time.Time) Progress {
	if err == nil && row != nil {
		return p.stored(now, row)
	}
	if p.State == v1alpha1.StateStored {
		// It was read once and stays stored; what is lacking is the row to announce.
		return routeLater(p, now)
	}
	p.MessageID = 0
	p.answered = true
	p = p.doubt(now, v1alpha1.ReasonNoAnswer, msgUnread)
	p.waitReady = errors.Is(err, dbproxy.ErrNotSent)
	p.asked++
	p.wakeAt = now.Add(exponential(askBase, askCap, p.asked))
	return p
}

// minAsked is how many questions of this process a doubt outlives, however old it
// is: time in which nothing could be asked is no reason to give up.
const minAsked = 4

// afterAsk settles a question to the store that was put at askedAt.
func afterAsk(p Progress, f SearchResult, err error, askedAt time.Time, pol Policy, now time.Time) Progress {
	p.askedAt = askedAt
	if e, ok := errors.AsType[unreadableError](err); ok {
		// It may have ended the connection for all others.
		p.rowLimit = e.before
	}
	// Before it, asking could not have proved absence.
	proof := p.lastAttempt.Add(pol.proofAfter())
	switch {
	case err == nil && f.Row != nil && f.KeyConflict:
		return p.fail(v1alpha1.ReasonKeyReused, fmt.Sprintf(
			"its key was used for another text, message %d of this conversation; nothing sent: use another key", f.Row.GetMsgId()))
	case err == nil && f.Row != nil:
		p = p.stored(now, f.Row)
		p.laterPartsInDoubt, p.standalone = true, f.Standalone
		if !p.answered {
			p.Reason, p.Message = v1alpha1.ReasonAdopted, msgAdopted
		}
		if now.Sub(time.Unix(int64(f.Row.GetCreateTime()), 0)) > RouteAdoptedWithin {
			p.Reason, p.Message = v1alpha1.ReasonStoredNotRouted, msgAdoptedOld
		}
		return p
	case err == nil && f.Conclusive && !askedAt.Before(proof):
		if p.Attempts == 0 {
			// Nobody has sent it: a first attempt, not a retry.
			p.DoubtSince, p.asked = time.Time{}, 0
			p.State, p.Reason, p.Message = v1alpha1.StatePending, "", ""
			p.wakeAt = now
			return p
		}
		if p.answered {
			return p.retry(pol, now, v1alpha1.ReasonNotStored, msgNotStored)
		}
		return p.retry(pol, now, v1alpha1.ReasonNoAnswer, msgLost)
	case errors.Is(err, dbproxy.ErrNotSent):
		// Nothing was asked: the doubt waits for db_proxy however long it is away.
		p.waitReady = true
	case !askedAt.Before(proof) && (now.Sub(p.DoubtSince) >= InDoubtLimit && p.asked >= minAsked || pol.deadlinePassed(now)):
		return p.fail(v1alpha1.ReasonOutcomeUnknown, msgUnknown)
	}
	p.asked++
	if p.unseenKey {
		p.checked = false
	}
	p.wakeAt = now.Add(exponential(askBase, askCap, p.asked))
	// The first moment at which absence can be proved is worth a question.
	if now.Before(proof) && p.wakeAt.After(proof) {
		p.wakeAt = proof
	}
	return p
}

// afterDeadline ends what the deadline has come for.
func afterDeadline(p Progress) Progress {
	switch {
	case p.State == v1alpha1.StateInDoubt:
		return p.fail(v1alpha1.ReasonOutcomeUnknown, msgUnknown)
	case len(p.Earlier) > 0:
		return p.fail(v1alpha1.ReasonDeadlineExceeded, msgDeadlinePart)
	}
	return p.fail(v1alpha1.ReasonDeadlineExceeded, msgDeadline)
}

// afterRoute settles a hand-over to a router.
func afterRoute(p Progress, err error, now time.Time) Progress {
	if err != nil {
		return routeLater(p, now)
	}
	p.State = v1alpha1.StateRouted
	if p.Reason != v1alpha1.ReasonAdopted {
		p.Reason, p.Message = "", ""
	}
	p.RoutedAt = now
	return p
}

// routeLater tries a router again, until RouteTimeout after the message was stored.
func routeLater(p Progress, now time.Time) Progress {
	if p.routeSince.IsZero() {
		p.routeSince = now
	}
	if now.Sub(p.routeSince) >= RouteTimeout {
		p.Reason, p.Message = v1alpha1.ReasonStoredNotRouted, msgNotRouted
		return p
	}
	if p.Reason == "" {
		p.Reason, p.Message = v1alpha1.ReasonServerNotReady, msgWaitRouter
	}
	p.routeTries++
	p.wakeAt = now.Add(exponential(routeBase, routeCap, p.routeTries))
	return p
}

// refusal says why sender and recipient cannot have the message, or "".
func (l DirectorySnapshot) refusal(sender uint32, r v1alpha1.Recipient) (reason, message string) {
	if l.Users[sender] == nil {
		return v1alpha1.ReasonSenderNotFound, fmt.Sprintf("sender: user %d does not exist in TeamTalk", sender)
	}
	if r.Type == v1alpha1.RecipientUser {
		if l.Users[r.ID] == nil {
			return v1alpha1.ReasonRecipientNotFound, fmt.Sprintf("user %d does not exist in TeamTalk", r.ID)
		}
		return "", ""
	}
	g := l.Groups[r.ID]
	if g == nil {
		return v1alpha1.ReasonGroupNotFound, fmt.Sprintf("group %d does not exist in TeamTalk", r.ID)
	}
	members := g.GetGroupMemberList()
	if slices.Contains(members, sender) {
		return "", ""
	}
	if len(members) == 0 {
		// A flushed cache shows every group empty, and the next send fills it:
		// db_proxy itself decides, and drops what is not permitted.
		return "", ""
	}
	return v1alpha1.ReasonSenderNotInGroup, fmt.Sprintf("user %d is not a member of group %d", sender, r.ID)
}

// respondsWithData reports whether the snapshot shows that the directory answers from its data:
// an outage looks like empty lists.
func (l DirectorySnapshot) respondsWithData() bool { return len(l.Users) > 0 }

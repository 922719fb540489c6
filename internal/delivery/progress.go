package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Progress is how far one recipient has come. The exported fields are what the
// resource's status shows; the others are the working memory of the process.
type Progress struct {
	v1alpha1.Recipient
	State   v1alpha1.RecipientState
	Reason  string
	Message string
	// MessageID is TeamTalk's id in the conversation; 0: none yet.
	MessageID uint32
	// Earlier are the ids of the parts before the current one, of a text that is
	// split: their number is the current one's.
	Earlier []uint32
	// EarlierReason and EarlierMessage are what is to be said of the parts before the
	// current one.
	EarlierReason, EarlierMessage string
	// Attempts counts sends.
	Attempts int32
	// CreateTime is TeamTalk's time of the message in unix seconds; 0: not set.
	// Where no token rides along it is written to the status before the first send.
	CreateTime uint32
	// DoubtSince is when a send first went without proof of its fate.
	DoubtSince time.Time
	StoredAt   time.Time
	RoutedAt   time.Time

	// checked: the directory has confirmed sender and recipient since the last failure.
	checked bool
	// tries counts failures that may pass, of whatever step.
	tries int32
	// lastAttempt is the last moment at which an attempt may have left for db_proxy:
	// proof of absence counts from it.
	lastAttempt time.Time
	// answered: the doubt is about a message that db_proxy gave an id for.
	answered bool
	// missing is what the directory lacked at missingSince.
	missing      string
	missingSince time.Time
	// askedAt is when the store was last asked.
	askedAt time.Time
	// asked counts questions that proved nothing, routeTries routers that took nothing.
	asked, routeTries int32
	// rowLimit is how many rows the store is asked for at most, where an answer with more
	// was too long; 0: it was not.
	rowLimit uint32
	// routeSince is when the message was first ready to be routed.
	routeSince time.Time
	// wakeAt: nothing is done before it.
	wakeAt time.Time
	// unsent counts requests in a row that a connection which is up did not take.
	unsent int32
	// waitReady: nothing is done before db_proxy is connected again.
	waitReady bool
	// row is the message as stored, to be routed.
	row *wire.MsgInfo
	// laterPartsInDoubt: an operator that has left no record may have sent the parts after the
	// current one, too.
	laterPartsInDoubt bool
	// standalone: no part comes after the one that is stored.
	standalone bool
	// unseenKey: nobody is known to have sent it, and it is only asked for because
	// another resource may have had its key.
	unseenKey bool
}

// Done reports whether nothing more is tried for the recipient.
func (p Progress) Done() bool {
	return p.State == v1alpha1.StateFailed || p.Delivered()
}

// Delivered reports whether the recipient has the message, routed or not.
func (p Progress) Delivered() bool {
	return p.State == v1alpha1.StateRouted || p.Reason == v1alpha1.ReasonStoredNotRouted
}

// fail ends the recipient for good.
func (p Progress) fail(reason, message string) Progress {
	p.State, p.Reason, p.Message = v1alpha1.StateFailed, reason, message
	p.waitReady, p.wakeAt = false, time.Time{}
	return p
}

// retry tries again after a backoff, or gives up once the policy's retries are
// used up. Its message stays the same from try to try, so that the status does
// not change with each. It may be called only where nothing was stored.
func (p Progress) retry(pol Policy, now time.Time, reason, message string) Progress {
	p.tries++
	p.checked = false
	p.DoubtSince, p.answered, p.asked = time.Time{}, false, 0
	if p.tries > pol.RetryLimit {
		return p.fail(v1alpha1.ReasonRetriesExhausted, "gave up after retryLimit, nothing stored; last: "+message)
	}
	p.State, p.Reason, p.Message = v1alpha1.StatePending, reason, message
	p.wakeAt = now.Add(pol.backoff(p.tries))
	return p
}

// doubt keeps the recipient from being sent to again until the store has been asked.
func (p Progress) doubt(now time.Time, reason, message string) Progress {
	p.State, p.Reason, p.Message = v1alpha1.StateInDoubt, reason, message
	if p.DoubtSince.IsZero() {
		p.DoubtSince = now
	}
	p.asked = 0
	return p
}

// FromPriorTerm returns the progress of a recipient that another operator may have
// sent to without recording it.
func (p Progress) FromPriorTerm(now time.Time) Progress {
	if p.State == v1alpha1.StatePending {
		return p.doubt(now, v1alpha1.ReasonNoAnswer, msgTakeover)
	}
	return p
}

// stored records that the store holds the message as row.
func (p Progress) stored(now time.Time, row *wire.MsgInfo) Progress {
	p.State, p.Reason, p.Message = v1alpha1.StateStored, "", ""
	p.MessageID, p.CreateTime, p.row = row.GetMsgId(), row.GetCreateTime(), row
	p.DoubtSince, p.wakeAt = time.Time{}, time.Time{}
	if p.StoredAt.IsZero() {
		p.StoredAt = now
	}
	return p
}

package delivery

import (
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Payload is what is sent: UTF-8 text, or audio as it goes on the wire (seconds
// as u32 big-endian, then the sound).
type Payload struct {
	Audio bool
	Data  []byte
	// Rest are the parts after Data, of a text that is split.
	Rest [][]byte
	// Count is how many parts the text had whose first one was sent, where that is on
	// record: the text may be another one now, or not be known. 0: as many as there are.
	Count int
	// Recorded: it is this text that is on record, as the only one to be sent in parts.
	Recorded bool
}

// partCount is how many messages of TeamTalk's it takes.
func (p Payload) partCount() int {
	if p.Count > 0 {
		return p.Count
	}
	return 1 + len(p.Rest)
}

// partAt returns what the message of that number holds, from 0; nothing where the
// text has become shorter since the parts before were sent.
func (p Payload) partAt(n uint32) Payload {
	switch {
	case n == 0:
		return Payload{Audio: p.Audio, Data: p.Data}
	case int(n) <= len(p.Rest):
		return Payload{Data: p.Rest[n-1]}
	}
	return Payload{}
}

// partIndex is the number of the recipient's current part, from 0.
func (p Progress) partIndex() uint32 { return uint32(len(p.Earlier)) }

// proceed goes on with the next part of a text that is split, once one is
// delivered. Where the text is not known yet, there may be a next one.
func (p Progress) proceed(t Task, now time.Time) Progress {
	if !p.Delivered() {
		return p
	}
	if p.standalone {
		return p.conclude()
	}
	if int(p.partIndex())+1 < t.Payload.partCount() || t.PayloadPending && t.Split && t.Payload.Count == 0 {
		return p.nextPart(now)
	}
	return p.conclude()
}

// nextPart goes on with the part after one that is delivered.
func (p Progress) nextPart(now time.Time) Progress {
	p = p.conclude()
	p.EarlierReason, p.EarlierMessage = p.Reason, p.Message
	// Copied: snapshots share the recipients' memory.
	p.Earlier = append(slices.Clone(p.Earlier), p.MessageID)
	p.State, p.Reason, p.Message = v1alpha1.StatePending, "", ""
	p.MessageID, p.CreateTime, p.row = 0, 0, nil
	p.tries, p.answered, p.asked, p.routeTries = 0, false, 0, 0
	p.routeSince, p.wakeAt, p.DoubtSince = time.Time{}, time.Time{}, time.Time{}
	if p.laterPartsInDoubt {
		return p.doubt(now, v1alpha1.ReasonNoAnswer, msgTakeover)
	}
	return p
}

// conclude says of a delivered part what was to be said of those before it, where
// that weighs more.
func (p Progress) conclude() Progress {
	if p.Reason == "" || p.EarlierReason == v1alpha1.ReasonStoredNotRouted {
		p.Reason, p.Message = p.EarlierReason, p.EarlierMessage
	}
	return p
}

// complete ends a recipient that turns out to have had all parts.
func (p Progress) complete() Progress {
	last := len(p.Earlier) - 1
	p.MessageID, p.Earlier = p.Earlier[last], p.Earlier[:last]
	p.State, p.Reason, p.Message = v1alpha1.StateRouted, p.EarlierReason, p.EarlierMessage
	return p
}

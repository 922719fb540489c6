// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Payload is what is sent: UTF-8 text, or audio in its wire format (seconds as u32 big-endian, then the sound).
type Payload struct {
	Audio bool
	Data  []byte
	// Rest are the segments after Data, of a text that is split.
	Rest [][]byte
	// Count is the recorded number of segments, of a text that may have changed or is not known yet; 0: 1 + len(Rest).
	Count int
	// Recorded: this text is recorded as the only one to be sent in segments.
	Recorded bool
}

// segmentCount is the number of TeamTalk messages that it takes.
func (p Payload) segmentCount() int {
	if p.Count > 0 {
		return p.Count
	}
	return 1 + len(p.Rest)
}

// segmentAt returns the nth segment, from 0; nothing if the text has become shorter since.
func (p Payload) segmentAt(n uint32) Payload {
	switch {
	case n == 0:
		return Payload{Audio: p.Audio, Data: p.Data}
	case int(n) <= len(p.Rest):
		return Payload{Data: p.Rest[n-1]}
	}
	return Payload{}
}

// proceed goes on with the next segment once one is delivered. Of a text that is not known yet, there may be one.
func (p recipientState) proceed(t Task, now time.Time) recipientState {
	more := int(p.segmentIndex())+1 < t.Payload.segmentCount() || t.PayloadPending && t.Split && t.Payload.Count == 0
	switch {
	case !p.Delivered():
		return p
	case more && !p.standalone:
		return p.nextSegment(now)
	}
	return p.withEarlierReason()
}

func (p recipientState) nextSegment(now time.Time) recipientState {
	p = p.withEarlierReason()
	p.EarlierReason, p.EarlierMessage = p.Reason, p.Message
	// Cloned: snapshots share the recipients' memory.
	p.Earlier = append(slices.Clone(p.Earlier), p.MessageID)
	p.State, p.Reason, p.Message = v1alpha1.StatePending, "", ""
	p.MessageID, p.CreateTime, p.row = 0, 0, nil
	p.tries, p.answered, p.asked, p.routeTries = 0, false, 0, 0
	p.routeSince, p.wakeAt, p.DoubtSince = time.Time{}, time.Time{}, time.Time{}
	if p.laterSegmentsInDoubt {
		return p.doubt(now, v1alpha1.ReasonNoAnswer, msgTakeover)
	}
	return p
}

// withEarlierReason gives a delivered segment the reason of the segments before it, where that is more important.
func (p recipientState) withEarlierReason() recipientState {
	if p.Reason == "" || p.EarlierReason == v1alpha1.ReasonStoredNotRouted {
		p.Reason, p.Message = p.EarlierReason, p.EarlierMessage
	}
	return p
}

// complete ends a recipient that has had all segments already.
func (p recipientState) complete() recipientState {
	last := len(p.Earlier) - 1
	p.MessageID, p.Earlier = p.Earlier[last], p.Earlier[:last]
	p.State, p.Reason, p.Message = v1alpha1.StateRouted, p.EarlierReason, p.EarlierMessage
	return p
}

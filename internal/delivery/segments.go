// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Payload is the content to send: UTF-8 text, or audio in its wire format (seconds as u32 big-endian, then the sound).
type Payload struct {
	Audio bool
	Data  []byte
	// Rest are the segments after Data, of a text that is split.
	Rest [][]byte
	// Digests are the digests of the segments of the recorded text, which may be in the store. If Data is empty, that text
	// is not available: it has changed, or is not known yet.
	Digests []TextDigest
}

// segmentCount is the number of TeamTalk messages of the payload.
func (p Payload) segmentCount() int { return max(1+len(p.Rest), len(p.Digests)) }

// segmentAt returns the nth segment, from 0. If the text is not available, it returns only the digest, if that is
// known.
func (p Payload) segmentAt(n uint32) Payload {
	segment := Payload{Audio: p.Audio}
	switch {
	case n == 0:
		segment.Data = p.Data
	case int(n) <= len(p.Rest):
		segment.Data = p.Rest[n-1]
	}
	if int(n) < len(p.Digests) {
		segment.Digests = p.Digests[n : n+1]
	}
	return segment
}

// isText reports whether the text is that of the segment. If the segment is not available, its digest is compared.
func (p Payload) isText(text []byte) bool {
	if len(p.Data) == 0 && len(p.Digests) > 0 {
		return p.Digests[0] == sha256.Sum256(text)
	}
	return bytes.Equal(text, p.Data)
}

// proceed continues with the next segment after one is delivered. A text that is not known yet may have one.
func (p recipientState) proceed(t Task, now time.Time) recipientState {
	isUnknown := t.PayloadPending && t.Split && len(t.Payload.Digests) == 0
	more := isUnknown || int(p.segmentIndex())+1 < t.Payload.segmentCount()
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
	if p.State == v1alpha1.StateRouted {
		// Otherwise the next one has waited for a router as well.
		p.routeSince = time.Time{}
	}
	p.EarlierReason, p.EarlierMessage = p.Reason, p.Message
	// Cloned: snapshots share the recipients' memory.
	p.Earlier = append(slices.Clone(p.Earlier), p.MessageID)
	p.State, p.Reason, p.Message = v1alpha1.StatePending, "", ""
	p.MessageID, p.CreateTime, p.row = 0, 0, nil
	p.tries, p.answered, p.asked, p.routeTries = 0, false, 0, 0
	p.wakeAt, p.DoubtSince = time.Time{}, time.Time{}
	if p.laterSegmentsInDoubt {
		p.takenOver = true
		return p.doubt(now, v1alpha1.ReasonNoAnswer, msgTakeover)
	}
	return p
}

// withEarlierReason gives a delivered segment the reason of the segments before it, if that is more important.
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

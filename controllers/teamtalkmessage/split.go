// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// splitText splits a text into segments of at most limit bytes, each with its number before it, "(2/3) ". It
// splits at the end of a line where there is one in the second half of a segment, else at a blank, else between
// two characters. The line end or blank is left out.
func splitText(text string, limit int) [][]byte {
	// Room for the longest number, of as many segments as there may be.
	room := limit - len(segmentNumber(99, 99))
	var pieces []string
	for len(text) > room {
		piece := text[:room]
		for !utf8.RuneStart(text[len(piece)]) {
			piece = piece[:len(piece)-1]
		}
		rest := text[len(piece):]
		if i := strings.LastIndexByte(piece, '\n'); i >= room/2 {
			piece, rest = piece[:i], text[i+1:]
		} else if i := strings.LastIndexByte(piece, ' '); i >= room/2 {
			piece, rest = piece[:i], text[i+1:]
		}
		pieces = append(pieces, piece)
		text = rest
	}
	if text != "" {
		pieces = append(pieces, text)
	}
	segments := make([][]byte, len(pieces))
	for i, piece := range pieces {
		segments[i] = []byte(segmentNumber(i+1, len(pieces)) + piece)
	}
	return segments
}

func segmentNumber(n, of int) string { return fmt.Sprintf("(%d/%d) ", n, of) }

// pinSplit sends only segments of one text. A ConfigMap may change between two segments, where another operator
// takes the message over, or where it is suspended for a while. So the status identifies a text of several
// segments before the first is sent, and no longer does before a text of one segment is sent. What is left of
// another text is refused. Where the status identifies none, nobody has begun a text of several segments. known:
// the text is at hand.
func (s *scope) pinSplit(known bool) outcome {
	if s.message.Spec.Content.TextFrom == nil {
		return proceed
	}
	next := proceed
	now := identifySplit(s.payload)
	same := now != nil && s.split != nil && *now == *s.split
	switch {
	case !known || same:
	case s.split != nil && s.maybeSent():
		s.refuseAll(v1alpha1.ReasonContentChanged,
			"the ConfigMap changed after the first segments were sent: restore the text and retry")
	case now != nil || s.split != nil:
		s.split, same, next = now, now != nil, recordFirst
	}
	if s.split != nil {
		s.payload.Count, s.payload.Recorded = int(s.split.Segments), known && same
	}
	return next
}

// maybeSent reports whether some of the message may have been sent, to any recipient.
func (s *scope) maybeSent() bool {
	return slices.ContainsFunc(s.recipients, func(p delivery.Progress) bool {
		unsent := p.State == v1alpha1.StatePending ||
			p.State == v1alpha1.StateFailed && p.Reason != v1alpha1.ReasonOutcomeUnknown
		return !unsent || len(p.Earlier) > 0 || p.MessageID != 0
	})
}

// identifySplit tells a text that takes several segments from every other; nil: it takes one.
func identifySplit(p delivery.Payload) *v1alpha1.SplitText {
	if len(p.Rest) == 0 {
		return nil
	}
	digest := cipher.Digest(append([][]byte{p.Data}, p.Rest...)...)
	return &v1alpha1.SplitText{Segments: int32(1 + len(p.Rest)), Digest: hex.EncodeToString(digest[:])}
}

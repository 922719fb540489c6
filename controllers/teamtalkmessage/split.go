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
)

// splitText splits a text into parts of at most limit bytes, each with its number before
// it, "(2/3) ". It splits at the end of a line where there is one in the second half
// of a part, else at a blank, else between two characters. The line end or blank is left
// out.
func splitText(text string, limit int) [][]byte {
	// Room for the longest number, of as many parts as there may be.
	room := limit - len(partNumber(99, 99))
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
	parts := make([][]byte, len(pieces))
	for i, piece := range pieces {
		parts[i] = []byte(partNumber(i+1, len(pieces)) + piece)
	}
	return parts
}

func partNumber(n, of int) string { return fmt.Sprintf("(%d/%d) ", n, of) }

// pinSplit sends only parts of one text. A ConfigMap may change between two parts, where
// another operator takes the message over, or where it is suspended for a while. So the
// status identifies a text of several parts before the first is sent, and no longer
// does before a text of one part is sent. What is left of another text is refused.
// Where the status identifies none, nobody has begun a text of several parts. known:
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
	case s.split != nil && s.sentInPart():
		s.refuseAll(v1alpha1.ReasonContentChanged,
			"the ConfigMap holds another text than the one whose first parts were sent: restore it and retry")
	case now != nil || s.split != nil:
		s.split, same, next = now, now != nil, recordFirst
	}
	if s.split != nil {
		s.payload.Count, s.payload.Recorded = int(s.split.Parts), known && same
	}
	return next
}

// sentInPart reports whether some of the message may have been sent, to any recipient.
func (s *scope) sentInPart() bool {
	return slices.ContainsFunc(s.recipients, func(p delivery.Progress) bool {
		unsent := p.State == v1alpha1.StatePending ||
			p.State == v1alpha1.StateFailed && p.Reason != v1alpha1.ReasonOutcomeUnknown
		return !unsent || len(p.Earlier) > 0 || p.MessageID != 0
	})
}

// identifySplit tells a text that takes several parts from every other; nil: it takes one.
func identifySplit(p delivery.Payload) *v1alpha1.SplitText {
	if len(p.Rest) == 0 {
		return nil
	}
	digest := delivery.Digest(append([][]byte{p.Data}, p.Rest...)...)
	return &v1alpha1.SplitText{Parts: int32(1 + len(p.Rest)), Digest: hex.EncodeToString(digest[:])}
}

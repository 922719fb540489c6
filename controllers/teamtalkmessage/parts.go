package teamtalkmessage

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// pinParts has all parts be of one text. A ConfigMap may change at any time, also
// between two of them where the message is taken up anew there: by another operator, or
// when it is not suspended any more. So which text it is goes on record before its first
// part leaves, and off it before one leaves that takes one part; what is left of another
// one is refused. Without a record nobody has begun a text of several parts, whatever
// else may have been sent. known: the text is at hand.
func (s *scope) pinParts(known bool) {
	if s.message.Spec.Content.TextFrom == nil {
		return
	}
	now := identify(s.payload)
	switch {
	case !known || s.split != nil && now != nil && *now == *s.split:
	case s.split != nil && s.started():
		s.refuseAll(v1alpha1.ReasonContentChanged,
			"the ConfigMap holds another text than the one whose first parts were sent: restore it and retry")
	default:
		s.staged = s.staged || now != nil || s.split != nil
		s.split = now
	}
	if s.split != nil {
		s.payload.Count = int(s.split.Parts)
		s.payload.Recorded = known && now != nil && *now == *s.split
	}
}

// started reports whether some of the message may have been sent, to anybody.
func (s *scope) started() bool {
	return slices.ContainsFunc(s.recipients, func(p delivery.Progress) bool {
		unsent := p.State == v1alpha1.StatePending ||
			p.State == v1alpha1.StateFailed && p.Reason != v1alpha1.ReasonOutcomeUnknown
		return !unsent || len(p.Earlier) > 0 || p.MessageID != 0
	})
}

// identify tells a text that takes several parts from every other; nil: it takes one.
func identify(p delivery.Payload) *v1alpha1.SplitText {
	if len(p.Rest) == 0 {
		return nil
	}
	h := sha256.New()
	var length [4]byte
	for _, part := range append([][]byte{p.Data}, p.Rest...) {
		binary.BigEndian.PutUint32(length[:], uint32(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	return &v1alpha1.SplitText{Parts: int32(1 + len(p.Rest)), Digest: hex.EncodeToString(h.Sum(nil))}
}

// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"crypto/sha256"
	"reflect"
	"slices"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/content"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// identifiesText reports whether the text is recorded before each send. This is so for revisions, because the next one
// may begin while the text may be in the store. It is also so if the ConfigMap may change and another resource may have
// the message's identity.
func identifiesText(m *v1alpha1.TeamTalkMessage) bool {
	return hasRevisions(m) || m.Spec.Content.TextFrom != nil && m.MayBeRepeated()
}

// recordText ensures that the status identifies the text that may be in the store, and that no other text is sent
// before the store proves its absence. A ConfigMap may change between two segments, where another operator takes the
// message over, or while the message is suspended. A text of one segment is recorded only if identifiesText reports
// true. Otherwise no other resource has its token, and a row with the token is adopted regardless of its text. known:
// the text is at hand.
func (s *scope) recordText(known bool) outcome {
	if s.message.Spec.Content.Audio != nil {
		return proceed
	}
	if s.message.Spec.Content.TextFrom == nil && !hasRevisions(s.message) {
		s.identifySegments()
		if st := s.message.Status; st.SpecDigest != "" && !reflect.DeepEqual(s.text, st.Text) {
			return recordFirst // it could be edited already
		}
		return proceed
	}
	next := proceed
	var now *v1alpha1.RecordedText
	if len(s.payload.Rest) > 0 || identifiesText(s.message) {
		now = s.identifyText()
	}
	switch {
	case !known, reflect.DeepEqual(now, s.text):
	case s.hasSegments():
		s.payload = delivery.Payload{}
		s.refuseAll(s.refuse, v1alpha1.ReasonContentChanged,
			"the ConfigMap changed after the first segments were sent: restore the text and retry")
	case s.text != nil && s.begun():
		s.payload, s.textChanged = delivery.Payload{}, true
	default:
		s.text, next = now, recordFirst
	}
	s.payload.Digests = content.Digests(s.text)
	return next
}

// identifySegments identifies a text in the spec that takes several segments. Every status shows it that permits an
// edit with onChange: Resend. After such an edit, the spec does not tell how many segments the former revision had.
func (s *scope) identifySegments() {
	m := s.message
	isOther := m.Spec.Content.Text == nil || hasRevisions(m) || s.origin == originSuperseded || s.isEscalation()
	if isOther || s.text != nil || !s.tokens() {
		return
	}
	text := []byte(*m.Spec.Content.Text)
	if payload, cause := content.Payload(m.Spec, text, true); cause == nil && len(payload.Rest) > 0 {
		s.text = content.Identify(text, payload)
	}
}

// identifyText identifies the text of an escalation by that without the first line, and by its segments.
func (s *scope) identifyText() *v1alpha1.RecordedText {
	identified := content.Identify(s.source, s.payload)
	if s.isEscalation() && len(identified.SegmentDigests) == 0 {
		identified.SegmentDigests = []string{content.Identify(s.payload.Data, delivery.Payload{}).Digest}
	}
	return identified
}

// hasSegments reports whether segments of the recorded text may be stored for any recipient. Then all recipients get
// this text.
func (s *scope) hasSegments() bool {
	if s.text == nil || len(s.text.SegmentDigests) < 2 {
		return false
	}
	return slices.ContainsFunc(s.recipients, func(p delivery.Progress) bool {
		isUnknown := p.State == v1alpha1.StateFailed && p.Reason == v1alpha1.ReasonOutcomeUnknown
		return len(p.Earlier) > 0 || p.MessageID != 0 || isUnknown
	})
}

// identity returns the identity of the message for its token. Audio has no token: its resource identifies it.
func (s *scope) identity() delivery.Identity {
	identity := s.identityOf(s.object())
	if s.isEscalation() {
		identity.Role = delivery.RoleEscalation
	}
	return identity
}

func (s *scope) identityOf(m *v1alpha1.TeamTalkMessage) delivery.Identity {
	switch {
	case m.Spec.IdempotencyKey != "":
		return delivery.Identity{Namespace: m.Namespace, Key: m.Spec.IdempotencyKey, Unique: !m.MayBeRepeated()}
	case !m.IdentifiedByName() || m.Spec.Content.Audio != nil:
		return delivery.Identity{UID: m.UID, Revision: uint32(s.revision - 1)}
	case s.text != nil:
		return delivery.Identity{Namespace: m.Namespace, Name: m.Name, Text: content.ParseDigest(s.text.Digest)}
	}
	return delivery.Identity{Namespace: m.Namespace, Name: m.Name, Text: sha256.Sum256(s.source)}
}

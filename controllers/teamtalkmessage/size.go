// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// maxObjectSize is the largest object that etcd stores with its default --max-request-bytes.
	maxObjectSize = 1536 << 10
	// sizeMargin is for data that worstSize does not measure: managedFields (also those that the cache drops), the request
	// around the object, encryption at rest, and a few annotations that are added later.
	sizeMargin = 128 << 10
	// maxStrippedFields limits the managedFields that the cache leaves out.
	maxStrippedFields = 64 << 10
	// worstStatusRest is for the status without its recipients: six conditions, 42 digests of texts, ten
	// revisions and a handled retry.
	worstStatusRest = 20 << 10
	// worstReason and worstText are the longest reason that the API allows, and the longest message with an ellipsis.
	worstReason = 64
	worstText   = v1alpha1.MaxRecipientMessage + len("…")
)

const msgStatusTooLarge = "its status could exceed what etcd stores: remove annotations or labels and retry, " +
	"or send several messages"

// StripManagedFields is the transform of the cache of messages. It removes managedFields, as long as they are small:
// large ones count for the size of the object.
func StripManagedFields(o any) (any, error) {
	m, ok := o.(*v1alpha1.TeamTalkMessage)
	if !ok {
		return o, nil
	}
	size := 0
	for _, f := range m.ManagedFields {
		size += len(f.Manager) + len(f.Subresource) + worstText // its other fields
		if f.FieldsV1 != nil {
			size += int(f.FieldsV1.GetRawReader().Size())
		}
	}
	if size <= maxStrippedFields {
		m.ManagedFields = nil
	}
	return m, nil
}

// checkStatusSize refuses a message whose status might not fit into etcd: its deliveries could not be recorded. Nothing
// more is sent. Messages that may have been sent, by this resource or another one with the same identity, are settled
// first: the message may have grown since it was begun, or was created again with larger annotations.
func checkStatusSize(s *scope) outcome {
	if worstSize(s.object()) > maxObjectSize-sizeMargin {
		s.refuseAll(s.refuse, v1alpha1.ReasonStatusTooLarge, msgStatusTooLarge)
	}
	return proceed
}

// worstSize returns the size that a message may have in etcd with the longest status of its recipients.
func worstSize(m *v1alpha1.TeamTalkMessage) int {
	segments := 1
	if m.Spec.LongText == v1alpha1.LongTextSplit {
		segments = v1alpha1.MaxSegments
	}
	shown := *m
	shown.Status.Recipients = nil
	recipients := max(m.Spec.To.Len(), len(m.Status.Recipients))
	escalateTo := m.EscalateTo()
	if e := m.Status.Escalation; e != nil {
		shown.Status.Escalation = nil
		recipients += max(escalateTo.Len(), len(e.Recipients))
	} else {
		recipients += escalateTo.Len()
	}
	size := storedSize(&shown) + worstStatusRest + recipients*storedSize(worstRecipient(segments))
	return size + sizeOfNames(m.Spec.To) + sizeOfNames(escalateTo)
}

// sizeOfNames returns how much longer the status of recipients is that are given by name.
func sizeOfNames(to v1alpha1.Recipients) (size int) {
	for _, names := range [][]string{to.UserNames, to.GroupNames} {
		for _, name := range names {
			size += len(`"name":`) + storedSize(name)
		}
	}
	for _, ref := range to.GroupRefs {
		size += len(`"ref":`) + storedSize(ref.Name)
	}
	return size
}

// worstRecipient returns the longest status of a recipient.
func worstRecipient(segments int) *v1alpha1.RecipientStatus {
	at := &metav1.Time{Time: time.Unix(0, 0)}
	r := &v1alpha1.RecipientStatus{
		Type: v1alpha1.RecipientGroup, ID: math.MaxUint32, State: v1alpha1.StateAcknowledged,
		Reason: strings.Repeat("R", worstReason), Message: strings.Repeat("m", worstText),
		MessageIDs: make([]int64, segments), Attempts: math.MaxInt32, FormerMessageID: math.MaxUint32,
		CreateTime: at, InDoubtSince: at, StoredAt: at, RoutedAt: at, ReadAt: at, ReadBy: math.MaxInt32,
	}
	for i := range r.MessageIDs {
		r.MessageIDs[i] = math.MaxUint32
	}
	if segments > 1 {
		r.EarlierReason, r.EarlierMessage = r.Reason, r.Message
	}
	return r
}

// storedSize returns the size of a value as the API server stores it: as JSON, with the characters of HTML escaped.
func storedSize(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return math.MaxInt32 // Unreachable: the API server has parsed it.
	}
	return len(b) + len(",")
}

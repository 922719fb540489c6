// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/content"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// needsPayload reports whether the payload must be built. A delivery in progress keeps its payload.
func (s *scope) needsPayload() bool { return !s.underWay() || s.snapshot.PayloadPending }

// loadContent reads the ConfigMap of the content. If it is missing, a message that was begun continues without it.
func (r *Reconciler) loadContent(ctx context.Context, s *scope) (outcome, error) {
	var ref v1alpha1.ConfigMapKeyRef
	switch c := s.message.Spec.Content; {
	case !s.needsPayload():
		return proceed, nil
	case c.TextFrom != nil:
		ref = c.TextFrom.ConfigMapKeyRef
	case c.Audio != nil:
		ref = c.Audio.ConfigMapKeyRef
	default:
		return proceed, nil
	}
	data, missing, err := r.readConfigMap(ctx, client.ObjectKeyFromObject(s.message), ref)
	switch {
	case err != nil:
		return proceed, err
	case missing == nil:
		s.source = data
	case s.begun():
		s.payloadPending = missing
	default:
		return waitFor(missing.Reason, missing.Message), nil
	}
	return proceed, nil
}

// readConfigMap reads one key of a ConfigMap, in data or binaryData. If it fails, it watches the ConfigMap.
func (r *Reconciler) readConfigMap(ctx context.Context, message types.NamespacedName, ref v1alpha1.ConfigMapKeyRef) (
	data []byte, missing *v1alpha1.Cause, err error,
) {
	key := types.NamespacedName{Namespace: message.Namespace, Name: ref.Name}
	cause := &v1alpha1.Cause{Reason: v1alpha1.ReasonContentNotFound}
	// Read again after the watch has begun, so that no change is missed.
	for range 2 {
		cm := &corev1.ConfigMap{}
		err := r.Client.Get(ctx, key, cm)
		text, isText := cm.Data[ref.Key]
		data, isData := cm.BinaryData[ref.Key]
		switch {
		case apierrors.IsForbidden(err):
			cause.Message = fmt.Sprintf("the operator may not read ConfigMap %q in namespace %q: "+
				"grant it get, list and watch of it, see \"Access to namespaces\" in docs/how-to/install.md",
				ref.Name, key.Namespace)
		case client.IgnoreNotFound(err) != nil:
			return nil, nil, fmt.Errorf("read ConfigMap %s: %w", key, err)
		case isText:
			return []byte(text), nil, nil
		case isData:
			return data, nil, nil
		default:
			cause.Message = fmt.Sprintf("ConfigMap %q with key %q does not exist in namespace %q: create it",
				ref.Name, ref.Key, key.Namespace)
		}
		r.ConfigMaps.Watch(message, key)
	}
	return nil, cause, nil
}

// makeText builds the payload of a text. An escalation's text is below its first line. The text of a message that may
// be escalated must fit together with that line.
func (s *scope) makeText() (delivery.Payload, *v1alpha1.Cause) {
	m, tokens := s.message, s.server.DeliveryTokens()
	if s.isEscalation() {
		return content.Payload(m.Spec, content.Escalated(s.escalated.Status.Escalation.FirstLine, s.source), tokens)
	}
	payload, cause := content.Payload(m.Spec, s.source, tokens)
	if to := m.EscalateTo(); cause == nil && to.Len() > 0 {
		for _, isDelivered := range []bool{true, false} {
			line := content.FirstLine(m.Spec.Language, isDelivered, m.Spec.ReadPolicy.Deadline())
			if _, cause = content.Payload(m.Spec, content.Escalated(line, s.source), tokens); cause != nil {
				cause.Message = "with the first line of its escalation, " + cause.Message
				break
			}
		}
	}
	return payload, cause
}

// makePayload builds the payload from the content.
func makePayload(s *scope) outcome {
	if !s.needsPayload() {
		return proceed
	}
	known := s.payloadPending == nil
	if known {
		var cause *v1alpha1.Cause
		if s.source, cause = content.Text(s.message.Spec.Content, s.source); cause == nil {
			s.payload, cause = s.makeText()
		}
		if cause != nil {
			s.refuseAll(s.refuse, cause.Reason, cause.Message)
		}
		known = cause == nil
	}
	// The type is known without the sound: the store is searched for audio.
	s.payload.Audio = s.message.Spec.Content.Audio != nil
	return s.recordText(known)
}

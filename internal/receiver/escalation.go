// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// maxSelected is the number of hashes that a request to the API server selects. They are in its URL.
const maxSelected = 250

// setReadPolicy gives a message the readPolicy of its receiver. It is not escalated if its alerts are all resolved, or
// if it has too many recipients: a digest may have those of the receiver before an edit.
func setReadPolicy(m *v1alpha1.TeamTalkMessage, r *v1alpha1.TeamTalkReceiver, source notification.Message) {
	p := r.Spec.ReadPolicy
	if p == nil {
		return
	}
	policy := &v1alpha1.ReadPolicy{DeadlineSeconds: p.DeadlineSeconds}
	if p.Quorum != nil {
		policy.Quorum = new(min(*p.Quorum, int32(len(source.To))))
	}
	m.Spec.ReadPolicy = policy
	if p.EscalateTo == nil || source.Resolved {
		return
	}
	named := p.EscalateTo.All()
	if len(source.To)+len(named) > v1alpha1.MaxRecipients {
		return
	}
	to := recipientSet(named)
	policy.EscalateTo, m.Spec.Language = &to, r.Spec.Language
	for label, hash := range map[string]string{
		v1alpha1.AlertGroupLabel: source.AlertGroup, v1alpha1.AlertKeyLabel: source.AlertKey,
	} {
		if hash != "" {
			m.Labels[label] = hash
		}
	}
}

// resolve marks the messages of a receiver whose alerts are resolved, so that they are not escalated any more.
func (h *Handler) resolve(ctx context.Context, r *v1alpha1.TeamTalkReceiver, decoded notification.Result) error {
	if p := r.Spec.ReadPolicy; p == nil || p.EscalateTo == nil {
		return nil
	}
	if decoded.ResolvedGroup != "" {
		if err := h.resolveMessages(ctx, r, v1alpha1.AlertGroupLabel, decoded.ResolvedGroup); err != nil {
			return err
		}
	}
	for hashes := range slices.Chunk(decoded.ResolvedKeys, maxSelected) {
		if err := h.resolveMessages(ctx, r, v1alpha1.AlertKeyLabel, hashes...); err != nil {
			return err
		}
	}
	return nil
}

// resolveMessages marks the unsettled messages that have one of the hashes under a label.
func (h *Handler) resolveMessages(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, label string, hashes ...string,
) error {
	selected, err := labels.NewRequirement(label, selection.In, hashes)
	if err != nil {
		return fmt.Errorf("select the messages of an alert: %w", err) // Unreachable: hashes are digits.
	}
	list := metadataList()
	for more := true; more; more = list.Continue != "" {
		// The selector comes first: it would replace the labels.
		err := h.client.List(ctx, list, client.InNamespace(r.Namespace),
			client.MatchingLabelsSelector{Selector: labels.NewSelector().Add(*selected)},
			client.MatchingLabels{v1alpha1.ReceiverLabel: r.Name},
			client.MatchingFields{v1alpha1.FieldSettled: "false"}, client.Limit(listPage), client.Continue(list.Continue))
		if err != nil {
			return fmt.Errorf("list the messages of an alert that is resolved: %w", err)
		}
		if err := forEach(ctx, list.Items, func(_ int, m metav1.PartialObjectMetadata) error {
			return h.markResolved(ctx, r, &m)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) markResolved(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, m *metav1.PartialObjectMetadata,
) error {
	if m.Annotations[v1alpha1.ResolvedAnnotation] != "" || !metav1.IsControlledBy(m, r) {
		return nil
	}
	before := m.DeepCopy()
	metav1.SetMetaDataAnnotation(&m.ObjectMeta, v1alpha1.ResolvedAnnotation, h.now().UTC().Format(time.RFC3339))
	err := h.client.Patch(ctx, m, client.MergeFrom(before))
	if apierrors.IsForbidden(err) {
		h.status.fail(client.ObjectKeyFromObject(r), h.now(),
			"an alert is resolved, but its message is escalated: grant the gateway patch of teamtalkmessages")
		return nil
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("mark TeamTalkMessage %s as resolved: %w", m.Name, err)
	}
	return nil
}

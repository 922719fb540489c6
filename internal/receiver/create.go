// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// create creates the message with a number, or with the next one that is free. If a process has created the same one
// after a time, it is a duplicate.
func (h *Handler) create(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, source notification.Message, text string, number int,
	after time.Time,
) (outcome, error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, fmt.Errorf("render the text of a message: %w", err) // see texts.of
	}
	for listed := false; ; number++ {
		m := newMessage(r, nameOf(r, source.Hash, number), source.To)
		m.Labels[v1alpha1.NotificationLabel] = source.Hash
		m.Spec.Content.Text = &text
		setReadPolicy(m, r, source)
		err := h.client.Create(ctx, m)
		if err == nil {
			return outcome{message: m.Name}, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return outcome{}, fmt.Errorf("create TeamTalkMessage %s: %w", m.Name, err)
		}
		other := &v1alpha1.TeamTalkMessage{}
		if err := h.client.Get(ctx, client.ObjectKeyFromObject(m), other); client.IgnoreNotFound(err) != nil {
			return outcome{}, fmt.Errorf("read TeamTalkMessage %s: %w", m.Name, err)
		}
		if _, last := parseMessage(other); last.hasOwner(r) && last.isSame(source, after) {
			return outcome{duplicate: true}, nil
		}
		if listed {
			continue // a message without its labels is not listed
		}
		// The index was behind, and there may be many more.
		newest, err := h.index.list(ctx, r, client.MatchingLabels{v1alpha1.NotificationLabel: source.Hash})
		last := newest[source.Hash]
		switch {
		case err != nil:
			return outcome{}, err
		case last.number > number && last.isOf(r) && last.isSame(source, after):
			return outcome{duplicate: true}, nil
		}
		number, listed = max(number, last.number), true
	}
}

// nameOf returns the name of a message. parseName is the inverse.
func nameOf(r *v1alpha1.TeamTalkReceiver, hash string, number int) string {
	return fmt.Sprintf("%s-%s-%d", r.Name, hash, number)
}

// newMessage returns a message of the receiver, without its content. It has no idempotency key, which would need a
// search of the conversation: its UID identifies it in the store. A time to live would make its name the identity, so
// it has none, and the controller deletes it.
func newMessage(r *v1alpha1.TeamTalkReceiver, name string, to []v1alpha1.Recipient) *v1alpha1.TeamTalkMessage {
	return &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: name,
			Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
			OwnerReferences: []metav1.OwnerReference{r.OwnerReference()},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{ServerRef: r.Spec.ServerRef, SenderID: r.Spec.SenderID, To: recipientSet(to)},
	}
}

// recipientSet is the inverse of v1alpha1.Recipients.All.
func recipientSet(list []v1alpha1.Recipient) v1alpha1.Recipients {
	var to v1alpha1.Recipients
	for _, r := range list {
		switch isGroup := r.Type == v1alpha1.RecipientGroup; {
		case isGroup && r.Resolved():
			to.Groups = append(to.Groups, v1alpha1.GroupID(r.ID))
		case isGroup:
			to.GroupNames = append(to.GroupNames, r.Name)
		case r.Resolved():
			to.Users = append(to.Users, v1alpha1.UserID(r.ID))
		default:
			to.UserNames = append(to.UserNames, r.Name)
		}
	}
	return to
}

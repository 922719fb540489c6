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
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/digest"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// lineTime limits the rendering of lines for digests.
const lineTime = 1500 * time.Millisecond

// newDigests returns the flood control of the handler, with a time for rendering lines.
func (h *Handler) newDigests(lineTime time.Duration) *digest.Store {
	return digest.NewStore(digest.Options{
		Client: h.client, Create: h.createDigest, LineTime: lineTime, Now: func() time.Time { return h.now() },
		Report: func(r *v1alpha1.TeamTalkReceiver, problem error) {
			key := client.ObjectKeyFromObject(r)
			h.options.Log.Info("cannot use a digest", "receiver", key.String(), "reason", problem.Error())
			h.status.fail(key, h.now(), problem.Error())
		},
	})
}

// createWithinLimit creates the messages for the recipients within the limit of flood control. The others get them in a
// digest. If it fails, completed writes remain, and the outcomes tell which.
func (h *Handler) createWithinLimit(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, texts *texts, messages []notification.Message,
	newest map[string]messageInfo,
) ([]outcome, error) {
	outcomes, notifications := make([]outcome, len(messages)), make([]digest.Notification, len(messages))
	after := h.now().Add(-r.DedupWindow())
	for i, m := range messages {
		last := newest[m.Hash]
		notifications[i] = digest.Notification{
			Hash: m.Hash, To: m.To, Number: last.number, Recent: last.isOf(r) && last.isSame(m, after),
			Line: func(ctx context.Context) string { return texts.line(ctx, m) },
		}
	}
	decisions, suppressing := h.digests.Decide(ctx, r, notifications)
	if decisions == nil {
		return outcomes, suppressing
	}
	for i, d := range decisions {
		outcomes[i] = outcome{duplicate: !d.Fresh, suppressed: d.Fresh && d.Suppressed}
	}
	creating := forEach(ctx, messages, func(i int, m notification.Message) error {
		d := decisions[i]
		after := d.Time.Add(-r.DedupWindow() / 2)
		if last := newest[m.Hash]; len(d.To) == 0 || last.isOf(r) && last.isSame(m, after) {
			return nil
		}
		// If the number is that of an old message, which was not in the index yet, the next one is used.
		own := m
		own.To = d.To
		created, err := h.create(ctx, r, own, texts.of(ctx, m), d.Number, after)
		if err == nil {
			outcomes[i].message = created.message
			outcomes[i].duplicate = created.message == "" && !outcomes[i].suppressed
		}
		return err
	})
	if creating != nil {
		return outcomes, creating
	}
	return outcomes, suppressing
}

// createDigest is a digest.Create.
func (h *Handler) createDigest(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, name string, to []v1alpha1.Recipient, sendAfter time.Time,
) (*v1alpha1.TeamTalkMessage, error) {
	m := newMessage(r, name, to)
	setReadPolicy(m, r, notification.Message{To: to}) // no alert key: nothing resolves a digest
	m.Spec.SendAfter = new(metav1.NewTime(sendAfter))
	m.Spec.Content.TextFrom = &v1alpha1.TextSource{
		ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: name, Key: digest.TextKey},
	}
	err := h.client.Create(ctx, m)
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("create TeamTalkMessage %s: %w", name, err)
	}
	return m, nil
}

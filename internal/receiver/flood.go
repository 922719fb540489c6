// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/digest"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

const (
	// lineTime limits the rendering of lines for digests.
	lineTime = 1500 * time.Millisecond
	// maxLine is the longest line of a digest, in characters.
	maxLine = 160
)

// newDigests returns the flood control of the handler, with a time for rendering lines.
func (h *Handler) newDigests(lineTime time.Duration) *digest.Store {
	return digest.NewStore(digest.Options{
		Client: h.client, Create: h.createDigest, LineTime: lineTime, Now: func() time.Time { return h.now() },
	})
}

// takeWithin creates the messages for the recipients within the limit of flood control. The others get them in
// a digest. If it fails, what was done stays done, and the outcomes say so.
func (h *Handler) takeWithin(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, texts *texts, messages []notification.Message,
	last map[string]numbered,
) ([]outcome, error) {
	outcomes, notifications := make([]outcome, len(messages)), make([]digest.Notification, len(messages))
	for i, p := range messages {
		was := last[p.Hash]
		notifications[i] = digest.Notification{
			Hash: p.Hash, To: p.To, Number: was.number, Recent: was.of(r) && h.young(r, was.created),
			Line: func(ctx context.Context) string { return texts.line(ctx, p) },
		}
	}
	decisions, suppressing := h.digests.Decide(ctx, r, notifications)
	if decisions == nil {
		return outcomes, suppressing
	}
	for i, d := range decisions {
		outcomes[i] = outcome{duplicate: !d.Fresh, folded: d.Fresh && d.Suppressed}
	}
	creating := each(ctx, messages, func(i int, p notification.Message) error {
		d := decisions[i]
		after := d.Time.Add(-r.DedupWindow() / 2)
		if was := last[p.Hash]; len(d.To) == 0 || was.of(r) && was.created.After(after) {
			return nil
		}
		// If the number is taken by an old message, which was not in the index yet, the next one is used.
		made, err := h.create(ctx, r, notification.Message{Hash: p.Hash, To: d.To}, texts.of(ctx, p), d.Number, after)
		if err == nil {
			outcomes[i].message = made.message
			outcomes[i].duplicate = made.message == "" && !outcomes[i].folded
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
	m := message(r, name, to)
	m.Spec.SendAfter = ptr.To(metav1.NewTime(sendAfter))
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

// line is a message's line in a digest: the first two lines of its text, or a plain line if the template is too slow.
func (x *texts) line(ctx context.Context, p notification.Message) string {
	if ctx.Err() == nil {
		if text := x.of(ctx, p); text != "" {
			lines := strings.SplitN(text, "\n", 3)
			text = strings.Join(lines[:min(2, len(lines))], " ")
			return template.Abbreviate(maxLine, strings.Join(strings.Fields(text), " "))
		}
	}
	if p.Alerts == nil {
		return "received"
	}
	name := p.Alerts.Alerts[0].Labels["alertname"]
	return template.Abbreviate(maxLine, fmt.Sprintf("%s %d %s", p.Alerts.Status, len(p.Alerts.Alerts), name))
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/expression"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// parallel is the number of messages of a notification that are created concurrently.
const parallel = 8

// outcome is the result for one message.
type outcome struct {
	// message is the name of the message that was created, if any.
	message string
	// duplicate: the notification was handled before.
	duplicate bool
	// suppressed: it is in the digest of at least one recipient.
	suppressed bool
}

// receive creates the messages of a body. It answers 200 only if all of them exist. Otherwise existing messages are
// kept, and the caller's retry creates the others.
func (h *Handler) receive(ctx context.Context, r *v1alpha1.TeamTalkReceiver, body []byte, contentType string) answer {
	key := client.ObjectKeyFromObject(r)
	decoded, pending, err := decode(ctx, r, body, contentType)
	switch {
	case ctx.Err() != nil:
		// The error of Decode may follow from it.
		return h.failed(key, fmt.Errorf("there was not enough time to %s: %w", pending, ctx.Err()))
	case err != nil:
		a := refuse(http.StatusBadRequest, "%s", err)
		a.reason = reasonOf(err)
		return a
	}
	if decoded.Refused > 0 {
		h.status.fail(key, h.now(), refusedRecipients(r, decoded.Refused))
	}
	for _, fault := range decoded.Faults {
		h.recordExpressionFault(r, fault)
	}
	texts := h.newTexts(r)
	outcomes, err := h.createAll(ctx, r, texts, decoded.Messages)
	if resolving := h.resolve(ctx, r, decoded); err == nil {
		err = resolving
	}
	a := answer{code: http.StatusOK, Filtered: decoded.Filtered}
	if err != nil {
		a = h.failed(key, err)
	}
	for _, o := range outcomes {
		// Counted even if others failed: the retry does not create it again.
		if o.message != "" {
			a.Messages = append(a.Messages, o.message)
		}
		if o.suppressed {
			a.Suppressed++
		}
		if o.duplicate && err == nil {
			a.Duplicates++
		}
	}
	if used := len(a.Messages)+a.Suppressed+a.Filtered > 0; used && len(decoded.Faults) == 0 && !texts.failed.Load() {
		h.status.processed(r, h.now(), nil)
	}
	return a
}

// decode returns the messages of a body. If the receiver has expressions, they are evaluated when it gets a slot.
// Pending names the work that was not done if ctx ends meanwhile.
func decode(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, body []byte, contentType string,
) (result notification.Result, pending string, err error) {
	pending = "decode the body"
	if !expression.Of(r).IsEmpty() {
		release, err := rendering.acquire(ctx, client.ObjectKeyFromObject(r))
		if err != nil {
			return result, "evaluate expressions, because those of other requests were evaluated", err
		}
		defer release()
		pending = "decode the body and to evaluate the receiver's expressions"
	}
	result, err = notification.Decode(ctx, r, body, contentType)
	return result, pending, err
}

// refusedRecipients reports that alerts, or a body, name recipients that are not allowed.
func refusedRecipients(r *v1alpha1.TeamTalkReceiver, count int) string {
	if r.Spec.Recipients != "" {
		return fmt.Sprintf("for %d alerts or bodies, spec.recipients names recipients that spec.allow does not list: "+
			`user(2) needs 2 in allow.users, user("2") needs "2" in allow.userNames`, count)
	}
	return fmt.Sprintf("%d alerts name recipients under the label %q that spec.allow does not list", count, r.Spec.ToLabel)
}

// createAll creates the messages, unless they were created before. If it fails for some of them, it creates the others
// nevertheless, so that a caller who retries succeeds at last.
func (h *Handler) createAll(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, texts *texts, messages []notification.Message,
) ([]outcome, error) {
	newest, err := h.index.newest(ctx, r, messages)
	if err != nil {
		return nil, err
	}
	if r.Spec.FloodControl != nil {
		return h.createWithinLimit(ctx, r, texts, messages, newest)
	}
	outcomes := make([]outcome, len(messages))
	err = forEach(ctx, messages, func(i int, m notification.Message) (err error) {
		last := newest[m.Hash]
		after := h.now().Add(-r.DedupWindow())
		if last.isOf(r) && last.isSame(m, after) {
			outcomes[i].duplicate = true
			return nil
		}
		outcomes[i], err = h.create(ctx, r, m, texts.of(ctx, m), last.number+1, after)
		return err
	})
	return outcomes, err
}

// forEach calls f for the items concurrently, even if it fails for others. It returns the first error.
func forEach[T any](ctx context.Context, items []T, f func(i int, item T) error) error {
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, item := range items {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("there was not enough time for all at once: %w", err)
			}
			return f(i, item)
		})
	}
	return group.Wait()
}

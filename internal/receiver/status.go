// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/expression"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

const (
	// statusInterval is how often statuses are written: one write for each receiver, for any number of requests.
	statusInterval = 5 * time.Second
	// lastFlush limits the writes at the end.
	lastFlush = 5 * time.Second
	// maxError is the longest error in a status, in characters.
	maxError = 512
	// faultInterval is the time without an error after which Processed is True again. Otherwise one fault among many
	// notifications would not be noticed.
	faultInterval = time.Hour
)

// record counts the answer to a request in the receiver's status.
func (h *Handler) record(key types.NamespacedName, a answer) {
	s := v1alpha1.TeamTalkReceiverStatus{Counts: v1alpha1.ReceiverCounts{
		Messages: int64(len(a.Messages)), Duplicates: int64(a.Duplicates), Suppressed: int64(a.Suppressed),
		Filtered: int64(a.Filtered),
	}}
	if len(a.Messages) > 0 {
		s.LastMessage = a.Messages[len(a.Messages)-1]
	}
	now := h.now()
	if a.code == http.StatusOK || len(a.Messages) > 0 {
		s.LastReceivedTime = &metav1.Time{Time: now}
	}
	switch {
	case a.code == http.StatusOK:
		s.Counts.Received = 1
	case a.code < http.StatusInternalServerError:
		s.Counts.Refused = 1
		s.LastError = newError(now, fmt.Sprintf("answered with %d: %s", a.code, a.Error))
	default:
		s.Counts.Failed = 1
		s.LastError = newError(now, a.cause)
	}
	h.status.record(key, &s)
}

// recordTemplateFault counts a text that the built-in template rendered because of a fault.
func (h *Handler) recordTemplateFault(r *v1alpha1.TeamTalkReceiver, fault error) {
	key := client.ObjectKeyFromObject(r)
	countTemplateFault(key)
	h.status.record(key, &v1alpha1.TeamTalkReceiverStatus{Counts: v1alpha1.ReceiverCounts{TemplateFaults: 1}})
	h.status.processed(r, h.now(), &v1alpha1.Cause{
		Reason: v1alpha1.ReasonTemplateFailed, Message: "the built-in template was used: " + fault.Error(),
	})
}

// recordExpressionFault counts alerts, or a body, for which an expression failed.
func (h *Handler) recordExpressionFault(r *v1alpha1.TeamTalkReceiver, fault expression.Fault) {
	key := client.ObjectKeyFromObject(r)
	countExpressionFault(key, fault)
	h.status.record(key, &v1alpha1.TeamTalkReceiverStatus{
		Counts: v1alpha1.ReceiverCounts{ExpressionFaults: int64(fault.Count)},
	})
	instead := map[string]string{
		expression.Filter: "it was sent", expression.DedupKey: "it was identified by its content",
		expression.Recipients: "it was sent to spec.to",
	}
	h.status.processed(r, h.now(), &v1alpha1.Cause{
		Reason:  v1alpha1.ReasonExpressionFailed,
		Message: fmt.Sprintf("%s, for %d alerts or bodies: %s", instead[fault.Expression], fault.Count, fault.Err),
	})
}

func newError(now time.Time, text string) *v1alpha1.ReceiverError {
	return &v1alpha1.ReceiverError{Time: metav1.NewTime(now), Message: template.Abbreviate(maxError, text)}
}

// addStatus adds what happened after a status to it.
func addStatus(s, since *v1alpha1.TeamTalkReceiverStatus) {
	if t := since.LastReceivedTime; t != nil && !t.Before(s.LastReceivedTime) {
		s.LastReceivedTime = t
		s.LastMessage = cmp.Or(since.LastMessage, s.LastMessage)
	}
	if e := since.LastError; e != nil && (s.LastError == nil || !e.Time.Before(&s.LastError.Time)) {
		s.LastError = e
	}
	s.Counts.Received += since.Counts.Received
	s.Counts.Messages += since.Counts.Messages
	s.Counts.Duplicates += since.Counts.Duplicates
	s.Counts.Suppressed += since.Counts.Suppressed
	s.Counts.Filtered += since.Counts.Filtered
	s.Counts.TemplateFaults += since.Counts.TemplateFaults
	s.Counts.ExpressionFaults += since.Counts.ExpressionFaults
	s.Counts.Refused += since.Counts.Refused
	s.Counts.Failed += since.Counts.Failed
	for _, c := range since.Conditions {
		was := meta.FindStatusCondition(s.Conditions, c.Type)
		switch {
		case was != nil && was.ObservedGeneration > c.ObservedGeneration: // the receiver has changed
		case was != nil && c.Type == v1alpha1.ConditionProcessed && was.Status == metav1.ConditionFalse &&
			c.Status == metav1.ConditionTrue && was.ObservedGeneration == c.ObservedGeneration &&
			s.LastError != nil && c.LastTransitionTime.Sub(s.LastError.Time.Time) < faultInterval:
		default:
			meta.SetStatusCondition(&s.Conditions, c)
		}
	}
}

// statusWriter collects updates of the receivers' statuses, and writes them at intervals.
type statusWriter struct {
	client client.Client
	log    logr.Logger

	mu      sync.Mutex
	pending map[types.NamespacedName]*v1alpha1.TeamTalkReceiverStatus
}

func newStatusWriter(c client.Client, log logr.Logger) *statusWriter {
	return &statusWriter{client: c, log: log, pending: map[types.NamespacedName]*v1alpha1.TeamTalkReceiverStatus{}}
}

// record has something added to the status of a receiver.
func (w *statusWriter) record(key types.NamespacedName, s *v1alpha1.TeamTalkReceiverStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending[key] == nil {
		w.pending[key] = &v1alpha1.TeamTalkReceiverStatus{}
	}
	addStatus(w.pending[key], s)
	if s.LastError != nil {
		setLastError(key, s.LastError.Time.Time)
	}
}

// fail records an error of a receiver.
func (w *statusWriter) fail(key types.NamespacedName, now time.Time, text string) {
	w.record(key, &v1alpha1.TeamTalkReceiverStatus{LastError: newError(now, text)})
}

// processed records the condition Processed, and a fault as the last error. No fault: all was done as declared.
func (w *statusWriter) processed(r *v1alpha1.TeamTalkReceiver, now time.Time, fault *v1alpha1.Cause) {
	c := metav1.Condition{
		Type: v1alpha1.ConditionProcessed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProcessed,
		ObservedGeneration: r.Generation, LastTransitionTime: metav1.NewTime(now),
		Message: "templates and expressions were used as declared",
	}
	s := &v1alpha1.TeamTalkReceiverStatus{}
	if fault != nil {
		s.LastError = newError(now, fault.Message)
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, fault.Reason, s.LastError.Message
	}
	s.Conditions = []metav1.Condition{c}
	w.record(client.ObjectKeyFromObject(r), s)
}

// run writes statuses until ctx is done, and then the remaining updates.
func (w *statusWriter) run(ctx context.Context) {
	wait.UntilWithContext(ctx, w.flush, statusInterval)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	w.flush(last)
}

// flush writes the pending updates. If a write fails, the update remains pending.
func (w *statusWriter) flush(ctx context.Context) {
	w.mu.Lock()
	pending := w.pending
	w.pending = map[types.NamespacedName]*v1alpha1.TeamTalkReceiverStatus{}
	w.mu.Unlock()
	for key, s := range pending {
		if err := w.write(ctx, key, s); err != nil {
			w.log.Info("the status of a receiver is written later", "receiver", key.String(), "reason", err.Error())
			w.mu.Lock()
			if since := w.pending[key]; since != nil {
				addStatus(s, since)
			}
			w.pending[key] = s
			w.mu.Unlock()
		}
	}
}

func (w *statusWriter) write(ctx context.Context, key types.NamespacedName, s *v1alpha1.TeamTalkReceiverStatus) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		r := &v1alpha1.TeamTalkReceiver{}
		if err := w.client.Get(ctx, key, r); err != nil {
			return err
		}
		before := r.DeepCopy()
		addStatus(&r.Status, s)
		// Several processes add to the same numbers.
		return w.client.Status().Patch(ctx, r, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of TeamTalkReceiver %s: %w", key, err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

const (
	// statusInterval is how often statuses are written: one write per receiver then,
	// however much it has received.
	statusInterval = 5 * time.Second
	// lastFlush bounds what is written at the end.
	lastFlush = 5 * time.Second
	// maxError is the longest error in a status, in characters.
	maxError = 512
)

// delta is what is not in a receiver's status yet.
type delta struct {
	received    time.Time
	lastMessage string
	counts      v1alpha1.ReceiverCounts
	lastError   *v1alpha1.ReceiverError
}

func (d *delta) fail(now time.Time, text string) {
	d.lastError = &v1alpha1.ReceiverError{Time: metav1.NewTime(now), Message: template.Abbreviate(maxError, text)}
}

// addTo adds the delta to a status.
func (d *delta) addTo(s *v1alpha1.TeamTalkReceiverStatus) {
	if t := metav1.NewTime(d.received); !d.received.IsZero() &&
		(s.LastReceivedTime == nil || s.LastReceivedTime.Before(&t)) {
		s.LastReceivedTime = &t
		if d.lastMessage != "" {
			s.LastMessage = d.lastMessage
		}
	}
	for _, c := range []struct {
		sum *int64
		add int64
	}{
		{&s.Counts.Received, d.counts.Received},
		{&s.Counts.Messages, d.counts.Messages},
		{&s.Counts.Duplicates, d.counts.Duplicates},
		{&s.Counts.Folded, d.counts.Folded},
		{&s.Counts.TemplateFaults, d.counts.TemplateFaults},
		{&s.Counts.Refused, d.counts.Refused},
		{&s.Counts.Failed, d.counts.Failed},
	} {
		*c.sum += c.add
	}
	if d.lastError != nil && (s.LastError == nil || s.LastError.Time.Before(&d.lastError.Time)) {
		s.LastError = d.lastError
	}
}

// statusWriter collects what receivers have received, and writes it now and then.
type statusWriter struct {
	client client.Client
	log    logr.Logger

	mu      sync.Mutex
	pending map[types.NamespacedName]*delta
}

func newStatusWriter(c client.Client, log logr.Logger) *statusWriter {
	return &statusWriter{client: c, log: log, pending: map[types.NamespacedName]*delta{}}
}

// note adds to what is to be written.
func (w *statusWriter) note(key types.NamespacedName, edit func(*delta)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.pending[key]
	if d == nil {
		d = &delta{}
		w.pending[key] = d
	}
	edit(d)
	if d.lastError != nil {
		failedAt(key, d.lastError.Time.Time)
	}
}

func (w *statusWriter) run(ctx context.Context) error {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			w.flush(last)
			return nil
		}
	}
}

// flush writes what is pending. What cannot be written stays.
func (w *statusWriter) flush(ctx context.Context) {
	w.mu.Lock()
	pending := w.pending
	w.pending = map[types.NamespacedName]*delta{}
	w.mu.Unlock()
	for key, d := range pending {
		if err := w.write(ctx, key, d); err != nil {
			w.log.Info("the status of a receiver is written later", "receiver", key.String(), "reason", err.Error())
			w.giveBack(key, d)
		}
	}
}

func (w *statusWriter) write(ctx context.Context, key types.NamespacedName, d *delta) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		r := &v1alpha1.TeamTalkReceiver{}
		if err := w.client.Get(ctx, key, r); err != nil {
			return err
		}
		before := r.DeepCopy()
		d.addTo(&r.Status)
		// Several processes add to the same numbers.
		return w.client.Status().Patch(ctx, r, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of TeamTalkReceiver %s: %w", key, err)
	}
	return nil
}

// giveBack puts what could not be written before what has come since.
func (w *statusWriter) giveBack(key types.NamespacedName, d *delta) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if since := w.pending[key]; since != nil {
		var s v1alpha1.TeamTalkReceiverStatus
		d.addTo(&s)
		since.addTo(&s)
		d = &delta{lastMessage: s.LastMessage, counts: s.Counts, lastError: s.LastError}
		if s.LastReceivedTime != nil {
			d.received = s.LastReceivedTime.Time
		}
	}
	w.pending[key] = d
}

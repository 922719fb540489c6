// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// sweepRetry is the time after which a failed sweep starts again.
const sweepRetry = 10 * time.Second

// finishedWatch watches finished messages, which the cache does not hold. A watch without a list shows the changes of
// this term. A sweep in the background lists the earlier ones; new messages do not wait for it. It keeps no message in
// memory, and runs while the process leads.
type finishedWatch struct {
	source apiwatch.Collection
	// name describes the messages in the log.
	name string
	log  logr.Logger
	// changed is called for a message that is added to the selection, is modified, or leaves it. It must not block.
	changed func(event watch.EventType, o client.Object)
	// found is called for a message of a sweep, which has low priority, and reports whether it was enqueued. It must not
	// block.
	found func(o client.Object) bool
	// begun requests a sweep: changes may have been missed.
	begun chan struct{}
}

// newEditWatch returns a watch that wakes settled messages after an edit. It reads metadata only, as there may be
// hundreds of thousands. Only an edit changes the generation or the annotation.
func newEditWatch(c client.WithWatch, log logr.Logger, edits *apiwatch.Trigger) *finishedWatch {
	source := apiwatch.Collection{
		Client: c,
		NewList: func() client.ObjectList {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
			return list
		},
		Options: []client.ListOption{client.MatchingFields{v1alpha1.FieldSettled: "true"}},
	}
	wake := func(o client.Object, opts priorityqueue.AddOpts) bool {
		edited := o.GetGeneration() > 1 || o.GetAnnotations()[v1alpha1.RetryAnnotation] != ""
		if edited {
			edits.WakeWith(opts, client.ObjectKeyFromObject(o))
		}
		return edited
	}
	return &finishedWatch{
		source: source, name: "settled messages", log: log, begun: make(chan struct{}, 1),
		changed: func(event watch.EventType, o client.Object) {
			if event == watch.Modified { // an added message was just recorded, with all its edits
				wake(o, priorityqueue.AddOpts{})
			}
		},
		found: func(o client.Object) bool { return wake(o, priorityqueue.AddOpts{Priority: new(handler.LowPriority)}) },
	}
}

// newUnsettledWatch returns a watch that wakes finished messages that are not settled: those with a due readPolicy, an
// escalation, an expired TTL, or an edit. It reads whole messages, as their metadata does not tell when they expire.
// awaitRead takes over a message of a sweep that is to be read, or returns false if it is to be woken now.
func newUnsettledWatch(
	c client.WithWatch, log logr.Logger, edits, cleanups, reads, escalations *apiwatch.Trigger,
	awaitRead func(*v1alpha1.TeamTalkMessage) bool,
) *finishedWatch {
	source := apiwatch.Collection{
		Client:  c,
		NewList: func() client.ObjectList { return &v1alpha1.TeamTalkMessageList{} },
		Options: []client.ListOption{
			client.MatchingFields{v1alpha1.FieldFinished: "true", v1alpha1.FieldSettled: "false"},
		},
	}
	// A message that is escalated may have to be read as well: after a retry, or with a longer deadline.
	escalates := func(o client.Object) bool {
		m, ok := o.(*v1alpha1.TeamTalkMessage)
		if ok && m.Escalating() {
			escalations.Wake(v1alpha1.EscalationKey(client.ObjectKeyFromObject(m)))
		}
		return ok && m.Escalating()
	}
	wake := func(o client.Object, priority int) {
		m, ok := o.(*v1alpha1.TeamTalkMessage)
		isEscalating := escalates(o)
		switch key := client.ObjectKeyFromObject(o); {
		case !ok:
		case m.ReadDue() && !m.RetryAsked():
			reads.WakeWith(priorityqueue.AddOpts{Priority: &priority}, key)
		case m.Finished() && !m.RetryAsked() && isEscalating:
		case m.Finished() && !m.RetryAsked():
			cleanups.WakeWith(priorityqueue.AddOpts{After: time.Until(m.ExpiresAt())}, key)
		default:
			edits.WakeWith(priorityqueue.AddOpts{Priority: &priority}, key)
		}
	}
	return &finishedWatch{
		source: source, name: "unsettled messages", log: log, begun: make(chan struct{}, 1),
		changed: func(event watch.EventType, o client.Object) {
			if event == watch.Deleted {
				escalates(o) // nothing more is sent
				return
			}
			wake(o, 0)
		},
		found: func(o client.Object) bool {
			if m, ok := o.(*v1alpha1.TeamTalkMessage); ok && m.ReadDue() && !m.RetryAsked() && awaitRead(m) {
				escalates(m)
				return false
			}
			wake(o, handler.LowPriority)
			return true
		},
	}
}

// Start implements manager.Runnable, with leader election.
func (w *finishedWatch) Start(ctx context.Context) error {
	var sweeps sync.WaitGroup
	sweeps.Go(func() { w.sweepWhenBegun(ctx) })
	w.source.Run(ctx, w)
	sweeps.Wait()
	return nil
}

// Begin implements apiwatch.CollectionHandler.
func (w *finishedWatch) Begin(ctx context.Context) (version string, err error) {
	if version, err = w.source.Version(ctx); err != nil {
		return "", err
	}
	select {
	case w.begun <- struct{}{}:
	default: // a sweep that has not started yet will see it all
	}
	return version, nil
}

// Change implements apiwatch.CollectionHandler.
func (w *finishedWatch) Change(event watch.EventType, o client.Object) {
	switch event {
	case watch.Added, watch.Modified, watch.Deleted:
		w.changed(event, o)
	}
}

// Lost implements apiwatch.CollectionHandler.
func (w *finishedWatch) Lost(err error) {
	w.log.Info("the watch of "+w.name+" was lost; retrying", "reason", err.Error())
}

// sweepWhenBegun runs a sweep after each Begin. It does not cancel a running sweep: if the watch restarts often, no
// sweep would end.
func (w *finishedWatch) sweepWhenBegun(ctx context.Context) {
	for {
		select {
		case <-w.begun:
			w.sweep(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// sweep lists all messages of the selection. After a failure it starts again.
func (w *finishedWatch) sweep(ctx context.Context) {
	began := time.Now()
	_ = wait.PollUntilContextCancel(ctx, sweepRetry, true, func(ctx context.Context) (bool, error) {
		var messages, found int
		_, err := w.source.Read(ctx, func(o client.Object) {
			messages++
			if w.found(o) {
				found++
			}
		})
		if err != nil && ctx.Err() == nil {
			w.log.Info("cannot list the "+w.name+"; retrying", "reason", err.Error())
		}
		if err != nil {
			return false, nil //nolint:nilerr // logged above; retried
		}
		w.log.Info("listed the "+w.name,
			"messages", messages, "enqueued", found, "seconds", time.Since(began).Seconds())
		return true, nil
	})
}

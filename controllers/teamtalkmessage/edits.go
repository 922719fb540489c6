// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

const (
	// sweepRetry is how long after a failure the sweep starts again.
	sweepRetry = 10 * time.Second
	// settledReads is how many edited messages are read at a time.
	settledReads = 4
)

// editWatch finds edits of settled messages, which the cache leaves out. A watch of their metadata, without a list,
// shows the edits of this term. A sweep through the metadata finds the earlier ones, in the background: new messages
// do not wait for it. It runs while the process leads.
type editWatch struct {
	source apiwatch.Collection
	log    logr.Logger
	// notify is called for a message that may have been edited.
	notify func(types.NamespacedName)
	sweeps sync.WaitGroup
	// stopSweep ends the sweep that is running.
	stopSweep context.CancelFunc
}

// newEditWatch returns an editWatch. notify must not block.
func newEditWatch(c client.WithWatch, log logr.Logger, notify func(types.NamespacedName)) *editWatch {
	return &editWatch{log: log, notify: notify, stopSweep: func() {}, source: apiwatch.Collection{
		Client: c,
		NewList: func() client.ObjectList {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
			return list
		},
		Options: []client.ListOption{client.MatchingFields{v1alpha1.FieldSettled: "true"}},
	}}
}

// Start implements manager.Runnable, with leader election.
func (w *editWatch) Start(ctx context.Context) error {
	w.source.Run(ctx, w)
	w.stopSweep()
	w.sweeps.Wait()
	return nil
}

// Begin implements apiwatch.CollectionHandler.
func (w *editWatch) Begin(ctx context.Context) (version string, err error) {
	if version, err = w.source.Version(ctx); err != nil {
		return "", err
	}
	w.stopSweep() // the next one sees more
	ctx, w.stopSweep = context.WithCancel(ctx)
	w.sweeps.Go(func() { w.sweep(ctx) })
	return version, nil
}

// Change implements apiwatch.CollectionHandler. A message that is added has just been recorded, with all its edits.
func (w *editWatch) Change(event watch.EventType, o client.Object) {
	if event == watch.Modified {
		w.notifyIfEdited(o)
	}
}

// Lost implements apiwatch.CollectionHandler.
func (w *editWatch) Lost(err error) {
	w.log.Info("edits of settled messages are not seen for now; retrying", "reason", err.Error())
}

// sweep looks through all settled messages. After a failure it starts again.
func (w *editWatch) sweep(ctx context.Context) {
	began := time.Now()
	_ = wait.PollUntilContextCancel(ctx, sweepRetry, true, func(ctx context.Context) (bool, error) {
		var messages, edited int
		_, err := w.source.Read(ctx, func(o client.Object) {
			messages++
			if w.notifyIfEdited(o) {
				edited++
			}
		})
		if err != nil && ctx.Err() == nil {
			w.log.Info("cannot look through the settled messages; retrying", "reason", err.Error())
		}
		if err != nil {
			return false, nil //nolint:nilerr // logged above; retried
		}
		w.log.Info("looked through the settled messages",
			"messages", messages, "edited", edited, "seconds", time.Since(began).Seconds())
		return true, nil
	})
}

// notifyIfEdited reports whether the metadata is that of a message that may have been edited.
func (w *editWatch) notifyIfEdited(o client.Object) bool {
	edited := o.GetGeneration() > 1 || o.GetAnnotations()[v1alpha1.RetryAnnotation] != ""
	if edited {
		w.notify(client.ObjectKeyFromObject(o))
	}
	return edited
}

// reconcileSettled reads a message that the cache leaves out, and that may have been edited.
func (r *Reconciler) reconcileSettled(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	m := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, req.NamespacedName, m); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	edited := !m.Finished() || m.NeedsAttention()
	if !m.Status.Settled || !m.DeletionTimestamp.IsZero() || !edited {
		return reconcile.Result{}, nil
	}
	if r.Engine.Knows(m.UID) {
		// The cache does not show yet that it is settled, or the engine has not been told. What it knows is from before
		// the edit.
		r.Wake.Wake(req.NamespacedName)
		return reconcile.Result{RequeueAfter: cacheLag}, nil
	}
	return r.takeUp(ctx, m)
}

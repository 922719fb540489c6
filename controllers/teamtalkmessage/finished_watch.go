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

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// sweepRetry is how long after a failure a sweep starts again.
const sweepRetry = 10 * time.Second

// finishedWatch shows messages that have finished, which the cache leaves out. A watch without a list shows the changes
// of this term. A sweep through all of them finds the earlier ones, in the background: new messages do not wait for
// it. It keeps no message in memory, and runs while the process leads.
type finishedWatch struct {
	source apiwatch.Collection
	// name of the messages, for the log.
	name string
	log  logr.Logger
	// notify is called for a message that is found or has changed, and reports whether there is something to do for
	// it. added says that the message has just come into the selection. It must not block.
	notify func(o client.Object, added bool) bool
	sweeps sync.WaitGroup
	// stopSweep ends the sweep that is running.
	stopSweep context.CancelFunc
}

// newSettledWatch returns a watch that calls wake for settled messages that may have been edited. It reads metadata
// only, as there may be hundreds of thousands: only an edit changes the generation, or the annotation.
func newSettledWatch(c client.WithWatch, log logr.Logger, wake func(client.Object)) *finishedWatch {
	source := apiwatch.Collection{
		Client: c,
		NewList: func() client.ObjectList {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
			return list
		},
		Options: []client.ListOption{client.MatchingFields{v1alpha1.FieldSettled: "true"}},
	}
	notify := func(o client.Object, added bool) bool {
		edited := o.GetGeneration() > 1 || o.GetAnnotations()[v1alpha1.RetryAnnotation] != ""
		if !edited || added { // one that is added has just been recorded, with all its edits
			return false
		}
		wake(o)
		return true
	}
	return &finishedWatch{source: source, name: "settled messages", log: log, notify: notify, stopSweep: func() {}}
}

// newExpiringWatch returns a watch that calls wake for messages that have finished and are not settled: those with a
// TTL. It reads them whole, as their metadata does not say when they expire.
func newExpiringWatch(c client.WithWatch, log logr.Logger, wake func(*v1alpha1.TeamTalkMessage)) *finishedWatch {
	source := apiwatch.Collection{
		Client:  c,
		NewList: func() client.ObjectList { return &v1alpha1.TeamTalkMessageList{} },
		Options: []client.ListOption{
			client.MatchingFields{v1alpha1.FieldFinished: "true", v1alpha1.FieldSettled: "false"},
		},
	}
	notify := func(o client.Object, _ bool) bool {
		m, ok := o.(*v1alpha1.TeamTalkMessage)
		if ok {
			wake(m)
		}
		return ok
	}
	return &finishedWatch{source: source, name: "messages with a TTL", log: log, notify: notify, stopSweep: func() {}}
}

// Start implements manager.Runnable, with leader election.
func (w *finishedWatch) Start(ctx context.Context) error {
	w.source.Run(ctx, w)
	w.stopSweep()
	w.sweeps.Wait()
	return nil
}

// Begin implements apiwatch.CollectionHandler.
func (w *finishedWatch) Begin(ctx context.Context) (version string, err error) {
	if version, err = w.source.Version(ctx); err != nil {
		return "", err
	}
	w.stopSweep() // the next one sees more
	ctx, w.stopSweep = context.WithCancel(ctx)
	w.sweeps.Go(func() { w.sweep(ctx) })
	return version, nil
}

// Change implements apiwatch.CollectionHandler.
func (w *finishedWatch) Change(event watch.EventType, o client.Object) {
	if event == watch.Added || event == watch.Modified {
		w.notify(o, event == watch.Added)
	}
}

// Lost implements apiwatch.CollectionHandler.
func (w *finishedWatch) Lost(err error) {
	w.log.Info("changes of "+w.name+" are not seen for now; retrying", "reason", err.Error())
}

// sweep looks through all messages of the selection. After a failure it starts again.
func (w *finishedWatch) sweep(ctx context.Context) {
	began := time.Now()
	_ = wait.PollUntilContextCancel(ctx, sweepRetry, true, func(ctx context.Context) (bool, error) {
		var messages, found int
		_, err := w.source.Read(ctx, func(o client.Object) {
			messages++
			if w.notify(o, false) {
				found++
			}
		})
		if err != nil && ctx.Err() == nil {
			w.log.Info("cannot look through the "+w.name+"; retrying", "reason", err.Error())
		}
		if err != nil {
			return false, nil //nolint:nilerr // logged above; retried
		}
		w.log.Info("looked through the "+w.name,
			"messages", messages, "enqueued", found, "seconds", time.Since(began).Seconds())
		return true, nil
	})
}

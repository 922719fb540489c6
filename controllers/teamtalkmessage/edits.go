// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/follow"
)

// editWatch finds edits of settled messages, which the cache leaves out. A watch of their metadata, without a list,
// shows the edits of this term. A sweep through the metadata finds the earlier ones, in the background: new messages
// do not wait for it. It runs while the process leads.
type editWatch struct {
	source follow.Source
	log    logr.Logger
	// notify is called for a message that may have been edited.
	notify func(types.NamespacedName)
	sweeps sync.WaitGroup
}

// newEditWatch returns an editWatch. notify must not block.
func newEditWatch(c client.WithWatch, log logr.Logger, notify func(types.NamespacedName)) *editWatch {
	return &editWatch{log: log, notify: notify, source: follow.Source{
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
	w.sweeps.Wait()
	return nil
}

// Begin implements follow.Sink.
func (w *editWatch) Begin(ctx context.Context) (version string, err error) {
	if version, err = w.source.Version(ctx); err == nil {
		w.sweeps.Go(func() { w.sweep(ctx) })
	}
	return version, err
}

// Change implements follow.Sink.
func (w *editWatch) Change(event watch.EventType, o client.Object) {
	if event != watch.Deleted {
		w.notifyIfEdited(o)
	}
}

// Lost implements follow.Sink.
func (w *editWatch) Lost(err error) {
	w.log.Info("edits of settled messages are not seen for now; retrying", "reason", err.Error())
}

// sweep looks through all settled messages. One that fails is left to the next one, which begins with the next watch.
func (w *editWatch) sweep(ctx context.Context) {
	began := time.Now()
	var messages, edited int
	_, err := w.source.Read(ctx, func(o client.Object) {
		messages++
		if w.notifyIfEdited(o) {
			edited++
		}
	})
	switch {
	case ctx.Err() != nil:
	case err != nil:
		w.log.Error(err, "cannot look through the settled messages; edits from before this term are not seen")
	default:
		w.log.Info("looked through the settled messages",
			"messages", messages, "edited", edited, "seconds", time.Since(began).Seconds())
	}
}

// notifyIfEdited reports whether the metadata is that of a message that may have been edited.
func (w *editWatch) notifyIfEdited(o client.Object) bool {
	edited := o.GetGeneration() > 1 || o.GetAnnotations()[v1alpha1.RetryAnnotation] != ""
	if edited {
		w.notify(client.ObjectKeyFromObject(o))
	}
	return edited
}

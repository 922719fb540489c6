// SPDX-License-Identifier: Apache-2.0

package teamtalkschedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// create creates the message of a scheduled time, and returns what its event needs. It returns nil if the message
// exists.
func (r *Reconciler) create(
	ctx context.Context, o *v1alpha1.TeamTalkSchedule, at time.Time,
) (*v1alpha1.TeamTalkMessage, error) {
	m := o.ScheduledMessage(at)
	err := r.Client.Create(ctx, m)
	if err == nil {
		r.OnTime(ResultCreated)
		return &v1alpha1.TeamTalkMessage{
			ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID},
		}, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create message %s: %w", m.Name, err)
	}
	other := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(m), other); err != nil {
		return nil, fmt.Errorf("read message %s: %w", m.Name, err)
	}
	if !metav1.IsControlledBy(other, o) {
		return nil, errNameTaken{m.Name}
	}
	return nil, nil
}

// errNameTaken is the name of a message that does not belong to the schedule.
type errNameTaken struct{ name string }

func (e errNameTaken) Error() string {
	return fmt.Sprintf("message %s exists, and does not belong to this schedule: delete or rename it", e.name)
}

// refused shows why the message of a scheduled time cannot be created. It is retried until the next time is due.
func (r *Reconciler) refused(
	ctx context.Context, before, o *v1alpha1.TeamTalkSchedule, at time.Time, refusal error,
) (reconcile.Result, error) {
	r.OnTime(ResultFailed)
	setNotCreated(o, at, refusal)
	if err := r.writeStatus(ctx, before, o); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, refusal
}

// explain tells in one line why the API server refuses a message. It leaves out values, which may be the text.
func explain(err error) string {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return strings.Join(strings.Fields(err.Error()), " ")
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		fields = append(fields, fmt.Sprintf("%s (%s)", cause.Field, cause.Type))
	}
	return "invalid fields: " + strings.Join(fields, ", ")
}

// finished is a message that has finished.
type finished struct {
	o                   *metav1.ObjectMeta
	scheduled, finished time.Time
	// isDone: it is not waited for reads, and no escalation is under way.
	isDone bool
}

// history holds the finished messages of a schedule.
type history struct{ delivered, failed []finished }

// readHistory reads the messages of the schedule, and counts them in its status.
func (r *Reconciler) readHistory(ctx context.Context, o *v1alpha1.TeamTalkSchedule) (h history, err error) {
	o.Status.Active = 0
	messages := apiwatch.Collection{
		Client:  r.Live,
		NewList: func() client.ObjectList { return &v1alpha1.TeamTalkMessageList{} },
		Options: []client.ListOption{client.InNamespace(o.Namespace), client.MatchingLabels{v1alpha1.ScheduleLabel: o.Name}},
	}
	if _, err := messages.Read(ctx, func(object client.Object) {
		m, ok := object.(*v1alpha1.TeamTalkMessage)
		switch {
		case !ok || !metav1.IsControlledBy(m, o) || !m.DeletionTimestamp.IsZero():
		case !m.Finished() || m.Status.CompletionTime == nil:
			o.Status.Active++
		case meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered):
			h.delivered = append(h.delivered, newFinished(m))
		default:
			h.failed = append(h.failed, newFinished(m))
		}
	}); err != nil {
		return h, fmt.Errorf("list the schedule's messages: %w", err)
	}
	for _, m := range h.delivered {
		if last := o.Status.LastSuccessfulTime; last == nil || m.finished.After(last.Time) {
			o.Status.LastSuccessfulTime = new(metav1.NewTime(m.finished))
		}
	}
	return h, nil
}

// newFinished keeps only the data that is needed to delete a message, which may hold 64 KiB of text.
func newFinished(m *v1alpha1.TeamTalkMessage) finished {
	f := finished{
		o: &metav1.ObjectMeta{
			Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		},
		scheduled: m.CreationTimestamp.Time, finished: m.Status.CompletionTime.Time, isDone: !m.DoneAt().IsZero(),
	}
	if at, err := time.Parse(time.RFC3339, m.Annotations[v1alpha1.ScheduledAtAnnotation]); err == nil {
		f.scheduled = at
	}
	return f
}

// deleteOver deletes the oldest messages over a limit. If the limit is nil, it deletes none.
func (r *Reconciler) deleteOver(ctx context.Context, messages []finished, limit *int32) error {
	if limit == nil || len(messages) <= int(*limit) {
		return nil
	}
	slices.SortFunc(messages, func(a, b finished) int { return a.scheduled.Compare(b.scheduled) })
	for _, f := range messages[:len(messages)-int(*limit)] {
		if !f.isDone {
			continue // it may still be escalated
		}
		// A message that was edited or retried meanwhile is not deleted.
		err := r.Client.Delete(ctx, &v1alpha1.TeamTalkMessage{ObjectMeta: *f.o},
			client.Preconditions{UID: &f.o.UID, ResourceVersion: &f.o.ResourceVersion})
		if err := client.IgnoreNotFound(err); err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete message %s over the history limit: %w", f.o.Name, err)
		}
	}
	return nil
}

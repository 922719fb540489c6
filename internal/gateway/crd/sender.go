// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=create;get;list;watch,roleName=teamtalk-gateway

const (
	// Label marks the messages that gateways create. They watch no others.
	Label = "teamtalk.io/created-by"
	// LabelValue is the value of Label.
	LabelValue = "gateway"
	// fieldOwner is the field manager of the messages.
	fieldOwner = client.FieldOwner("teamtalk-gateway")
	// createTimeout is how long the API server may take to create a message.
	createTimeout = 4 * time.Second
	// readTimeout is how long the API server may take to show a message that has not finished in time.
	readTimeout = time.Second
)

// Sender creates messages. It is an api.Sender, and a manager's Runnable.
type Sender struct {
	client  client.WithWatch
	ttl     time.Duration
	watches watchPool
}

// New returns a Sender. Its messages are deleted ttl after they have finished. If ttl is 0, they are kept. c must not
// be a cache.
func New(c client.WithWatch, ttl time.Duration, log logr.Logger) *Sender {
	return &Sender{client: c, ttl: ttl, watches: newWatchPool(c, log)}
}

// Start keeps the watches until ctx is done, and returns when they have ended.
func (s *Sender) Start(ctx context.Context) error {
	s.watches.Run(ctx)
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica serves.
func (*Sender) NeedLeaderElection() bool { return false }

// Ready returns an error if the gateway cannot wait for messages of the namespace.
func (s *Sender) Ready(ctx context.Context, namespace string) error {
	_, release, err := s.watches.acquire(ctx, namespace)
	if err == nil {
		release()
	}
	return err
}

// Send implements api.Sender.
func (s *Sender) Send(ctx context.Context, r api.Request) (api.Result, error) {
	waiting, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	var watch *namespaceWatch
	if r.Wait > 0 {
		w, release, err := s.watches.acquire(ctx, r.Namespace)
		if err != nil {
			return api.Result{}, err
		}
		defer release()
		watch = w
	}
	// Half of the wait is left for the delivery.
	admitting, admitted := context.WithTimeout(waiting, r.Wait/2)
	finish, err := watch.admit(admitting, r.Server, r.Caller)
	admitted()
	if err != nil {
		return api.Result{}, err
	}
	finished := false
	defer func() { finish(finished) }()
	if r.Key == "" {
		// A message that is restored from a backup is not sent again. No other message has this key, so the store is not
		// searched for it before the first one is sent.
		r.Key = v1alpha1.GenerateKey(time.Now())
	}
	for attempt := 1; ; {
		m := s.newMessage(r, attempt)
		w := watch.expect(m.Name) // before the message exists, so that no event is missed
		next, err := s.record(ctx, r, attempt, m)
		if err == nil && next == 0 {
			defer w.remove()
			result, ended := s.await(ctx, waiting, w, m)
			finished = ended
			forCaller(&result, len(r.Text))
			return result, nil
		}
		w.remove()
		if _, refused := errors.AsType[*api.Refusal](err); refused {
			return api.Result{}, err
		} else if err != nil {
			return api.Result{MessageName: m.Namespace + "/" + m.Name}, err // it may exist
		}
		attempt = next
	}
}

// record creates the message of an attempt, or reads the one that exists into m. If next is not 0, the request
// continues with that attempt.
func (s *Sender) record(
	ctx context.Context, r api.Request, attempt int, m *v1alpha1.TeamTalkMessage,
) (next int, err error) {
	if err := s.create(ctx, m); !apierrors.IsAlreadyExists(err) {
		return 0, createError(m.Namespace, err)
	}
	// Into an empty object: decoding keeps fields that the answer does not contain.
	existing := &v1alpha1.TeamTalkMessage{}
	err = s.client.Get(ctx, client.ObjectKeyFromObject(m), existing)
	switch {
	case apierrors.IsNotFound(err) && ctx.Err() == nil:
		return attempt, nil // deleted in between
	case err != nil:
		return 0, fmt.Errorf("read the message that has the key already: %w", err)
	case existing.Spec.IdempotencyKey != r.Key, existing.Spec.Content.Text == nil, existing.Labels[Label] != LabelValue:
		return 0, api.Refuse(v1alpha1.ReasonKeyReused,
			"TeamTalkMessage %s/%s exists and was not created by the gateway: use another key", m.Namespace, m.Name)
	case *existing.Spec.Content.Text != r.Text:
		return 0, api.Refuse(v1alpha1.ReasonKeyReused,
			"the key was used for another text, see TeamTalkMessage %s/%s: use another key", m.Namespace, m.Name)
	case existing.Finished() && len(existing.Status.Recipients) > 0 && existing.Status.NothingStored():
		return s.nextAttempt(ctx, r, attempt)
	}
	*m = *existing
	return 0, nil
}

// await returns the result of a message after it has finished, or its state when waiting is done. If w is nil, it does
// not wait. finished reports whether the message has finished meanwhile.
func (s *Sender) await(
	ctx, waiting context.Context, w *waiter, m *v1alpha1.TeamTalkMessage,
) (result api.Result, finished bool) {
	switch {
	case m.Finished():
		return resultOf(m), false
	case w == nil:
		return api.Result{State: api.Pending, MessageName: m.Namespace + "/" + m.Name}, false
	}
	if shown := w.wait(waiting, m.UID); shown != nil {
		return resultOf(shown), true
	}
	return s.describe(ctx, m), false
}

// describe returns the state of a message in the API server if it has not finished in time.
func (s *Sender) describe(ctx context.Context, m *v1alpha1.TeamTalkMessage) api.Result {
	// The watch does not show why a message has not finished, nor that it was deleted.
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	now := &v1alpha1.TeamTalkMessage{}
	err := s.client.Get(ctx, client.ObjectKeyFromObject(m), now)
	switch {
	case err == nil && now.UID == m.UID:
		return resultOf(now)
	case err == nil, apierrors.IsNotFound(err):
		result := resultOf(m)
		result.State, result.Cause.Message = api.Unknown, "the TeamTalkMessage was deleted before it had finished"
		return result
	}
	return resultOf(m)
}

// create creates the message even if the caller hangs up meanwhile: the gateway must know that the key is taken.
func (s *Sender) create(ctx context.Context, m *v1alpha1.TeamTalkMessage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTimeout)
	defer cancel()
	// The API server need not look for unknown fields: they are those of this version's types.
	return s.client.Create(ctx, m, fieldOwner, client.FieldValidation("Ignore"))
}

func (s *Sender) newMessage(r api.Request, attempt int) *v1alpha1.TeamTalkMessage {
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: nameOf(r, attempt), Labels: map[string]string{Label: LabelValue},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{
			SenderID: ptr.To(v1alpha1.UserID(r.Sender)), Content: v1alpha1.Content{Text: &r.Text}, IdempotencyKey: r.Key,
		},
	}
	if r.Server != "" {
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: r.Server}
	}
	for _, id := range r.Recipients {
		if r.Type == v1alpha1.RecipientGroup {
			m.Spec.To.Groups = append(m.Spec.To.Groups, v1alpha1.GroupID(id))
		} else {
			m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(id))
		}
	}
	if s.ttl > 0 {
		m.Spec.TTLSecondsAfterFinished = ptr.To(int32(s.ttl.Seconds()))
	}
	return m
}

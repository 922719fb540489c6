// Package crd sends by putting messages on record: each request becomes a
// TeamTalkMessage, which the operator delivers. The gateway needs no way to
// TeamTalk, and whatever becomes of it, the message is there to be looked at.
package crd

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// +kubebuilder:rbac:groups=teamtalk.io,resources=teamtalkmessages,verbs=create;get;list;watch,roleName=teamtalk-gateway

const (
	// Label marks the messages that gateways have created: they watch no others.
	Label = "teamtalk.io/created-by"
	// LabelValue is its value.
	LabelValue = "gateway"
	// fieldOwner is whom the created fields belong to.
	fieldOwner = client.FieldOwner("teamtalk-gateway")
	// createPatience bounds the wait for the API server to take a message.
	createPatience = 4 * time.Second
)

// Options configure a Sender.
type Options struct {
	// TTL deletes messages this long after they have finished; 0: they are kept.
	TTL time.Duration
}

// Sender puts messages on record. It is a api.Sender, and a manager's Runnable.
type Sender struct {
	client  client.WithWatch
	opts    Options
	watches *watches
	cancel  context.CancelFunc
}

var _ api.Sender = (*Sender)(nil)

// New returns a Sender that creates and watches through c, which must not read from a
// cache.
func New(c client.WithWatch, opts Options, log logr.Logger) *Sender {
	s := &Sender{client: c, opts: opts, watches: &watches{client: c, log: log, namespaces: map[string]*watch{}}}
	s.watches.base, s.cancel = context.WithCancel(context.Background())
	return s
}

// Start keeps the watches until ctx is done, and returns when they have ended.
func (s *Sender) Start(ctx context.Context) error {
	tick := time.NewTicker(idle / 10)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			s.watches.mu.Lock()
			s.watches.tidy()
			s.watches.mu.Unlock()
		case <-ctx.Done():
		}
	}
	s.watches.mu.Lock()
	s.cancel()
	s.watches.mu.Unlock()
	s.watches.goroutines.Wait()
	return nil
}

// Send implements api.Sender.
func (s *Sender) Send(ctx context.Context, r api.Request) (api.Result, error) {
	deadline, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	var watch *watch
	if r.Wait > 0 {
		var err error
		if watch, err = s.watches.of(ctx, r.Namespace); err != nil {
			return api.Result{}, err
		}
		defer s.watches.leave(watch)
	}
	if r.Key == "" {
		// Every message has one: restored from a backup, it is not sent again.
		r.Key = uuid.NewString()
	}
	for attempt := 1; ; {
		result, next, err := s.attempt(ctx, deadline, watch, r, attempt)
		if next == 0 || err != nil {
			return result, err
		}
		attempt = next
	}
}

// attempt creates the message of one attempt, or finds it, and waits until it has
// finished. next is the attempt to continue with; 0 if the request is answered.
func (s *Sender) attempt(ctx, deadline context.Context, watch *watch, r api.Request, attempt int) (result api.Result, next int, err error) {
	m := s.message(r, attempt)
	result = api.Result{State: api.UnderWay, Message: m.Namespace + "/" + m.Name}
	var w *waiter
	if watch != nil {
		w = watch.expect(m.Name) // before it is there, so that nothing is missed
		defer w.release()
	}
	err = s.create(ctx, m)
	switch {
	case apierrors.IsAlreadyExists(err):
		before, err := s.existing(ctx, m)
		if apierrors.IsNotFound(err) && ctx.Err() == nil {
			return api.Result{}, attempt, nil // deleted in between
		}
		if err != nil {
			return api.Result{}, 0, err
		}
		if *before.Spec.Content.Text != *m.Spec.Content.Text {
			return api.Result{}, 0, &api.Refusal{Reason: v1alpha1.ReasonKeyReused, Detail: fmt.Sprintf(
				"the key was used for another text, see TeamTalkMessage %s/%s: use another key", before.Namespace, before.Name)}
		}
		if before.Finished() && retryable(before) {
			// What ended with nothing stored is tried again, under the same key.
			next, err := s.nextAttempt(ctx, r, attempt)
			return api.Result{Message: result.Message}, next, err
		}
		m = before
	case apierrors.IsForbidden(err):
		return api.Result{}, 0, forbidden(m.Namespace, err)
	case err != nil:
		// It may be on record all the same: then under this name.
		return api.Result{Message: result.Message}, 0, refusal(err)
	}
	if m.Finished() {
		return resultOf(result, m), 0, nil
	}
	if w == nil {
		return result, 0, nil
	}
	seen, gone := w.until(deadline, m.UID)
	if seen == nil {
		seen = m
	}
	if seen.Status.ObservedGeneration < 1 {
		result.Detail = "on record; the operator has not looked at it yet"
		return result, 0, nil
	}
	result = resultOf(result, seen)
	if gone && !seen.Finished() {
		result.State, result.Detail = api.Unknown, "the TeamTalkMessage was deleted before it had finished"
	}
	return result, 0, nil
}

// Ready says why messages of a namespace could not be waited for; nil: they can.
func (s *Sender) Ready(ctx context.Context, namespace string) error {
	n, err := s.watches.of(ctx, namespace)
	if err == nil {
		s.watches.leave(n)
	}
	return err
}

// create puts the message on record. Once begun it is brought to its end, whether or
// not the caller still listens: a key that is taken must not be left unexplained.
func (s *Sender) create(ctx context.Context, m *v1alpha1.TeamTalkMessage) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createPatience)
	defer cancel()
	return s.client.Create(ctx, m, fieldOwner)
}

// existing returns the message that has the name of m already.
func (s *Sender) existing(ctx context.Context, m *v1alpha1.TeamTalkMessage) (*v1alpha1.TeamTalkMessage, error) {
	before := &v1alpha1.TeamTalkMessage{}
	if err := s.client.Get(ctx, client.ObjectKeyFromObject(m), before); err != nil {
		return nil, fmt.Errorf("read the message that has the key already: %w", err)
	}
	same := before.Spec.IdempotencyKey == m.Spec.IdempotencyKey && before.Spec.Content.Text != nil &&
		before.Labels[Label] == LabelValue
	if !same {
		return nil, &api.Refusal{Reason: v1alpha1.ReasonKeyReused, Detail: fmt.Sprintf(
			"TeamTalkMessage %s/%s is in the way: it is not the gateway's", before.Namespace, before.Name)}
	}
	return before, nil
}

// message is the request as a resource.
func (s *Sender) message(r api.Request, attempt int) *v1alpha1.TeamTalkMessage {
	sender := v1alpha1.UserID(r.Sender)
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.Namespace, Name: nameOf(r, attempt), Labels: map[string]string{Label: LabelValue},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{
			SenderID: &sender, Content: v1alpha1.Content{Text: &r.Text}, IdempotencyKey: r.Key,
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
	if s.opts.TTL > 0 {
		ttl := int32(s.opts.TTL.Seconds())
		m.Spec.TTLSecondsAfterFinished = &ttl
	}
	return m
}

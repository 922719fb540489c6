package direct

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const (
	// retryLimit is far more than fits into a request's time.
	retryLimit = 10
	// stopPatience is how long what is in flight is waited for once the request's
	// time is over.
	stopPatience = 300 * time.Millisecond
)

// Sender sends by the engine, and waits. It is a api.Sender and a api.Groups, and a
// manager's Runnable.
type Sender struct {
	servers *Servers
	engine  *delivery.Engine
	// started bounds what a process before this one may have been sending.
	started time.Time
	seen    atomic.Uint64
	flights flights

	mu      sync.Mutex
	waiting map[types.NamespacedName]chan struct{}
}

var (
	_ api.Sender = (*Sender)(nil)
	_ api.Groups = (*Sender)(nil)
)

// New returns a Sender with an engine of its own.
func New(servers *Servers) *Sender {
	s := &Sender{servers: servers, started: time.Now(), waiting: map[types.NamespacedName]chan struct{}{}}
	s.engine = delivery.NewEngine(s.progress)
	return s
}

// Start keeps the engine going until ctx is done.
func (s *Sender) Start(ctx context.Context) error { return s.engine.Start(ctx) }

// Drain sends nothing more, and waits for what is in flight.
func (s *Sender) Drain(ctx context.Context) error { return s.engine.Drain(ctx) }

// Send implements api.Sender.
func (s *Sender) Send(ctx context.Context, r api.Request) (api.Result, error) {
	if r.Wait <= 0 {
		return api.Result{}, &api.Refusal{Reason: v1alpha1.ReasonContentInvalid,
			Detail: "wait must be above 0: this gateway keeps no record that would outlast the request"}
	}
	ctx, cancel := context.WithTimeout(ctx, r.Wait)
	defer cancel()
	server, session, err := s.servers.session(ctx, r.Namespace, r.Server)
	if err != nil {
		return api.Result{}, err
	}
	if err := permitted(server, r); err != nil {
		return api.Result{}, err
	}
	return s.flights.do(ctx, r, func() (api.Result, error) { return s.send(ctx, s.task(server, session, r)) })
}

// send has the engine carry a task out, and waits.
func (s *Sender) send(ctx context.Context, task delivery.Task) (api.Result, error) {
	ended := make(chan struct{}, 1)
	s.mu.Lock()
	s.waiting[task.Key] = ended
	s.mu.Unlock()
	if _, ok := s.engine.Submit(task); !ok {
		s.forget(task)
		return api.Result{}, fmt.Errorf("send: shutting down")
	}
	return resultOf(s.await(ctx, task, ended)), nil
}

// await waits for a task's end. When the caller's time is over, nothing more is sent.
func (s *Sender) await(ctx context.Context, task delivery.Task, ended <-chan struct{}) delivery.Snapshot {
	over, timer := ctx.Done(), (<-chan time.Time)(nil)
	for {
		now, _ := s.engine.Progress(task.UID)
		if !now.Running {
			s.forget(task)
			return now
		}
		select {
		case <-ended:
		case <-over:
			s.engine.Stop(task.UID)
			over, timer = nil, time.After(stopPatience)
		case <-timer:
			// Forgotten by progress, when it has ended.
			s.mu.Lock()
			delete(s.waiting, task.Key)
			s.mu.Unlock()
			if now, _ = s.engine.Progress(task.UID); !now.Running {
				s.engine.Forget(task.UID)
			}
			return now
		}
	}
}

// progress is told by the engine, and tells who waits; what nobody waits for any
// more is forgotten once it has ended.
func (s *Sender) progress(key types.NamespacedName) {
	s.mu.Lock()
	ended, ok := s.waiting[key]
	s.mu.Unlock()
	if ok {
		select {
		case ended <- struct{}{}:
		default:
		}
		return
	}
	if uid := types.UID(key.Name); uid != "" {
		if now, known := s.engine.Progress(uid); known && !now.Running {
			s.engine.Forget(uid)
		}
	}
}

func (s *Sender) forget(task delivery.Task) {
	s.mu.Lock()
	delete(s.waiting, task.Key)
	s.mu.Unlock()
	s.engine.Forget(task.UID)
}

// task is a request as the engine takes it.
func (s *Sender) task(server *v1alpha1.TeamTalkServer, session *connection.Session, r api.Request) delivery.Task {
	now := time.Now()
	uid := types.UID(uuid.NewString())
	t := delivery.Task{
		Key: types.NamespacedName{Namespace: r.Namespace, Name: string(uid)}, UID: uid, Generation: 1,
		Identity: delivery.Identity{UID: uid},
		Server:   session, Stores: server.DBProxyAddresses(), Sender: uint32(r.Sender),
		Payload: delivery.Payload{Data: []byte(r.Text)}, Token: server.DeliveryTokens(),
		Policy: delivery.PolicyOf(server, retryLimit),
		Order:  delivery.Order{Created: now, Seen: strconv.FormatUint(s.seen.Add(1), 10), Name: string(uid)},
	}
	if r.Key != "" {
		t.Identity = delivery.Identity{Namespace: r.Namespace, Key: r.Key}
		t.Since = now.Add(-time.Duration(server.Spec.IdempotencyWindowSeconds) * time.Second)
		t.EarlierUntil = s.started
	}
	for _, id := range r.Recipients {
		p := delivery.Progress{Recipient: delivery.Recipient{Type: r.Type, ID: uint32(id)}, State: v1alpha1.StatePending}
		if !t.Token {
			p.CreateTime = uint32(now.Unix()) // by which it is found again
		}
		t.Recipients = append(t.Recipients, p)
	}
	return t
}

// permitted refuses what the server does not permit, and what no TeamTalk can hold.
func permitted(server *v1alpha1.TeamTalkServer, r api.Request) error {
	limit := cipher.MaxText
	if server.DeliveryTokens() {
		limit = cipher.MaxTextWithToken
	}
	if cause := server.Spec.Senders.Check(v1alpha1.UserID(r.Sender)); cause != nil {
		return &api.Refusal{Reason: cause.Reason, Detail: cause.Message}
	}
	switch {
	case len(r.Text) > limit:
		return &api.Refusal{Reason: v1alpha1.ReasonContentTooLong, Detail: fmt.Sprintf(
			"the text has %d bytes, at most %d can be sent: shorten it", len(r.Text), limit)}
	case r.Key != "" && !server.DeliveryTokens():
		return &api.Refusal{Reason: v1alpha1.ReasonContentInvalid,
			Detail: "the server's deliveryToken is Disabled, and a key needs it: leave the key out, or enable it"}
	}
	for _, id := range r.Recipients {
		if !server.Spec.Recipients.Permits(r.Type, id) {
			return &api.Refusal{Reason: v1alpha1.ReasonRecipientNotPermitted, Detail: fmt.Sprintf(
				"the server's recipients rules exclude %d", id)}
		}
	}
	return nil
}

// resultOf says what became of a task that has ended, or was stopped.
func resultOf(s delivery.Snapshot) api.Result {
	r := api.Result{}
	for _, p := range s.Recipients {
		r.Recipients = append(r.Recipients, recipientOf(p, s.Running))
	}
	r.Sum()
	return r
}

// recipientOf says what became of one recipient; flying: a request may still be in
// flight.
func recipientOf(p delivery.Progress, flying bool) api.Recipient {
	to := api.Recipient{ID: int64(p.ID), State: api.Failed, Reason: p.Reason, Detail: p.Message}
	switch {
	case p.Delivered() || p.State == v1alpha1.StateStored:
		// Stored and not announced: clients see it at their next sync.
		return api.Recipient{ID: to.ID, State: api.Delivered, MessageID: int64(p.MessageID)}
	case p.State == v1alpha1.StateFailed && p.Reason != v1alpha1.ReasonOutcomeUnknown:
	case p.State == v1alpha1.StatePending && !flying:
		if to.Reason == "" {
			to.Reason, to.Detail = v1alpha1.ReasonServerNotReady, "its turn has not come in time"
		}
		to.Detail = "not delivered, and not tried any more: " + to.Detail
	default:
		to.State = api.Unknown
		if to.Reason == "" {
			to.Reason = v1alpha1.ReasonNoAnswer
		}
		to.Detail = "it may have been delivered; send it again with the same Idempotency-Key to find out, if it had one: " + to.Detail
	}
	return to
}

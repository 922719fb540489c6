package delivery

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Payload is what is sent: UTF-8 text, or audio as it goes on the wire (seconds
// as u32 big-endian, then the sound).
type Payload struct {
	Audio bool
	Data  []byte
}

// Task is one message with everything that its delivery needs.
type Task struct {
	Key types.NamespacedName
	UID types.UID
	// Generation of the spec that the task was made from.
	Generation int64
	Server     TeamTalk
	// Store names the message store: conversations of one store are kept in order
	// whichever message they belong to.
	Store   string
	Sender  uint32
	Payload Payload
	// Token: texts carry a delivery token. Audio never does.
	Token  bool
	Policy Policy
	// Order among the messages of a conversation; its Created bounds how far back
	// the store is searched.
	Order Order
	// Recipients as far as they are known to have come.
	Recipients []Progress
	// Refusals keep recipients from being sent to: once nothing is in doubt about
	// them, they fail.
	Refusals map[Recipient]Refusal
	// Renewal: only what is under way is to be renewed; the task lacks what taking it
	// on anew would need.
	Renewal bool
	// Hold: the payload is not known yet. What is in doubt or stored goes on, and
	// nothing is sent.
	Hold bool
	// EarlierUntil is until when another operator may have been sending this
	// message; zero: none was. Recipients are then asked for first.
	EarlierUntil time.Time
}

// Refusal is why a recipient may not be sent to.
type Refusal struct{ Reason, Message string }

// Snapshot is a task's progress at one moment.
type Snapshot struct {
	Generation int64
	Sender     uint32
	Recipients []Progress
	// Running: steps are still being taken or waited for.
	Running bool
	// Held: see Task.Hold.
	Held bool
	// Stopped: nothing more is sent until the task is submitted again.
	Stopped bool
	// Revision counts changes; see Engine.Recorded.
	Revision uint64
}

// task is a Task under way.
type task struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu         sync.Mutex
	spec       Task
	recipients []Progress
	running    int
	revision   uint64
	recorded   uint64
	// pending: a notification is on its way.
	pending bool
	// swapped is closed when spec.Server or the payload is replaced.
	swapped chan struct{}
}

// newTask takes a spec on; before is the task that it goes on from, stopped and
// at its end, or nil.
func newTask(work context.Context, spec Task, before *task, now time.Time) *task {
	// What was taken on counts as unrecorded until the status shows it: a doubt
	// about an earlier operator must not be lost by a hand-over that looks clean.
	t := &task{spec: spec, recipients: make([]Progress, len(spec.Recipients)), revision: 1, swapped: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(work)
	learned := map[Recipient]Progress{}
	if before != nil {
		before.mu.Lock()
		defer before.mu.Unlock()
		t.revision, t.recorded = before.revision+1, before.recorded
		// Conversations and tokens are the sender's: another one would not find
		// what has been sent.
		t.spec.Sender = before.spec.Sender
		t.spec.Order = before.spec.Order
		for _, p := range before.recipients {
			learned[p.Recipient] = p
		}
	}
	for i, p := range spec.Recipients {
		// The spec's may be from before the last answer came in.
		if q, ok := learned[p.Recipient]; ok && q.State != v1alpha1.StatePending {
			p = q
		}
		t.recipients[i] = spec.resume(p, now)
	}
	return t
}

// unfinished returns the indices of the recipients that are not settled.
func (t *task) unfinished() []int {
	var open []int
	for i, p := range t.recipients {
		if !p.Done() {
			open = append(open, i)
		}
	}
	return open
}

func (t *task) snapshot() Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Snapshot{
		Generation: t.spec.Generation,
		Sender:     t.spec.Sender,
		Recipients: append([]Progress(nil), t.recipients...),
		Running:    t.running > 0,
		Held:       t.spec.Hold,
		Stopped:    t.ctx.Err() != nil,
		Revision:   t.revision,
	}
}

// current returns the task as it is declared now: server and policy may change
// while it is under way.
func (t *task) current() Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec
}

// renew takes over what may change of a task under way; false: it was stopped,
// and has come to its end.
func (t *task) renew(spec Task) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == 0 && t.ctx.Err() != nil {
		return false
	}
	t.spec.Policy, t.spec.Generation = spec.Policy, spec.Generation
	released := t.spec.Hold && !spec.Hold
	if released {
		t.spec.Hold, t.spec.Payload = false, spec.Payload
		// Those from before still hold: who was refused is not looked at again.
		refusals := maps.Clone(t.spec.Refusals)
		if refusals == nil {
			refusals = map[Recipient]Refusal{}
		}
		maps.Copy(refusals, spec.Refusals)
		t.spec.Refusals = refusals
	}
	if t.spec.Server != spec.Server || released {
		t.spec.Server = spec.Server
		close(t.swapped)
		t.swapped = make(chan struct{})
	}
	return true
}

// refused fails a recipient that may not be sent to; false: it may be.
func (t *task) refused(i int, p Progress) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.spec.Refusals[p.Recipient]
	if ok {
		t.recipients[i] = p.fail(r.Reason, r.Message)
		t.revision++
	}
	return ok
}

func (t *task) held() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec.Hold
}

// renewed waits until server or payload is replaced; false: the task was stopped.
func (t *task) renewed() bool {
	t.mu.Lock()
	held, swapped := t.spec.Hold, t.swapped
	t.mu.Unlock()
	if !held {
		return true
	}
	select {
	case <-swapped:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// waitReady waits until db_proxy is connected, or the server is another one;
// false: the task was stopped.
func (t *task) waitReady() bool {
	t.mu.Lock()
	server, swapped := t.spec.Server, t.swapped
	t.mu.Unlock()
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	stop := make(chan struct{})
	go func() {
		select {
		case <-swapped:
			cancel()
		case <-stop:
		}
	}()
	defer close(stop)
	return server.WaitReady(ctx) == nil || t.ctx.Err() == nil
}

func (t *task) progress(i int) Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.recipients[i]
}

// resume prepares a recipient for this process: what the status shows as under
// way may have been sent by another one.
func (t Task) resume(p Progress, now time.Time) Progress {
	if p.State == "" {
		p.State = v1alpha1.StatePending
	}
	p.sentBy = now
	if t.EarlierUntil.After(p.sentBy) {
		p.sentBy = t.EarlierUntil
	}
	if !t.EarlierUntil.IsZero() {
		p = p.Inherited(now)
	}
	return p
}

// mark returns how the message to p is known again in the store.
func (t Task) mark(p Progress) Mark {
	m := Mark{Sender: t.Sender, Group: p.Type == v1alpha1.RecipientGroup, Payload: t.Payload, CreateTime: p.CreateTime}
	if !t.Payload.Audio {
		m.HasToken = t.Token
		m.Token = DeliveryID{UID: t.UID, Sender: t.Sender, Recipient: p.Recipient}.Token()
	}
	return m
}

// bound is the earliest create_time, in unix seconds, that the message can bear.
func (t Task) bound() uint32 { return uint32(t.Order.Created.Unix()) }

func (t Task) session(p Progress) dbproxy.Session {
	s := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: t.Sender, ID: p.ID}
	if p.Type == v1alpha1.RecipientGroup {
		s.Type = wire.SessionType_SESSION_TYPE_GROUP
	}
	return s
}

func (t Task) msgType(p Progress) wire.MsgType {
	group := p.Type == v1alpha1.RecipientGroup
	switch {
	case group && t.Payload.Audio:
		return wire.MsgType_MSG_TYPE_GROUP_AUDIO
	case group:
		return wire.MsgType_MSG_TYPE_GROUP_TEXT
	case t.Payload.Audio:
		return wire.MsgType_MSG_TYPE_SINGLE_AUDIO
	}
	return wire.MsgType_MSG_TYPE_SINGLE_TEXT
}

// message encrypts the payload for p under the current key; false where there is none.
func (t Task) message(p Progress, now time.Time) (dbproxy.Message, bool) {
	m := dbproxy.Message{From: t.Sender, To: p.ID, Type: t.msgType(p), CreateTime: t.createTime(p, now)}
	if t.Payload.Audio {
		m.Data = t.Payload.Data
		return m, true
	}
	key := t.Server.Keys().Current
	if key == nil {
		return dbproxy.Message{}, false
	}
	if mark := t.mark(p); mark.HasToken {
		m.Data = key.EncryptWithToken(t.Payload.Data, mark.Token)
	} else {
		m.Data = key.Encrypt(t.Payload.Data)
	}
	return m, true
}

// createTime is never before the message's creation, which bounds the search
// for it; what bears no token keeps the time that its status announced.
func (t Task) createTime(p Progress, now time.Time) uint32 {
	if p.CreateTime != 0 && (!t.Token || t.Payload.Audio) {
		return p.CreateTime
	}
	return uint32(max(now.Unix(), t.Order.Created.Unix()))
}

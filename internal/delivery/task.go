package delivery

import (
	"context"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Task is one message with everything that its delivery needs.
type Task struct {
	Key types.NamespacedName
	UID types.UID
	// Identity makes it one message; see there.
	Identity Identity
	// Since is the earliest time that the message can bear in the store, where that
	// is not its creation: another resource with its key may have been before it.
	Since time.Time
	// Generation of the spec that the task was made from.
	Generation int64
	Server     TeamTalk
	// ServerKey names the TeamTalkServer. All of its Stores are one, see stores.
	ServerKey types.NamespacedName
	// Stores are the addresses of db_proxy servers before one message store, at least
	// one. Conversations of one store are kept in order whichever message they belong
	// to, and whoever shares an address shares the store.
	Stores  []string
	Sender  uint32
	Payload Payload
	// Split: the text may take several parts.
	Split bool
	// Token: texts carry a delivery token. Audio never does.
	Token  bool
	Policy Policy
	// Order among the messages of a conversation; its Created bounds how far back
	// the store is searched.
	Order queue.Order
	// Recipients as far as they are known to have come.
	Recipients []Progress
	// Refusals keep recipients from being sent to: once nothing is in doubt about
	// them, they fail.
	Refusals map[v1alpha1.Recipient]v1alpha1.Cause
	// Renewal: only what is under way is to be renewed; the task lacks what taking it
	// on anew would need.
	Renewal bool
	// PayloadPending: the payload is not known yet. What is in doubt or stored goes on, and
	// nothing is sent.
	PayloadPending bool
	// EarlierUntil is until when another operator may have been sending this
	// message; zero: none was. Recipients are then asked for first, as they are
	// where the Identity is keyed.
	EarlierUntil time.Time
	// FromPriorTerm: another operator may have sent this very message, not only another
	// one with its key.
	FromPriorTerm bool
}

// Snapshot is a task's progress at one moment.
type Snapshot struct {
	Generation int64
	ServerKey  types.NamespacedName
	Sender     uint32
	Recipients []Progress
	// Running: steps are still being taken or waited for.
	Running bool
	// PayloadPending: see Task.PayloadPending.
	PayloadPending bool
	// Stopped: nothing more is sent until the task is submitted again.
	Stopped bool
	// Revision counts changes; see Engine.Ack.
	Revision uint64
}

// task is a Task under way.
type task struct {
	ctx    context.Context
	cancel context.CancelFunc
	// accepted is when the engine took the task on.
	accepted time.Time

	mu         sync.Mutex
	spec       Task
	recipients []Progress
	running    int
	revision   uint64
	recorded   uint64
	// pending: a notification is on its way.
	pending bool
	// epoch is ctx until what the task waits for may have changed.
	epoch     context.Context
	nextEpoch context.CancelFunc
}

// newTask takes a spec on; before is the task that it goes on from, stopped and
// at its end, or nil.
func newTask(work context.Context, spec Task, before *task, now time.Time) *task {
	// What was taken on counts as unrecorded until the status shows it: a doubt
	// about an earlier operator must not be lost by a hand-over that looks clean.
	t := &task{spec: spec, recipients: make([]Progress, len(spec.Recipients)), revision: 1, accepted: now}
	t.ctx, t.cancel = context.WithCancel(work)
	t.epoch, t.nextEpoch = context.WithCancel(t.ctx)
	learned := map[v1alpha1.Recipient]Progress{}
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
		Generation:     t.spec.Generation,
		ServerKey:      t.spec.ServerKey,
		Sender:         t.spec.Sender,
		Recipients:     append([]Progress(nil), t.recipients...),
		Running:        t.running > 0,
		PayloadPending: t.spec.PayloadPending,
		Stopped:        t.ctx.Err() != nil,
		Revision:       t.revision,
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
	rescheduled := !t.spec.Policy.Deadline.Equal(spec.Policy.Deadline) || !t.spec.Policy.NotBefore.Equal(spec.Policy.NotBefore)
	t.spec.Policy, t.spec.Generation = spec.Policy, spec.Generation
	released := t.spec.PayloadPending && !spec.PayloadPending
	if released {
		t.spec.PayloadPending, t.spec.Payload = false, spec.Payload
		// Those from before still hold: who was refused is not looked at again.
		refusals := maps.Clone(t.spec.Refusals)
		if refusals == nil {
			refusals = map[v1alpha1.Recipient]v1alpha1.Cause{}
		}
		maps.Copy(refusals, spec.Refusals)
		t.spec.Refusals = refusals
	}
	if t.spec.Server != spec.Server || released || rescheduled {
		t.spec.Server = spec.Server
		t.nextEpoch()
		t.epoch, t.nextEpoch = context.WithCancel(t.ctx)
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

func (t *task) payloadPending() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec.PayloadPending
}

// waitContext returns the time that a recipient may wait, as a context: until the
// task is stopped, what it waits for may have changed, or its deadline has come.
func (t *task) waitContext(i int) (context.Context, context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := t.recipients[i].expiresAt(t.spec.Policy); !at.IsZero() {
		return context.WithDeadline(t.epoch, at)
	}
	return t.epoch, func() {}
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
	// One that was being asked for when an operator ended is as it was.
	asked := p.State == v1alpha1.StateInDoubt && (p.Reason == v1alpha1.ReasonSending || isDirectoryReason(p.Reason)) && p.Attempts == 0
	p.unseenKey = t.keyed() && !t.FromPriorTerm && (p.State == v1alpha1.StatePending || asked)
	if !p.unseenKey {
		p.lastAttempt = now
	}
	p.laterPartsInDoubt = p.unseenKey || !t.EarlierUntil.IsZero()
	if t.EarlierUntil.After(p.lastAttempt) {
		p.lastAttempt = t.EarlierUntil
	}
	switch {
	case p.unseenKey:
		return p.doubt(now, v1alpha1.ReasonSending, msgKeyed)
	case !t.EarlierUntil.IsZero():
		return p.FromPriorTerm(now)
	}
	return p
}

// keyed reports whether the store is asked for what other resources with the same
// key may have sent: without a token, it could not tell.
func (t Task) keyed() bool { return t.Identity.Keyed() && t.Token }

// fingerprint returns how the message to p is known again in the store.
func (t Task) fingerprint(p Progress) Fingerprint {
	m := Fingerprint{Sender: t.Sender, Payload: t.Payload.partAt(p.partIndex()), CreateTime: p.CreateTime}
	if p.Type == v1alpha1.RecipientGroup && !p.unseenKey {
		m.Reach = uint32(t.Order.Created.Unix())
	}
	if !t.Payload.Audio {
		m.HasToken = t.Token
		m.Token = DeliveryID{Identity: t.Identity, Part: p.partIndex(), Sender: t.Sender, Recipient: p.Recipient}.Token()
	}
	return m
}

// bound is the earliest create_time, in unix seconds, that the message can bear:
// what has its own token may be older than the window in which others' are looked for.
func (t Task) bound() uint32 {
	if t.Since.IsZero() || t.Order.Created.Before(t.Since) {
		return uint32(t.Order.Created.Unix())
	}
	return uint32(t.Since.Unix())
}

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
	fingerprint := t.fingerprint(p)
	if t.Payload.Audio {
		m.Data = t.Payload.Data
		return m, true
	}
	key := t.Server.Keys().Current
	if key == nil {
		return dbproxy.Message{}, false
	}
	if fingerprint.HasToken {
		m.Data = key.EncryptWithToken(fingerprint.Payload.Data, fingerprint.Token)
	} else {
		m.Data = key.Encrypt(fingerprint.Payload.Data)
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

// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Task is one message with everything that its delivery needs.
type Task struct {
	Key      types.NamespacedName
	UID      types.UID
	Identity Identity
	// Since is the earliest time of the message in the store, if another resource may have had its key before.
	Since  time.Time
	Server TeamTalk
	// ServerKey names the TeamTalkServer. See queue.SetServer for which servers share conversations.
	ServerKey types.NamespacedName
	Sender    uint32
	Payload   Payload
	// Split: the text may take several segments.
	Split bool
	// Token: texts carry a delivery token. Audio never does.
	Token  bool
	Policy Policy
	// Order among the messages of a conversation. Its Created bounds how far back the store is searched.
	Order queue.Order
	// Recipients as they are recorded.
	Recipients []Progress
	// Refusals keep recipients from being sent to. These fail once they are not in doubt.
	Refusals map[v1alpha1.Recipient]v1alpha1.Cause
	// Renewal is true if the task lacks data that a first Submit needs.
	Renewal bool
	// PayloadPending is true if the payload is not known yet. Recipients that are in doubt or stored continue, and nothing
	// is sent.
	PayloadPending bool
	// EarlierUntil is until when another operator may have been sending this message, or zero. The store is searched.
	EarlierUntil time.Time
	// FromPriorTerm: another operator may have sent this very message, not only another one with its key.
	FromPriorTerm bool
}

// Snapshot is a task's progress at one moment.
type Snapshot struct {
	ServerKey types.NamespacedName
	Sender    uint32
	// Accepted is when the engine accepted the task.
	Accepted   time.Time
	Recipients []Progress
	// Running: steps are being executed or waited for.
	Running bool
	// Due: progress was reported since it was last recorded. While the task runs, it need not be recorded before.
	Due bool
	// PayloadPending: see Task.PayloadPending.
	PayloadPending bool
	// Stopped is true if nothing is sent until the task is submitted again.
	Stopped bool
	// SupersededAt: see Policy.
	SupersededAt time.Time
	// OfRevision is the Revision of the task's Identity.
	OfRevision uint32
	// Revision counts changes; see Engine.Ack.
	Revision uint64
}

// task is a Task in progress.
type task struct {
	ctx    context.Context
	cancel context.CancelFunc
	// accepted is when the engine accepted the task.
	accepted time.Time

	mu         sync.Mutex
	spec       Task
	recipients []recipientState
	running    int
	// forgotten: see Engine.Forget.
	forgotten bool
	revision  uint64
	recorded  uint64
	// refused is the revision up to which the API server has refused to record it.
	refused uint64
	// reporting: a notification is scheduled. reported: one was sent. due: progress was reported, and nothing recorded
	// since.
	reporting, reported, due bool
	// epoch ends with ctx, or when a condition for which the task waits may have changed.
	epoch     context.Context
	nextEpoch context.CancelFunc
	// executors holds the executors of the recipients that were not done when they were submitted.
	executors [][]executor
	// deadline wakes them, also those that wait for a worker. It is nil if there is none.
	deadline *time.Timer
}

// newTask returns the task of a spec. before is the ended task that it continues, or nil.
func newTask(work context.Context, spec Task, before *task, now time.Time) *task {
	// It counts as not recorded until the status shows it: a drain must not lose a doubt about an earlier operator.
	t := &task{spec: spec, recipients: make([]recipientState, len(spec.Recipients)), revision: 1, accepted: now}
	t.ctx, t.cancel = context.WithCancel(fairqueue.WithTenant(work, spec.Key.Namespace))
	t.epoch, t.nextEpoch = context.WithCancel(t.ctx)
	context.AfterFunc(t.ctx, t.wakeAll)
	learned := map[v1alpha1.Recipient]recipientState{}
	if before != nil {
		before.mu.Lock()
		defer before.mu.Unlock()
		t.revision, t.recorded, t.refused = before.revision+1, before.recorded, before.refused
		// Sent messages are found in the sender's conversations, by the sender's tokens.
		t.spec.Sender, t.spec.Order = before.spec.Sender, before.spec.Order
		for _, p := range before.recipients {
			learned[p.Recipient] = p
		}
	}
	for i, recorded := range spec.Recipients {
		p := recipientState{Progress: recorded}
		if known, ok := learned[p.Recipient]; ok {
			p = known
			// Otherwise the record may be from before the last answer.
			if known.State == v1alpha1.StatePending {
				p.Progress = recorded
			}
		}
		t.recipients[i] = spec.resume(p, now)
	}
	return t
}

// unfinished returns the indices of the recipients that are not done.
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
	s := Snapshot{
		ServerKey:      t.spec.ServerKey,
		Sender:         t.spec.Sender,
		Accepted:       t.accepted,
		Recipients:     make([]Progress, len(t.recipients)),
		Running:        t.running > 0,
		Due:            t.due,
		PayloadPending: t.spec.PayloadPending,
		Stopped:        t.ctx.Err() != nil,
		SupersededAt:   t.spec.Policy.SupersededAt,
		OfRevision:     t.spec.Identity.Revision,
		Revision:       t.revision,
	}
	for i, p := range t.recipients {
		s.Recipients[i] = p.Progress
	}
	return s
}

// forget returns whether nothing is in flight.
func (t *task) forget() (ended bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgotten = true
	return t.running == 0
}

// isUnrecorded reports whether something was sent, by this operator or an earlier one, of which no status shows the
// end.
func (t *task) isUnrecorded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := func(p recipientState) bool { return p.Attempts > 0 || p.fromPriorTerm && p.maybeStored() }
	return slices.ContainsFunc(t.recipients, sent) && (t.recorded < t.revision || len(t.unfinished()) > 0)
}

// recordingTime is the part of the time between two reports that depends on the recipients.
func (t *task) recordingTime() time.Duration {
	return time.Duration(len(t.recipients)) * progressPerRecipient
}

// current returns the task as it is declared now: server and policy may change while it is in progress.
func (t *task) current() Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec
}

// recipient returns the task as it is declared now, with one of its recipients at the same moment.
func (t *task) recipient(i int) (Task, recipientState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spec, t.recipients[i]
}

// follow wakes executors at the deadline, and when the task is stopped.
func (t *task) follow(executors []executor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.executors = append(t.executors, executors)
	t.setDeadline()
}

// add appends the recipients that the task does not have, and returns the indices of those that are not done. A stopped
// task gets them when it is resumed.
func (t *task) add(recipients []Progress, now time.Time) (open []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(recipients) <= len(t.recipients) || t.ctx.Err() != nil {
		return nil
	}
	known := make(map[v1alpha1.Recipient]bool, len(t.recipients))
	for _, p := range t.recipients {
		known[p.Recipient] = true
	}
	for _, p := range recipients {
		if !known[p.Recipient] && !p.Done() {
			open = append(open, len(t.recipients))
			t.recipients = append(t.recipients, t.spec.resume(recipientState{Progress: p}, now))
		}
	}
	if len(open) > 0 {
		t.running += len(open)
		t.revision++
	}
	return open
}

// setDeadline needs mu.
func (t *task) setDeadline() {
	if t.deadline != nil {
		t.deadline.Stop()
		t.deadline = nil
	}
	if at := t.spec.Policy.Deadline; !at.IsZero() && t.running > 0 {
		t.deadline = time.AfterFunc(time.Until(at), t.wakeAll)
	}
}

// wakeAll has all executors decide on their next steps again.
func (t *task) wakeAll() {
	t.mu.Lock()
	all := slices.Clone(t.executors)
	t.mu.Unlock()
	for _, executors := range all {
		for n := range executors {
			executors[n].wake()
		}
	}
}

// renew applies the changes that a task in progress permits. It returns false if the task was stopped and has ended.
func (t *task) renew(spec Task) bool {
	known, changed := t.update(spec)
	if changed {
		t.wakeAll()
	}
	return known
}

func (t *task) update(spec Task) (known, changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == 0 && t.ctx.Err() != nil {
		return false, false
	}
	before := t.spec
	t.spec.Policy, t.spec.Server = spec.Policy, spec.Server
	released := before.PayloadPending && !spec.PayloadPending
	if released {
		t.spec.PayloadPending, t.spec.Payload = false, spec.Payload
		t.identify(spec, time.Now())
	}
	refused := false
	if len(spec.Refusals) > 0 {
		// Earlier refusals are kept: they are not checked again. Copies of the task share the map.
		t.spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{}
		maps.Copy(t.spec.Refusals, before.Refusals)
		maps.Copy(t.spec.Refusals, spec.Refusals)
		refused = len(t.spec.Refusals) > len(before.Refusals)
	}
	rescheduled := !before.Policy.Deadline.Equal(spec.Policy.Deadline) ||
		!before.Policy.NotBefore.Equal(spec.Policy.NotBefore)
	if changed = before.Server != spec.Server || released || rescheduled || refused; changed {
		t.nextEpoch()
		t.epoch, t.nextEpoch = context.WithCancel(t.ctx)
		t.setDeadline()
	}
	return true, changed
}

// identify gives the task the identity of a text that has replaced a text that is proved absent. Another resource may
// have sent it before.
func (t *task) identify(spec Task, now time.Time) {
	if t.spec.Identity == spec.Identity {
		return
	}
	t.spec.Identity, spec.FromPriorTerm = spec.Identity, false
	for i, p := range t.recipients {
		if p.State == v1alpha1.StatePending {
			t.recipients[i] = spec.resume(p, now)
		}
	}
}

// waitContext returns a context that ends at the deadline, or when a condition for which a recipient waits may have
// changed.
func (t *task) waitContext(i int) (context.Context, context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if expiry := t.recipients[i].expiresAt(t.spec.Policy); !expiry.IsZero() {
		return context.WithDeadline(t.epoch, expiry)
	}
	return t.epoch, func() {}
}

// resume prepares a recipient for this process: another process may have sent a message that is recorded as in
// progress.
func (t Task) resume(p recipientState, now time.Time) recipientState {
	if p.State == "" {
		p.State = v1alpha1.StatePending
	}
	// An operator that ended while it searched for the key has sent nothing.
	searched := p.State == v1alpha1.StateInDoubt && p.Attempts == 0 &&
		(p.Reason == v1alpha1.ReasonSending || isDirectoryReason(p.Reason))
	p.unseenKey = t.keyed() && !t.FromPriorTerm && (p.State == v1alpha1.StatePending || searched)
	if !p.unseenKey {
		p.lastAttempt = now
	}
	p.laterSegmentsInDoubt = p.unseenKey || !t.EarlierUntil.IsZero()
	p.lastAttempt = later(p.lastAttempt, t.EarlierUntil)
	switch {
	case p.unseenKey:
		return p.doubt(now, v1alpha1.ReasonSending, msgKeyed)
	case !t.EarlierUntil.IsZero() && p.State == v1alpha1.StatePending:
		p = p.doubt(now, v1alpha1.ReasonNoAnswer, msgTakeover)
	}
	p.takenOver = p.takenOver || p.Message == msgTakeover || t.FromPriorTerm && p.State == v1alpha1.StateInDoubt
	p.fromPriorTerm = p.State != v1alpha1.StatePending
	return p
}

// refusal returns why nothing is sent to a recipient that has not begun.
func (t Task) refusal(p recipientState) (v1alpha1.Cause, bool) {
	cause, ok := t.Refusals[p.Recipient]
	return cause, ok && p.State == v1alpha1.StatePending
}

// keyed reports whether other resources with the same key are searched for. Without a token they are not found.
func (t Task) keyed() bool { return t.Identity.Keyed() && t.Token }

// shared reports whether other resources can have the message's token.
func (t Task) shared() bool { return t.Identity.Shared() && t.Token }

// earliest returns when the message may have been sent first, if not for another resource long ago.
func (t Task) earliest(p recipientState) time.Time {
	if !p.sentSince.IsZero() && p.sentSince.Before(t.Order.Created) {
		return p.sentSince
	}
	return t.Order.Created
}

// fingerprint returns how the message to p is found in the store.
func (t Task) fingerprint(p recipientState) Fingerprint {
	f := Fingerprint{Sender: t.Sender, Payload: t.Payload.segmentAt(p.segmentIndex()), CreateTime: p.CreateTime}
	if p.Type == v1alpha1.RecipientGroup && !p.unseenKey {
		f.Reach = uint32(t.earliest(p).Unix())
	}
	if !t.Payload.Audio {
		f.HasToken = t.Token
		f.Token = DeliveryID{
			Identity: t.Identity, Segment: p.segmentIndex(), Sender: t.Sender, Recipient: p.Recipient,
		}.Token()
	}
	return f
}

// bound is the earliest create_time of the message. A message with its own token may be older than the window.
func (t Task) bound(p recipientState) uint32 {
	earliest := t.earliest(p)
	if !t.Since.IsZero() && t.Since.Before(earliest) {
		earliest = t.Since
	}
	return uint32(earliest.Unix())
}

// conversation identifies the conversation of the sender with p.
func (t Task) conversation(p recipientState) queue.Conversation {
	return queue.ConversationOf(t.ServerKey, t.Sender, p.Recipient)
}

func (t Task) session(p recipientState) dbproxy.Session {
	return dbproxy.Session{Type: t.msgType(p).SessionType(), UserID: t.Sender, ID: p.ID}
}

func (t Task) msgType(p recipientState) wire.MsgType {
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

// message encrypts the payload for p with the current key. It returns false if there is none.
func (t Task) message(p recipientState, now time.Time) (dbproxy.Message, bool) {
	m := dbproxy.Message{From: t.Sender, To: p.ID, Type: t.msgType(p), CreateTime: t.createTime(p, now)}
	fingerprint, key := t.fingerprint(p), t.Server.Keys().Current
	switch {
	case t.Payload.Audio:
		m.Data = t.Payload.Data
	case key == nil:
		return dbproxy.Message{}, false
	case fingerprint.HasToken:
		m.Data = key.EncryptWithToken(fingerprint.Payload.Data, fingerprint.Token)
	default:
		m.Data = key.Encrypt(fingerprint.Payload.Data)
	}
	return m, true
}

// createTime is never before the creation, which bounds the search. Without a token it is the recorded time.
func (t Task) createTime(p recipientState, now time.Time) uint32 {
	if p.CreateTime != 0 && (!t.Token || t.Payload.Audio) {
		return p.CreateTime
	}
	return uint32(max(now.Unix(), t.Order.Created.Unix()))
}

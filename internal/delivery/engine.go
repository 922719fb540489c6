// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
)

// A message under way reports progress at intervals of a second, and of ten milliseconds more for each recipient: a
// status of 1,000 takes the API server 90 to 170 ms of a core, 63 of them may be under way, and whatever ends meanwhile
// has to wait. After the first second it is reported once, for what it waits for.
const (
	progressInterval     = time.Second
	progressPerRecipient = 10 * time.Millisecond
)

// Engine delivers tasks. Its methods may be called from any goroutine.
type Engine struct {
	// Observer, if there is one, observes the steps. It is set before Start.
	Observer Observer
	// Recorded, if set, passes the rows of all finished messages to note. It is called when it is needed for the first
	// time, and again after an error, and is set before Start.
	Recorded func(ctx context.Context, note func(RecordedRow)) error
	// Deleted, if set, is called for a message that was deleted while it was sent, once nothing of it is in flight. It is
	// set before Start.
	Deleted func(types.NamespacedName, types.UID, Snapshot)
	// Queue says which message may be submitted, and which recipient is next.
	Queue *queue.Queue
	// Groups are those whose members are being changed: messages to them wait.
	Groups GroupChanges

	notify func(types.NamespacedName)
	// jitter returns a random duration of at most the one given.
	jitter func(time.Duration) time.Duration

	// base ends everything. work ends what is not sent yet: a drain ends it first.
	base, work             context.Context
	cancelBase, cancelWork context.CancelFunc

	keyedAttempts *keyedAttempts
	staged        *stagedTimes
	directory     directoryCache
	names         nameCache
	workers       *workers
	known         *knownRows
	// unfinished counts recipients that are not done, with a goroutine or without, and what else Start waits for.
	unfinished sync.WaitGroup

	readRecordedOnce sync.Once
	// recordedRead is closed when the rows of finished messages are known.
	recordedRead chan struct{}

	mu    sync.Mutex
	tasks map[types.UID]*task
	uids  map[types.NamespacedName]types.UID
	// running counts recipients whose steps are being taken, those of forgotten tasks included.
	running int
	// reconciles counts reconciles of messages that are under way, see TrackReconcile.
	reconciles int
	// recordingEnded: a drain does not wait until anything is recorded any more.
	recordingEnded bool
	// poke wakes a drain after every change.
	poke chan struct{}
}

// NewEngine returns an engine. It calls notify, which must not block, for a task with progress to record, for one
// that has stopped, and for a message that the Queue wakes.
func NewEngine(notify func(types.NamespacedName)) *Engine {
	e := &Engine{
		notify: notify, poke: make(chan struct{}, 1), keyedAttempts: newKeyedAttempts(),
		staged: newStagedTimes(), workers: newWorkers(), recordedRead: make(chan struct{}),
		jitter: func(d time.Duration) time.Duration { return rand.N(d + 1) },
		tasks:  map[types.UID]*task{}, uids: map[types.NamespacedName]types.UID{},
	}
	e.base, e.cancelBase = context.WithCancel(context.Background())
	e.work, e.cancelWork = context.WithCancel(e.base)
	e.Queue = queue.New(func(key types.NamespacedName) {
		if e.work.Err() == nil {
			e.notify(key)
		}
	})
	e.known = newKnownRows(e.Queue)
	e.Queue.StoresChanged = e.known.follow
	return e
}

// SetAddresses tells the engine of the db_proxy addresses that a server has now. None: the server is gone.
func (e *Engine) SetAddresses(server types.NamespacedName, addresses []string) {
	if len(addresses) == 0 {
		e.Queue.RemoveServer(server)
		return
	}
	e.Queue.SetServer(server, addresses)
}

// Start implements manager.Runnable. It returns after ctx is done, with the last goroutine.
func (e *Engine) Start(ctx context.Context) error {
	<-ctx.Done()
	e.mu.Lock()
	// work first: no task may go on after another has seen the end.
	e.cancelWork()
	e.cancelBase()
	e.mu.Unlock()
	e.unfinished.Wait()
	e.directory.batches.Wait()
	e.names.end()
	e.workers.watching.Wait()
	return nil
}

// Submit starts a task and returns its progress. A task that runs goes on, with the server and policy that are
// declared now, and with Recipients that it did not have: their names were found since. One that was stopped is
// resumed, with the new Recipients where nothing is in doubt or stored. Once the engine drains, a known task stays as
// it is, to be recorded. Of others, and of a Renewal that comes too late, Submit returns false: it has done nothing.
func (e *Engine) Submit(spec Task) (Snapshot, bool) {
	e.mu.Lock()
	before, known := e.tasks[spec.UID]
	ended := e.work.Err() != nil
	if known && (ended || before.renew(spec)) {
		var added []int
		if !ended {
			added = before.add(spec.Recipients, time.Now())
			e.count(added)
		}
		e.mu.Unlock()
		if len(added) > 0 {
			e.begin(before, added)
		}
		return before.snapshot(), true
	}
	if ended || spec.Renewal {
		e.mu.Unlock()
		return Snapshot{}, false
	}
	t := newTask(e.work, spec, before, time.Now())
	open := t.unfinished()
	t.running = len(open)
	e.tasks[spec.UID] = t
	e.uids[spec.Key] = spec.UID
	e.count(open)
	e.mu.Unlock()
	e.begin(t, open)
	return t.snapshot(), true
}

// count counts recipients whose delivery begins. It needs mu, so that Start cannot stop waiting in between.
func (e *Engine) count(open []int) {
	e.running += len(open)
	e.unfinished.Add(len(open))
}

// begin starts the delivery to recipients of a task.
func (e *Engine) begin(t *task, open []int) {
	executors := make([]executor, len(open))
	submission := queue.Submission{
		UID: t.spec.UID, Flow: queue.FlowOf(t.spec.Key, t.spec.ServerKey), Order: t.spec.Order,
		Conversations: make([]queue.Conversation, len(open)), Wake: func(n int) { executors[n].wake() },
	}
	for n, i := range open {
		executors[n].engine, executors[n].task, executors[n].index = e, t, i
		_, p := t.recipient(i)
		submission.Conversations[n] = queue.ConversationOf(t.spec.ServerKey, t.spec.Sender, p.Recipient)
	}
	for n, place := range e.Queue.Submit(submission) {
		executors[n].place = place
	}
	t.follow(executors)
	e.report(t) // even if nothing can be done for a while
	for n := range executors {
		e.workers.begin(&executors[n])
	}
}

// environment returns what a decision about a task depends on now.
func (e *Engine) environment(t Task) environment {
	return environment{Policy: t.Policy, now: time.Now(), jitter: e.jitter}
}

// Snapshot returns what is known of a task.
func (e *Engine) Snapshot(uid types.UID) (Snapshot, bool) {
	if t := e.taskOf(uid); t != nil {
		return t.snapshot(), true
	}
	return Snapshot{}, false
}

// Knows reports whether there is a task of the message.
func (e *Engine) Knows(uid types.UID) bool { return e.taskOf(uid) != nil }

// Busy reports whether a message of the name has recipients that are not done, or progress that is not recorded.
func (e *Engine) Busy(key types.NamespacedName) bool {
	e.mu.Lock()
	t := e.tasks[e.uids[key]]
	e.mu.Unlock()
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.recorded < t.revision || len(t.unfinished()) > 0
}

// Ack says that the status shows a task's progress up to a revision.
func (e *Engine) Ack(uid types.UID, revision uint64) {
	if t := e.taskOf(uid); t != nil {
		t.mu.Lock()
		t.recorded = max(t.recorded, revision)
		t.due = false
		t.mu.Unlock()
	}
	e.wakeDrain()
}

// Refused says that the API server has refused to record a task's progress up to a revision. A drain that has begun
// does not wait for it any more.
func (e *Engine) Refused(uid types.UID, revision uint64) {
	if t := e.taskOf(uid); t != nil {
		t.mu.Lock()
		t.refused = max(t.refused, revision)
		t.mu.Unlock()
	}
	e.wakeDrain()
}

// Stop sends nothing more for a task, and keeps it. Requests in flight are waited for, and reported.
func (e *Engine) Stop(uid types.UID) {
	if t := e.taskOf(uid); t != nil {
		t.cancel()
	}
}

func (e *Engine) taskOf(uid types.UID) *task {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tasks[uid]
}

// Forget drops a task whose end is recorded, or whose object is gone. Requests in flight are waited for.
func (e *Engine) Forget(uid types.UID) {
	e.mu.Lock()
	t, ok := e.tasks[uid]
	ended := false
	if ok {
		t.cancel()
		ended = t.forget()
		delete(e.tasks, uid)
		if e.uids[t.spec.Key] == uid {
			delete(e.uids, t.spec.Key)
		}
	}
	e.mu.Unlock()
	if ended {
		e.reportDeleted(t)
	}
	e.wakeDrain()
}

// reportDeleted reports what was sent of a message that was deleted before its status showed that.
func (e *Engine) reportDeleted(t *task) {
	if e.Deleted == nil {
		return
	}
	if s, lost := t.snapshot(), t.isUnrecorded(); lost {
		e.Deleted(t.spec.Key, t.spec.UID, s)
	}
}

// Object is what the cache shows under a name.
type Object struct {
	Key types.NamespacedName
	// UID is empty where there is no object.
	UID             types.UID
	ResourceVersion string
	Finished        bool
}

// Sync drops what is known of other objects of the name, and of this one if it has finished. It must be the cache
// that shows its end: before, the next reconcile could send it again.
func (e *Engine) Sync(o Object) {
	finishedAt := ""
	if o.Finished {
		finishedAt = o.ResourceVersion
	}
	e.Queue.Delete(o.Key, o.UID, finishedAt)
	e.mu.Lock()
	uid, ok := e.uids[o.Key]
	e.mu.Unlock()
	if ok && (uid != o.UID || o.Finished) {
		e.Forget(uid)
	}
}

// update changes a recipient's state and sees that it is reported.
func (e *Engine) update(t *task, i int, change func(recipientState) recipientState) {
	t.mu.Lock()
	t.recipients[i] = change(t.recipients[i])
	t.revision++
	t.mu.Unlock()
	e.report(t)
}

// report notifies of a task's progress after an interval. Its end has a notification of its own.
func (e *Engine) report(t *task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reporting || t.running == 0 {
		return
	}
	t.reporting = true
	interval := progressInterval
	if t.reported {
		interval += t.recordingTime()
	}
	time.AfterFunc(interval, func() { e.reportNow(t) })
}

// reportNow notifies of progress that is not recorded. That of many recipients is not due the first time.
func (e *Engine) reportNow(t *task) {
	t.mu.Lock()
	t.reporting = false
	report := t.running > 0 && t.recorded < t.revision
	due := t.reported || t.recordingTime() <= progressInterval
	t.reported, t.due = true, t.due || report && due
	t.mu.Unlock()
	if report {
		e.notify(t.spec.Key)
	}
	if report && !due {
		e.report(t)
	}
}

// stopped counts a recipient out and reports the last one's end.
func (e *Engine) stopped(t *task) {
	e.mu.Lock()
	e.running--
	t.mu.Lock()
	t.running--
	last := t.running == 0
	if last {
		t.executors = nil
		t.setDeadline()
	}
	forgotten := t.forgotten
	t.mu.Unlock()
	e.mu.Unlock()
	if last && forgotten {
		e.reportDeleted(t)
	}
	if last {
		e.notify(t.spec.Key)
		e.wakeDrain()
	}
}

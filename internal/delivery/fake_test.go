// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	bot   = 1
	alice = 3
	bob   = 4
	group = 7

	settle = 5 * time.Second
	lag    = 4 * time.Second
	// clientTimeout is after what time the fake db_proxy's client gives up.
	clientTimeout = 10 * time.Second
)

var errNotSent = fmt.Errorf("%w: %w", dbproxy.ErrNotSent, dbproxy.ErrNotConnected)

func key(t testing.TB, b byte) *cipher.Cipher {
	t.Helper()
	c, err := cipher.New(slices.Repeat([]byte{b}, cipher.KeyLen))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// elapsed returns a channel that is closed after a time. It is not that of a timer: with the race detector, the runtime
// of Go 1.26 may crash when a select finds that a timer of a synctest bubble has expired.
func elapsed(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	if d <= 0 {
		close(done)
	} else {
		time.AfterFunc(d, func() { close(done) })
	}
	return done
}

// reply is what becomes of a send.
type reply struct {
	// store: the store keeps it. Otherwise not.
	store bool
	// id is answered instead of a fresh one.
	id *uint32
	// err is what the client returns, after taking takes.
	err   error
	takes time.Duration
	// storedAfter is the time for which reads do not show stored rows.
	storedAfter time.Duration
}

var (
	plain        = reply{store: true}
	lostBefore   = reply{err: dbproxy.ErrNoAnswer, takes: clientTimeout}
	lostAfter    = reply{err: dbproxy.ErrConnectionLost, store: true}
	falseSuccess = reply{}
	rejected     = reply{id: proto.Uint32(0)}
)

// sent is a send as it reached the fake.
type sent struct {
	dbproxy.Message
	at time.Time
}

type stored struct {
	*wire.MsgInfo
	conversation queue.Conversation
	visible      time.Time
}

// talk is a TeamTalk in memory that does what a test says.
type talk struct {
	mu     sync.Mutex
	users  map[uint32]bool
	groups map[uint32][]uint32
	// logins are the names of users, and groupNames those of groups. departed users are in users as well.
	logins     map[uint32]string
	groupNames map[uint32]string
	departed   map[uint32]bool
	// hiddenGroup is listed among a user's groups, and not shown.
	hiddenGroup uint32
	// usersTake is how long reading all users takes, and scans are when they were asked for. scanned, where set, is called
	// after the last of them.
	usersTake time.Duration
	scans     []time.Time
	scanned   func()
	rows      []stored
	keys      cipher.Keys
	down      bool
	ready     chan struct{} // closed and replaced whenever down or keys change
	// replies to the first sends; what comes later is plain.
	replies []reply
	// fails, where set, may fail a read: "users", "groups", "list", "latest", "sessions" or "byID".
	fails func(read string) error
	// lag hides a new row from reads.
	lag time.Duration
	// noRouter: no router is connected. refusing: it takes nothing. routes counts what it was given.
	noRouter, refusing bool
	routes             int
	// joined hides older rows of a group, as from a reader that joined it then, in unix seconds.
	joined uint32
	// joinedAt is the same for single users.
	joinedAt map[uint32]uint32
	// hidden, where set, says which conversations' tables cannot be read.
	hidden func(queue.Conversation) bool
	// replica, where set, answers reads.
	replica *talk
	// lateAfter, where set, is after what time without an answer a send is late.
	lateAfter time.Duration
	// rowTime, where set, is how long the nth row of a list takes, the newest first.
	rowTime func(n int) time.Duration
	// unlisted: lists are empty.
	unlisted bool
	// reads counts requests.
	reads map[string]int

	sends    []sent
	routed   []uint32
	inFlight int
	maxAll   int
}

func newTalk(t testing.TB) *talk {
	return &talk{
		users: map[uint32]bool{bot: true, alice: true, bob: true}, groups: map[uint32][]uint32{group: {bot, alice}},
		keys: cipher.Keys{Current: key(t, 1)}, ready: make(chan struct{}),
	}
}

// change alters the fake while it is in use.
func (f *talk) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.ready)
	f.ready = make(chan struct{})
}

// Path implements TeamTalk: the fake is one path, or another one that a test has put before a replica.
func (f *talk) Path() (dbproxy.Reads, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.replica != nil {
		return f.replica, func() {}, nil
	}
	return f, func() {}, nil
}

// stopReplica has reads answered by a replica that gets no more rows.
func (f *talk) stopReplica() {
	f.replica = &talk{users: f.users, groups: f.groups, rows: slices.Clone(f.rows), keys: f.keys, ready: f.ready}
}

func (f *talk) counts() counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return counts{len(f.sends), len(f.rows), len(f.routed)}
}

func conversationOf(m dbproxy.Message) queue.Conversation {
	return queue.ConversationOf(types.NamespacedName{}, m.From, recipientOf(m.Type.SessionType() == wire.SessionType_SESSION_TYPE_GROUP, m.To))
}

// keep stores a message, for reads from a time on.
func (f *talk) keep(id uint32, m dbproxy.Message, visible time.Time) {
	f.rows = append(f.rows, stored{&wire.MsgInfo{
		MsgId: &id, FromSessionId: &m.From, CreateTime: &m.CreateTime, MsgType: &m.Type, MsgData: m.Data,
	}, conversationOf(m), visible})
}

func (f *talk) Send(
	ctx, waiting context.Context, _ wire.MsgType, build func() (dbproxy.Message, bool), late func(),
) (uint32, error) {
	m, ok := build()
	f.mu.Lock()
	if f.down || waiting.Err() != nil || !ok {
		f.mu.Unlock()
		return 0, errNotSent
	}
	r := plain
	if len(f.replies) > len(f.sends) {
		r = f.replies[len(f.sends)]
	}
	f.sends = append(f.sends, sent{m, time.Now()})
	f.inFlight++
	f.maxAll = max(f.maxAll, f.inFlight)
	id := uint32(100 + len(f.sends))
	lateAfter := f.lateAfter
	if r.store {
		f.keep(id, m, time.Now().Add(max(f.lag, r.storedAfter)))
		if group, known := f.groups[m.To]; known && len(group) == 0 && m.Type.SessionType() == wire.SessionType_SESSION_TYPE_GROUP {
			f.groups[m.To] = []uint32{m.From} // a send fills a flushed cache again
		}
	}
	f.mu.Unlock()

	// Like the real client, which stops waiting with its context.
	if lateAfter > 0 && r.takes > lateAfter {
		waitUntil(ctx, time.Now().Add(lateAfter))
		late()
		r.takes -= lateAfter
	}
	select {
	case <-elapsed(r.takes):
	case <-ctx.Done():
		r.err = dbproxy.ErrNoAnswer
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight--
	if r.id != nil {
		id = *r.id
	}
	return id, r.err
}

func (f *talk) Route(_ context.Context, _ dbproxy.Message, id uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes++
	if f.noRouter || f.refusing {
		return errors.New("no router")
	}
	f.routed = append(f.routed, id)
	return nil
}

// routesTried counts what the router was given. More may follow.
func (f *talk) routesTried() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.routes
}

func (f *talk) Keys() cipher.Keys {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys
}

func (f *talk) WaitReady(ctx context.Context) error {
	return f.wait(ctx, func() bool { return !f.down && f.keys.Current != nil })
}

func (f *talk) WaitRouter(ctx context.Context) error {
	return f.wait(ctx, func() bool { return !f.noRouter })
}

func (f *talk) wait(ctx context.Context, is func() bool) error {
	for {
		f.mu.Lock()
		ready, changed := is(), f.ready
		f.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// harness is an engine with its fake TeamTalk, inside a synctest bubble.
type harness struct {
	*Engine
	t    *testing.T
	talk *talk

	mu    sync.Mutex
	notes []time.Time
}

// run runs do with an engine, in a bubble whose time passes at once, and checks
// that nothing of the engine is left.
func run(t *testing.T, do func(*harness)) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{t: t, talk: newTalk(t)}
		h.Engine = NewEngine(func(types.NamespacedName) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.notes = append(h.notes, time.Now())
		})
		h.SetAddresses(types.NamespacedName{}, []string{"db"})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Start(ctx) }()
		do(h)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
}

// runEach runs do with an engine for each case.
func runEach[T any](t *testing.T, cases map[string]T, do func(*harness, T)) {
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) { do(h, tc) })
		})
	}
}

// advance lets time pass, and everything happen that it brings.
func advance(d time.Duration) {
	<-elapsed(d)
	synctest.Wait()
}

// task returns a message of the bot's.
func (h *harness) task(uid string, to ...v1alpha1.Recipient) Task {
	spec := Task{
		Key: types.NamespacedName{Namespace: "chat", Name: uid}, UID: types.UID(uid), Identity: Identity{UID: types.UID(uid)},
		Server: h.talk, Sender: bot, Payload: Payload{Data: []byte("hello " + uid)}, Token: true,
		Policy: Policy{Verify: true, Settle: settle, ReplicaLag: lag, RetryLimit: 5},
		Order:  queue.Order{Created: time.Now().Truncate(time.Second), Name: "chat/" + uid},
	}
	for _, r := range to {
		spec.Recipients = append(spec.Recipients, Progress{Recipient: r, State: v1alpha1.StatePending})
	}
	return spec
}

func (h *harness) submit(spec Task) {
	h.t.Helper()
	if _, ok := h.Submit(spec); !ok {
		h.t.Fatal("Submit was refused")
	}
	synctest.Wait()
}

func (h *harness) snapshot(uid types.UID) Snapshot {
	h.t.Helper()
	synctest.Wait()
	s, ok := h.Snapshot(uid)
	if !ok {
		h.t.Fatalf("%s is not known", uid)
	}
	return s
}

// first returns the progress of a task's first recipient.
func (h *harness) first(uid types.UID) Progress {
	h.t.Helper()
	return h.snapshot(uid).Recipients[0]
}

// await returns the task's progress when its last recipient has stopped, a
// second late at most, and fails the test after limit.
func (h *harness) await(uid types.UID, limit time.Duration) Snapshot {
	h.t.Helper()
	for end := time.Now().Add(limit); ; advance(time.Second) {
		s := h.snapshot(uid)
		if !s.Running {
			return s
		}
		if time.Now().After(end) {
			h.t.Fatalf("still running: %+v", s.Recipients)
		}
	}
}

// counts are what reached db_proxy, the store and the router.
type counts struct{ sends, rows, routed int }

func (h *harness) wantCounts(sends, rows, routed int) {
	h.t.Helper()
	if got := h.talk.counts(); got != (counts{sends, rows, routed}) {
		h.t.Errorf("sends, rows and routed are %v, want %d, %d, %d", got, sends, rows, routed)
	}
}

// result is how a delivery to one recipient ends.
type result struct {
	state  v1alpha1.RecipientState
	reason string
	counts
}

// routed is the result of a delivery after so many sends; adopted, that of one which was found in the store.
func routed(sends int) result { return result{v1alpha1.StateRouted, "", counts{sends, 1, 1}} }

var adopted = result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{1, 1, 1}}

// failed is the result where nothing was stored.
func failed(reason string, sends int) result {
	return result{v1alpha1.StateFailed, reason, counts{sends: sends}}
}

// wantEnd awaits the end of the task, and checks the result of its first recipient.
func (h *harness) wantEnd(uid types.UID, limit time.Duration, want result) Progress {
	h.t.Helper()
	p := h.await(uid, limit).Recipients[0]
	wantProgress(h.t, p, want.state, want.reason)
	h.wantCounts(want.sends, want.rows, want.routed)
	return p
}

// deliver submits a task and checks the result of its first recipient.
func (h *harness) deliver(spec Task, limit time.Duration, want result) Progress {
	h.t.Helper()
	h.submit(spec)
	return h.wantEnd(spec.UID, limit, want)
}

// wantTook checks how long it has been since began, a second more at most.
func (h *harness) wantTook(began time.Time, atLeast, atMost time.Duration) {
	h.t.Helper()
	if took := time.Since(began); took < atLeast || took > atMost+time.Second {
		h.t.Errorf("took %v, want %v to %v", took, atLeast, atMost)
	}
}

func wantProgress(t *testing.T, p Progress, state v1alpha1.RecipientState, reason string) {
	t.Helper()
	if p.State != state || p.Reason != reason {
		t.Errorf("%s %q (%s), want %s %q", p.State, p.Reason, p.Message, state, reason)
	}
}

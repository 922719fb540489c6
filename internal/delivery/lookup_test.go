package delivery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// library is a directory whose questions are counted, take half a second, and fail
// or hang when a test says so.
type library struct {
	*talk
	mu    sync.Mutex
	asked [][]uint32
	// fail decides by the number of the question, counted from 0, and what is asked for.
	fail func(n int, ids []uint32) error
}

func (l *library) Path() (dbproxy.Reads, error) { return l, nil }

func (l *library) Users(ctx context.Context, asker uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	l.mu.Lock()
	n := len(l.asked)
	l.asked = append(l.asked, slices.Clone(ids))
	l.mu.Unlock()
	wait := 500 * time.Millisecond
	var err error
	if l.fail != nil {
		if err = l.fail(n, ids); errors.Is(err, dbproxy.ErrNoAnswer) {
			wait = patience
		}
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return l.talk.Users(ctx, asker, ids)
}

// questions returns for how many users each question asked, beside the sender.
func (l *library) questions() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	var sizes []int
	for _, ids := range l.asked {
		if ids[0] != bot {
			return nil
		}
		sizes = append(sizes, len(ids)-1)
	}
	return sizes
}

// lookers is a directory in a bubble, and those who look at it.
type lookers struct {
	t         *testing.T
	directory directory
	library   *library
	answers   sync.WaitGroup
}

func withDirectory(t *testing.T, do func(*lookers)) {
	synctest.Test(t, func(t *testing.T) {
		x := &lookers{t: t, library: &library{talk: newTalk(t)}}
		do(x)
		x.answers.Wait()
		x.directory.questions.Wait()
	})
}

func (x *lookers) spec() Task { return Task{Server: x.library, Stores: []string{"db"}, Sender: bot} }

// look asks in the background; check is called with the answer.
func (x *lookers) look(ctx context.Context, to Recipient, notBefore time.Time, check func(Look, error)) {
	x.answers.Go(func() { check(x.directory.look(ctx, x.spec(), to, notBefore)) })
}

func (x *lookers) wantQuestions(want ...int) {
	x.t.Helper()
	synctest.Wait()
	if got := x.library.questions(); !slices.Equal(got, want) {
		x.t.Errorf("questions for %v users, want %v", got, want)
	}
}

// present fails the test where the look objects to the recipient.
func (x *lookers) present(to Recipient) func(Look, error) {
	return func(look Look, err error) {
		if reason, _ := look.objection(bot, to); err != nil || reason != "" {
			x.t.Errorf("%v: %s %v", to, reason, err)
		}
	}
}

// TestAskedTogether: who comes at once is asked for together, who comes while a
// question is under way by the next one, and nobody twice.
func TestAskedTogether(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		long := time.Now().Add(-lookLife)
		for id := uint32(1000); id < 1450; id++ {
			x.library.users[id] = true
		}
		for id := uint32(1000); id < 1450; id++ {
			for range 2 {
				x.look(x.t.Context(), user(id), long, x.present(user(id)))
			}
		}
		synctest.Wait()
		x.look(x.t.Context(), toAlice, long, x.present(toAlice))
		x.answers.Wait()
		asked := x.library.questions()
		total := 0
		for _, n := range asked {
			total += n
		}
		// The first one goes with whoever happens to be there.
		if len(asked) < 3 || len(asked) > 4 || slices.Max(asked) > lookChunk || total != 451 {
			t.Errorf("questions for %v users", asked)
		}
		x.look(x.t.Context(), user(1449), long, x.present(user(1449)))
		x.answers.Wait()
		x.wantQuestions(asked...)
	})
}

// TestForeseen: the recipients of one message are asked for together, from the
// first question on; nobody who is known by then is asked for again.
func TestForeseen(t *testing.T) {
	run(t, func(h *harness) {
		library := &library{talk: h.talk}
		var to []Recipient
		for id := uint32(1000); id < 1000+lookChunk; id++ {
			library.users[id] = true
			to = append(to, user(id))
		}
		send := func(uid string) {
			spec := h.task(uid, to...)
			spec.Server = library
			h.submit(spec)
			h.await(spec.UID, time.Minute)
		}
		send("a")
		send("b")
		if got := library.questions(); !slices.Equal(got, []int{lookChunk}) {
			t.Errorf("questions for %v users, want all at once", got)
		}
	})
}

// TestSharedByMessages: messages that follow each other ask once.
func TestSharedByMessages(t *testing.T) {
	run(t, func(h *harness) {
		library := &library{talk: h.talk}
		for _, uid := range []string{"a", "b", "c"} {
			spec := h.task(uid, toAlice, toGroup)
			spec.Server = library
			h.submit(spec)
			h.await(spec.UID, time.Minute)
		}
		if n := len(library.questions()); n > 2 {
			t.Errorf("%d questions", n)
		}
		h.wantCounts(6, 6, 6)
	})
}

// TestBeliefEnds: somebody is believed to be there for lookLife, never after a
// later notBefore, and leaves nothing behind.
func TestBeliefEnds(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		look := func(notBefore time.Time) {
			x.look(x.t.Context(), toAlice, notBefore, x.present(toAlice))
			x.answers.Wait()
		}
		began := time.Now()
		look(began)
		advance(lookLife - time.Second)
		look(time.Now().Add(-lookLife))
		x.wantQuestions(1)
		look(time.Now())
		x.wantQuestions(1, 1)
		advance(lookLife + time.Second)
		look(time.Now().Add(-lookLife))
		x.wantQuestions(1, 1, 1)
		advance(3 * lookLife)
		x.directory.mu.Lock()
		defer x.directory.mu.Unlock()
		if len(x.directory.books) != 0 || x.directory.sweeping {
			t.Errorf("%d books are left", len(x.directory.books))
		}
	})
}

// TestMissingIsNotKept: who is missing is asked for each time, is no longer
// believed to be there, and found once he is back.
func TestMissingIsNotKept(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		long := time.Now().Add(-lookLife)
		ask := func(notBefore time.Time, want string) {
			t.Helper()
			x.look(x.t.Context(), toAlice, notBefore, func(look Look, err error) {
				if reason, _ := look.objection(bot, toAlice); err != nil || reason != want || !look.alive() {
					t.Errorf("%q %v, want %q", reason, err, want)
				}
			})
			x.answers.Wait()
		}
		ask(long, "")
		delete(x.library.users, alice)
		ask(long, "") // still believed
		ask(time.Now(), v1alpha1.ReasonRecipientNotFound)
		ask(long, v1alpha1.ReasonRecipientNotFound)
		x.wantQuestions(1, 1, 1)
		x.library.users[alice] = true
		ask(long, "")
		// A sender who is missing is so for everybody.
		delete(x.library.users, bot)
		ask(time.Now(), v1alpha1.ReasonSenderNotFound)
		ask(long, v1alpha1.ReasonSenderNotFound)
		x.wantQuestions(1, 1, 1, 1, 1, 1)
		// An outage is no evidence, and takes nothing from what is known.
		x.library.users[bot] = true
		ask(time.Now(), "")
		x.library.users = nil
		x.look(x.t.Context(), toAlice, time.Now(), func(look Look, err error) {
			if err != nil || look.alive() {
				t.Errorf("%+v %v, want an empty look", look, err)
			}
		})
		x.answers.Wait()
		ask(long, "")
	})
}

// TestEmptyGroupIsNotKept: membership is believed where it was seen.
func TestEmptyGroupIsNotKept(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.groups[8] = nil
		long := time.Now().Add(-lookLife)
		for _, to := range []Recipient{toGroup, toGroup, {v1alpha1.RecipientGroup, 8}, {v1alpha1.RecipientGroup, 8}} {
			x.look(x.t.Context(), to, long, x.present(to))
			x.answers.Wait()
		}
		if n := len(x.library.questions()); n != 3 {
			t.Errorf("%d questions, want one for the first group and two for the empty one", n)
		}
	})
}

// TestNothingBorrowed: what one session or sender has seen counts for no other.
func TestNothingBorrowed(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		long := time.Now().Add(-lookLife)
		x.library.users[2] = true
		edits := map[string]func(*Task){
			"same": func(*Task) {}, "session": func(s *Task) { s.Server = &library{talk: x.library.talk} },
			"sender": func(s *Task) { s.Sender = 2 },
		}
		for _, name := range []string{"same", "session", "sender"} {
			spec := x.spec()
			edits[name](&spec)
			if _, err := x.directory.look(x.t.Context(), spec, toAlice, long); err != nil {
				t.Error(err)
			}
		}
		if n := len(x.directory.books); n != 3 {
			t.Errorf("%d books, want one for each", n)
		}
	})
}

// TestLeaving: who leaves takes nobody along, and the last one takes the question along.
func TestLeaving(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		first, leave := context.WithCancel(x.t.Context())
		gone := func(_ Look, err error) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want to have left", err)
			}
		}
		x.library.users[5] = true
		x.look(x.t.Context(), user(5), time.Now(), x.present(user(5)))
		synctest.Wait()
		// Both by the next question.
		x.look(first, toAlice, time.Now(), gone)
		x.look(x.t.Context(), user(bob), time.Now(), x.present(user(bob)))
		advance(700 * time.Millisecond)
		x.wantQuestions(1, 2)
		// And one who leaves before he is asked for.
		x.look(first, user(5), time.Now(), gone)
		synctest.Wait()
		leave()
		x.answers.Wait()
		x.wantQuestions(1, 2)
		x.look(first, toAlice, time.Now(), gone)
		x.answers.Wait()

		x.library.fail = func(int, []uint32) error { return dbproxy.ErrNoAnswer }
		alone, leave := context.WithCancel(x.t.Context())
		x.look(alone, user(bob), time.Now(), gone)
		synctest.Wait()
		began := time.Now()
		leave()
		x.directory.questions.Wait()
		if time.Since(began) != 0 {
			t.Errorf("asked on for %v", time.Since(began))
		}
	})
}

// TestLostAnswer: those who come after a question that is not answered wait for
// it no longer than lookPatience.
func TestLostAnswer(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.fail = func(n int, _ []uint32) error {
			if n == 0 {
				return dbproxy.ErrNoAnswer
			}
			return nil
		}
		x.look(x.t.Context(), toAlice, time.Now(), func(_ Look, err error) {
			if !errors.Is(err, dbproxy.ErrNoAnswer) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		x.look(x.t.Context(), user(bob), began, func(look Look, err error) {
			x.present(user(bob))(look, err)
			if took := time.Since(began); took > 2*lookPatience {
				t.Errorf("took %v", took)
			}
		})
		x.answers.Wait()
		x.wantQuestions(1, 1)
	})
}

// TestTooLong: one whose answer cannot be held fails fewer and fewer others.
func TestTooLong(t *testing.T) {
	withDirectory(t, func(x *lookers) {
		x.library.fail = func(_ int, ids []uint32) error {
			if slices.Contains(ids, alice) {
				return dbproxy.ErrTooLong
			}
			return nil
		}
		for id := uint32(1000); id < 1199; id++ {
			x.library.users[id] = true
		}
		var failed atomic.Int32
		fewest := int32(lookChunk)
		for range maxShrunk + 1 {
			failed.Store(0)
			x.look(x.t.Context(), toAlice, time.Now(), func(Look, error) {})
			for id := uint32(1000); id < 1199; id++ {
				x.look(x.t.Context(), user(id), time.Now(), func(_ Look, err error) {
					if err != nil {
						failed.Add(1)
					}
				})
			}
			x.answers.Wait()
			fewest = min(fewest, failed.Load())
		}
		if fewest >= lookChunk>>2 {
			t.Errorf("%d still fail with it", fewest)
		}
	})
}

package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// lookPatience is how long the next question waits for the one under way: an
// answer that is lost must not hold up those who have not asked yet.
const lookPatience = time.Second

// maxShrunk leaves one group in a question.
const maxShrunk = 5

// directory answers for the directories of TeamTalks, for all messages together.
// That somebody is there is believed for lookLife. Whoever is not known to be
// there is asked for, together with all who come while a question is under way;
// and what such a question does not show is evidence for those who asked, and is
// kept for nobody else. The zero value is ready to use.
type directory struct {
	// questions counts the goroutines.
	questions sync.WaitGroup

	mu    sync.Mutex
	books map[bookKey]*book
	// sweeping: what is outdated is dropped presently.
	sweeping bool
}

// bookKey is whose view of which directory, and through what: no session
// vouches for another one's, nor what one sender sees for another.
type bookKey struct {
	server TeamTalk
	sender uint32
}

// book is what is known through one bookKey.
type book struct {
	// there is when users, the sender among them, and groups with the sender as a
	// member were last seen.
	there map[Recipient]time.Time
	// waiting are those who are to be asked for next.
	waiting []*asker
	// asking: a question is under way, and not overdue yet.
	asking bool
	// shrunk halves questions as often: an answer that is too long to be held
	// must not fail everybody who is asked for with it.
	shrunk int
}

// asker waits for a look at a recipient.
type asker struct {
	to        Recipient
	notBefore time.Time
	// question is the one that asks for it, once there is one.
	question *question
	// left: nobody waits any more.
	left bool
	done chan struct{}
	look Look
	err  error
}

// question is one look, on behalf of several.
type question struct {
	askers []*asker
	// waiting counts the askers that have not left; without one it is given up.
	waiting int
	cancel  context.CancelFunc
	// overdue: the next question did not wait for it; ended: it is settled.
	overdue, ended bool
}

// look returns a look that shows the task's sender and the recipient, taken no
// earlier than notBefore; or, if one of them is not known to be there, one that
// was asked for after the call.
func (d *directory) look(ctx context.Context, spec Task, to Recipient, notBefore time.Time) (Look, error) {
	key := bookKey{server: spec.Server, sender: spec.Sender}
	d.mu.Lock()
	b := d.book(key)
	if look, ok := b.known(key.sender, to, notBefore); ok {
		d.mu.Unlock()
		return look, nil
	}
	if err := ctx.Err(); err != nil {
		d.mu.Unlock()
		return Look{}, err
	}
	a := &asker{to: to, notBefore: notBefore, done: make(chan struct{})}
	b.waiting = append(b.waiting, a)
	d.next(key, b)
	d.mu.Unlock()

	select {
	case <-a.done:
		return a.look, a.err
	case <-ctx.Done():
		d.leave(a)
		return Look{}, ctx.Err()
	}
}

// foresee asks for recipients who will be looked at presently: the one who came
// first would be asked for alone, and the others wait for that.
func (d *directory) foresee(spec Task, recipients []Recipient) {
	key := bookKey{server: spec.Server, sender: spec.Sender}
	notBefore := time.Now().Add(-lookLife)
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.book(key)
	for _, to := range recipients {
		if _, ok := b.known(key.sender, to, notBefore); !ok {
			b.waiting = append(b.waiting, &asker{to: to, notBefore: notBefore, done: make(chan struct{})})
		}
	}
	d.next(key, b)
}

// leave waits no longer. The others do.
func (d *directory) leave(a *asker) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.left = true
	if q := a.question; q != nil {
		if q.waiting--; q.waiting == 0 {
			q.cancel()
		}
	}
}

// book returns the key's book, which is dropped some time after its last use.
func (d *directory) book(key bookKey) *book {
	b, ok := d.books[key]
	if !ok {
		b = &book{there: map[Recipient]time.Time{}}
		if d.books == nil {
			d.books = map[bookKey]*book{}
		}
		d.books[key] = b
	}
	if !d.sweeping {
		d.sweeping = true
		time.AfterFunc(lookLife, d.sweep)
	}
	return b
}

// sweep drops what is outdated, and goes on for as long as there is something left.
func (d *directory) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	oldest := time.Now().Add(-lookLife)
	for key, b := range d.books {
		for r, at := range b.there {
			if at.Before(oldest) {
				delete(b.there, r)
			}
		}
		b.shrunk = 0
		if len(b.there) == 0 && len(b.waiting) == 0 && !b.asking {
			delete(d.books, key)
		}
	}
	d.sweeping = len(d.books) > 0
	if d.sweeping {
		time.AfterFunc(lookLife, d.sweep)
	}
}

// known returns a look at those who are known to be there since notBefore.
func (b *book) known(sender uint32, to Recipient, notBefore time.Time) (Look, bool) {
	self := Recipient{v1alpha1.RecipientUser, sender}
	at, sure := b.there[self]
	toAt, there := b.there[to]
	if toAt.Before(at) {
		at = toAt
	}
	if !sure || !there || at.Before(notBefore) {
		return Look{}, false
	}
	look := Look{At: at, Users: map[uint32]*wire.UserInfo{sender: {}}}
	if to.Type == v1alpha1.RecipientGroup {
		look.Groups = map[uint32]*wire.GroupInfo{to.ID: {GroupMemberList: []uint32{sender}}}
	} else {
		look.Users[to.ID] = &wire.UserInfo{}
	}
	return look, true
}

// next asks for those who wait, unless a question is under way: then they wait
// for its end, or until it is overdue. A goroutine does, so that those who come
// at the same moment go along.
func (d *directory) next(key bookKey, b *book) {
	if b.asking || len(b.waiting) == 0 {
		return
	}
	b.asking = true
	d.questions.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		d.mu.Lock()
		users, groups, askers := b.gather(key.sender)
		q := &question{askers: askers, waiting: len(askers), cancel: cancel}
		for _, a := range askers {
			a.question = q
		}
		if len(askers) == 0 {
			b.asking = false
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		overdue := time.AfterFunc(lookPatience, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if !q.ended {
				q.overdue, b.asking = true, false
				d.next(key, b)
			}
		})
		defer overdue.Stop()
		look, err := ask(ctx, key, users, groups)
		d.settle(key, b, q, look, err)
	})
}

func ask(ctx context.Context, key bookKey, users, groups []uint32) (Look, error) {
	path, err := key.server.Path()
	if err != nil {
		return Look{}, err
	}
	return takeLook(ctx, path, key.sender, users, groups)
}

// gather takes as many of those who wait as one question may ask for; who has
// become known meanwhile is served at once.
func (b *book) gather(sender uint32) (users, groups []uint32, askers []*asker) {
	maxUsers, maxGroups := lookChunk>>b.shrunk, max(1, groupChunk>>b.shrunk)
	asked := map[Recipient]bool{}
	var rest []*asker
	for _, a := range b.waiting {
		look, known := b.known(sender, a.to, a.notBefore)
		group := a.to.Type == v1alpha1.RecipientGroup
		switch {
		case a.left:
			continue
		case known:
			a.look = look
			close(a.done)
			continue
		case asked[a.to]:
		case group && len(groups) < maxGroups:
			groups = append(groups, a.to.ID)
		case !group && len(users) < maxUsers:
			users = append(users, a.to.ID)
		default:
			rest = append(rest, a)
			continue
		}
		asked[a.to] = true
		askers = append(askers, a)
	}
	b.waiting = rest
	return users, groups, askers
}

// settle answers those who asked, remembers who is there, and lets the next
// question be asked.
func (d *directory) settle(key bookKey, b *book, q *question, look Look, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		b.remember(key.sender, q, look)
	case errors.Is(err, dbproxy.ErrTooLong):
		b.shrunk = min(maxShrunk, b.shrunk+1)
	}
	q.ended = true
	for _, a := range q.askers {
		if !a.left {
			a.look, a.err = look, err
			close(a.done)
		}
	}
	if !q.overdue {
		b.asking = false
	}
	d.next(key, b)
}

// remember keeps who is there. Who is missing is only no longer believed to be
// there: whether that is evidence is for those who asked to judge.
func (b *book) remember(sender uint32, q *question, look Look) {
	if !look.alive() {
		return
	}
	keep := func(r Recipient, there bool) {
		switch at, known := b.there[r]; {
		case known && at.After(look.At):
			// An answer that was late.
		case there:
			b.there[r] = look.At
		default:
			delete(b.there, r)
		}
	}
	keep(Recipient{v1alpha1.RecipientUser, sender}, look.Users[sender] != nil)
	for _, a := range q.askers {
		if a.to.Type == v1alpha1.RecipientGroup {
			// Empty ones are sent to, too, but do not show the sender in them.
			keep(a.to, look.member(a.to.ID, sender))
		} else {
			keep(a.to, look.Users[a.to.ID] != nil)
		}
	}
}

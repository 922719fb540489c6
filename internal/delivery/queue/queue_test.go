// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bot, alice, bob = 1, 3, 4

var toAlice, toBob, toGroup = user(alice), user(bob), v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: 7}

func user(id uint32) v1alpha1.Recipient {
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: id}
}

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "chat", Name: name}
}

// recorder is a Queue, and the messages that it has woken.
type recorder struct {
	*Queue
	t     *testing.T
	woken []string
}

func newRecorder(t *testing.T) *recorder {
	r := &recorder{t: t}
	r.Queue = New(func(key types.NamespacedName) { r.woken = append(r.woken, key.Name) })
	return r
}

// message is one that was created at second, and first seen at version.
func message(name string, second, version int, to ...v1alpha1.Recipient) Message {
	return Message{
		Key: named(name), UID: types.UID(name), ResourceVersion: fmt.Sprint(version), Server: named("server"), Recipients: to,
		Order: Order{Created: time.Unix(int64(second), 0), Seen: fmt.Sprint(version), Name: "chat/" + name},
	}
}

// wantFirst checks whether messages are the first in all of their lines.
func (r *recorder) wantFirst(want bool, uids ...types.UID) {
	r.t.Helper()
	for _, uid := range uids {
		if got := r.Admit(uid, named("server"), 1); got != want {
			r.t.Errorf("%s is the first: %v", uid, got)
		}
	}
}

func (r *recorder) wantWoken(want ...string) {
	r.t.Helper()
	slices.Sort(r.woken)
	if !slices.Equal(r.woken, want) {
		r.t.Errorf("woken %q, want %q", r.woken, want)
	}
	r.woken = nil
}

// wantEmpty checks that nothing is left.
func (r *recorder) wantEmpty() {
	r.t.Helper()
	n := len(r.pending) + len(r.uids) + len(r.reserved) + len(r.servers) + len(r.stores) + len(r.namespaces)
	if n += r.slots.underWay.Used() + r.slots.longWaits.Used() + r.slots.waiting.Len(); n != 0 {
		r.t.Errorf("left over: %v, %v, %v, %v, %v", r.pending, r.uids, r.reserved, r.slots, r.servers)
	}
}

// TestAddedInAnyOrder: in whatever order messages are added, they are admitted by creation, then version.
func TestAddedInAnyOrder(t *testing.T) {
	r := newRecorder(t)
	want := []string{"z", "y", "m", "b", "a"}
	order := map[string][2]int{"z": {1, 70}, "y": {2, 9}, "m": {2, 10}, "b": {3, 11}, "a": {3, 100}}
	added := slices.Clone(want)
	rand.Shuffle(len(added), func(i, j int) { added[i], added[j] = added[j], added[i] })
	for _, n := range added {
		r.Add(message(n, order[n][0], order[n][1], toGroup))
	}
	for i, n := range want {
		r.wantFirst(true, types.UID(n))
		for _, later := range want[i+1:] {
			r.wantFirst(false, types.UID(later))
		}
		r.Done(types.UID(n))
		r.wantWoken(want[i+1 : min(i+2, len(want))]...)
		r.Done(types.UID(n)) // once is enough
		if o, known := r.Add(message(n, 0, 100, toGroup)); !known || o.Seen != fmt.Sprint(order[n][1]) {
			t.Errorf("%s was first seen at %s", n, o.Seen)
		}
		r.Delete(named(n), types.UID(n), "100")
	}
	r.wantWoken()
	r.wantEmpty()
}

// TestSharedRecipient: messages wait for each other where they share a recipient, through one server.
func TestSharedRecipient(t *testing.T) {
	r := newRecorder(t)
	r.Add(message("a", 1, 1, toAlice))
	r.Add(message("b", 2, 2, toBob))
	r.Add(message("both", 3, 3, toAlice, toBob, toGroup))
	r.Add(message("c", 4, 4, toGroup))
	elsewhere := message("elsewhere", 5, 5, toAlice)
	elsewhere.Server.Name = "other"
	r.Add(elsewhere)
	r.wantFirst(true, "a", "b", "elsewhere")
	r.wantFirst(false, "both", "c")
	r.Done("a")
	r.wantWoken() // both still waits for b
	r.Done("b")
	r.wantWoken("both")
	r.wantFirst(true, "both")
	r.Done("both")
	r.wantWoken("c")
	r.wantFirst(false, "deleted")
}

// TestOthersRecipient: a message that waits for slots holds back no other namespace's to its recipients. It holds back
// those of its namespace, and once it is submitted, younger ones of its conversations from any namespace.
func TestOthersRecipient(t *testing.T) {
	r := newRecorder(t)
	of := func(namespace, name string, second int) Message {
		m := message(name, second, second, toAlice)
		m.Key.Namespace = namespace
		return m
	}
	r.slots = newSlots(21, 21)
	first := of("bulk", "first", 1)
	r.Add(first)
	r.wantFirst(true, first.UID)
	bulk, younger := of("bulk", "bulk", 2), of("bulk", "younger", 3)
	single, next := of("other", "single", 4), of("other", "next", 5)
	for _, m := range []Message{bulk, younger, single, next} {
		r.Add(m)
	}
	places := r.submit("server", first)
	r.wantFirst(false, bulk.UID, younger.UID, next.UID) // there is no slot for one of them
	r.wantFirst(true, single.UID)
	places = append(places, r.submit("server", single)...)
	if !places[0].Acquire() || places[1].Acquire() {
		t.Error("the younger one holds the conversation")
	}
	places[0].Done()
	if !places[1].Acquire() {
		t.Error("the conversation is not passed on")
	}
	r.wantFirst(true, bulk.UID)
	r.wantFirst(false, younger.UID)
}

// TestDelete: a message that is deleted, replaced or finished keeps no other waiting.
func TestDelete(t *testing.T) {
	cases := map[string]struct {
		do       func(*recorder)
		wantGone bool
	}{
		"deleted":            {func(r *recorder) { r.Delete(named("a"), "", "") }, true},
		"another is deleted": {func(r *recorder) { r.Delete(named("b"), "", "") }, false},
		"replaced":           {func(r *recorder) { r.Delete(named("a"), "a2", "") }, true},
		"still there":        {func(r *recorder) { r.Delete(named("a"), "a", "") }, false},
		"finished":           {func(r *recorder) { r.Delete(named("a"), "a", "10") }, true},
		"edited since": {func(r *recorder) {
			r.Add(message("a", 1, 10, toAlice))
			r.Delete(named("a"), "a", "9")
		}, false},
		"its successor is added": {func(r *recorder) {
			next := message("a", 9, 10, toGroup)
			next.UID = "a2"
			r.Add(next)
		}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			r.Add(message("a", 1, 2, toAlice))
			r.Add(message("z", 2, 3, toAlice))
			r.wantFirst(false, "z")
			tc.do(r)
			r.wantFirst(tc.wantGone, "z")
			if tc.wantGone {
				r.wantWoken("z")
			} else {
				r.wantWoken()
			}
			for _, n := range []string{"a", "z"} {
				r.Delete(named(n), "", "")
			}
			r.wantEmpty()
		})
	}
}

// reconcile begins and ends a reconcile of a message, in which something happens.
func (r *recorder) reconcile(uid types.UID, while func()) {
	r.Delete(named(string(uid)), uid, "")
	while()
	r.Done(uid)
}

// TestRequeue: messages that have waited for the same thing go on in order, also where one
// is requeued while a reconcile that has begun before finds that it has to wait.
func TestRequeue(t *testing.T) {
	none := func() {}
	for name, during := range map[string]types.UID{"no reconcile": "", "of the older": "a", "of the younger": "b"} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			for n, uid := range []types.UID{"a", "b"} {
				r.Add(message(string(uid), n, n, toAlice))
				if uid != during {
					r.reconcile(uid, none)
				}
			}
			requeue := func() {
				for _, uid := range []types.UID{"b", "a", "a", "unknown"} {
					r.Requeue(uid)
				}
			}
			if during == "" {
				r.wantFirst(true, "b")
				r.Done("b")
				requeue()
			} else {
				r.reconcile(during, requeue)
			}
			r.wantFirst(false, "b")
			r.reconcile("a", none)
			r.wantWoken("b")
			r.wantFirst(true, "b")
		})
	}
}

// TestTwiceToOne: no message waits for itself.
func TestTwiceToOne(t *testing.T) {
	r := newRecorder(t)
	r.Add(message("a", 1, 1, toAlice, toAlice))
	r.wantFirst(true, "a")
}

// TestAtRandom: whatever happens in whatever order, some message is the first, and each
// that was kept back is woken when it is the first.
func TestAtRandom(t *testing.T) {
	r := newRecorder(t)
	var present []string
	waiting := map[string]bool{}
	for n := range 5000 {
		if len(present) < 50 && rand.N(2) == 0 {
			name := fmt.Sprint("m", n)
			var to []v1alpha1.Recipient
			for range 1 + rand.N(4) {
				to = append(to, user(uint32(10+rand.N(8))))
			}
			r.Add(message(name, rand.N(5), n, to...))
			present = append(present, name)
		}
		if len(present) == 0 {
			continue
		}
		i := rand.N(len(present))
		name := present[i]
		switch {
		case rand.N(5) == 0:
			r.Delete(named(name), "", "")
		case r.Admit(types.UID(name), named("server"), 1):
			r.Done(types.UID(name))
			r.Delete(named(name), types.UID(name), "999999")
		default:
			waiting[name] = true
			continue
		}
		present = slices.Delete(present, i, i+1)
		delete(waiting, name)
		for _, w := range r.woken {
			delete(waiting, w)
			if p := r.pending[types.UID(w)]; p == nil || p.behind != 0 {
				t.Fatalf("%s is woken, but is not the first", w)
			}
		}
		r.woken = nil
	}
	for len(present) > 0 {
		i := slices.IndexFunc(present, func(n string) bool { return r.pending[types.UID(n)].behind == 0 })
		if i < 0 {
			t.Fatal("all wait for another")
		}
		r.Delete(named(present[i]), "", "")
		delete(waiting, present[i])
		present = slices.Delete(present, i, i+1)
		for _, w := range r.woken {
			delete(waiting, w)
		}
	}
	if len(waiting) > 0 {
		t.Errorf("%d were kept back and never woken", len(waiting))
	}
	r.wantEmpty()
}

// TestAllAreSent: in whatever order messages are added, reconciled and executed, with few
// slots, all are sent, and those to one recipient in order.
func TestAllAreSent(t *testing.T) {
	const messages = 500
	type running struct {
		*Place
		to    v1alpha1.Recipient
		order int64
	}
	r := newRecorder(t)
	r.slots = newSlots(5*21, 100)
	all, enqueued := map[string]Message{}, []string{}
	for _, n := range rand.Perm(messages) {
		var to []v1alpha1.Recipient
		for _, id := range rand.Perm(8)[:1+rand.N(4)] {
			to = append(to, user(uint32(10+id)))
		}
		m := message(fmt.Sprint(n), n, n, to...)
		r.Add(m)
		all[m.Key.Name], enqueued = m, append(enqueued, m.Key.Name)
	}
	var underWay []running
	sent := map[v1alpha1.Recipient][]int64{}
	for step := 0; len(enqueued)+len(underWay) > 0; step++ {
		if step > 1000*messages {
			t.Fatalf("%d messages wait, %d recipients are under way", len(enqueued), len(underWay))
		}
		if i := rand.N(len(enqueued) + len(underWay)); i < len(enqueued) {
			m := all[enqueued[i]]
			enqueued = slices.Delete(enqueued, i, i+1)
			if r.Admit(m.UID, m.Server, len(m.Recipients)) {
				for n, p := range r.submit("server", m) {
					underWay = append(underWay, running{p, m.Recipients[n], m.Order.Created.Unix()})
				}
				r.Delete(m.Key, "", "")
			}
		} else if p := underWay[i-len(enqueued)]; p.holds() {
			underWay = slices.Delete(underWay, i-len(enqueued), i-len(enqueued)+1)
			sent[p.to] = append(sent[p.to], p.order)
			p.Done()
		}
		enqueued = append(enqueued, r.woken...)
		r.woken = nil
	}
	for to, orders := range sent {
		if !slices.IsSorted(orders) {
			t.Errorf("to %v in order %v", to, orders)
		}
	}
	r.wantEmpty()
}

// TestSubmit: a message that is submitted keeps its place before younger ones.
func TestSubmit(t *testing.T) {
	r := newRecorder(t)
	r.Add(message("a", 1, 1, toAlice))
	r.Add(message("b", 2, 2, toAlice))
	r.wantFirst(false, "b")
	r.wantFirst(true, "a")
	older := r.submit("server", message("a", 1, 1, toAlice))[0]
	r.wantWoken("b")
	r.wantFirst(true, "b")
	younger := r.submit("server", message("b", 2, 2, toAlice))[0]
	r.Done("b") // nothing of what is submitted
	if !older.holds() || younger.holds() {
		t.Error("the younger message has passed")
	}
	for _, p := range []*Place{older, younger} {
		if p.Release(); p == older && !younger.holds() {
			t.Error("the conversation is not passed on")
		}
		p.Done()
		p.ReleaseSlot()
		p.Done() // once is enough
	}
	for _, n := range []string{"a", "b"} {
		r.Delete(named(n), "", "")
	}
	r.wantEmpty()
}

// submit has the bot speak.
func (r *recorder) submit(server string, m Message) []*Place {
	var conversations []Conversation
	for _, to := range m.Recipients {
		conversations = append(conversations, ConversationOf(named(server), bot, to))
	}
	return r.Submit(Submission{
		UID: m.UID, Flow: FlowOf(m.Key, named(server)), Order: m.Order, Conversations: conversations, Wake: func(int) {},
	})
}

// BenchmarkMessage is the cost of a message to as many as it may name.
func BenchmarkMessage(b *testing.B) {
	var to []v1alpha1.Recipient
	for id := range uint32(v1alpha1.MaxRecipients) {
		to = append(to, user(id))
	}
	q := New(func(types.NamespacedName) {})
	for n := 0; b.Loop(); n++ {
		m := message("m", 1, n, to...)
		q.Add(m)
		q.Admit(m.UID, m.Server, len(to))
		q.Done(m.UID)
		q.Delete(m.Key, m.UID, m.ResourceVersion)
	}
}

// BenchmarkConversation is the cost of each of 10,000 messages in one conversation.
func BenchmarkConversation(b *testing.B) {
	q := New(func(types.NamespacedName) {})
	for n := 0; b.Loop(); n++ {
		m := message(fmt.Sprint(n), n, n, toGroup)
		q.Add(m)
		if n >= 10_000 {
			oldest := message(fmt.Sprint(n-10_000), 0, 0)
			q.Admit(m.UID, m.Server, 1)
			q.Delete(oldest.Key, "", "")
		}
	}
}

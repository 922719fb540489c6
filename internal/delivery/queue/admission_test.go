package queue

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// quotas is a Queue with three slots for each server, and messages to nobody in common.
type quotas struct {
	*recorder
	*testing.T
	places map[string][]*Place // by server
}

func newQuotas(t *testing.T) *quotas {
	q := &quotas{recorder: newRecorder(t), T: t, places: map[string][]*Place{}}
	q.slots = 3
	return q
}

// wantCalled checks who is woken, in order.
func (q *quotas) wantCalled(did string, want []string) {
	q.Helper()
	if !slices.Equal(q.woken, want) {
		q.Errorf("%s: woken %q, want %q", did, q.woken, want)
	}
	q.woken = nil
}

func (q *quotas) admit(server, name string, n int, want bool, wantCalled ...string) {
	q.Helper()
	q.Add(Message{Key: named(name), UID: types.UID(name), Order: Order{Name: name}})
	if got := q.Admit(types.UID(name), named(server), n); got != want {
		q.Errorf("%s at %s: admitted: %v", name, server, got)
	}
	q.wantCalled(name+" at "+server, wantCalled)
}

func (q *quotas) submit(server, name string, n int, wantCalled ...string) {
	q.Helper()
	m := Message{UID: types.UID(name), Order: Order{Name: name}}
	for id := range n {
		m.Recipients = append(m.Recipients, user(uint32(id)))
	}
	q.places[server] = append(q.places[server], q.recorder.submit(server, m)...)
	q.wantCalled("submit "+name, wantCalled)
}

// end releases a slot of the server.
func (q *quotas) end(server string, wantCalled ...string) {
	q.Helper()
	p := q.places[server][0]
	q.places[server] = q.places[server][1:]
	p.Release()
	p.ReleaseSlot()
	q.wantCalled("end at "+server, wantCalled)
}

func (q *quotas) done(name string, wantCalled ...string) {
	q.Helper()
	q.Done(types.UID(name))
	q.wantCalled("done "+name, wantCalled)
}

// TestAdmission admits messages for which there are slots, and wakes the others when
// there are, the oldest first and each once.
func TestAdmission(t *testing.T) {
	for name, walk := range map[string]func(q *quotas){
		"the oldest first": func(q *quotas) {
			q.admit("s", "a", 2, true)
			q.submit("s", "a", 2)
			q.admit("s", "d", 2, false)
			q.admit("s", "b", 1, true) // it is older, and fits
			q.submit("s", "b", 1)
			q.admit("s", "e", 1, false)
			q.admit("s", "c", 3, false)
			q.admit("s", "c", 3, false) // asked again, it waits once
			q.end("s")
			q.end("s")
			q.end("s", "c") // what comes behind it does not fit
			q.admit("s", "c", 3, true)
			q.submit("s", "c", 3)
			q.end("s")
			q.end("s", "d")
			q.end("s") // it has been woken
			q.admit("s", "e", 1, false)
			q.admit("s", "d", 2, true, "e")
			q.submit("s", "d", 2)
			q.admit("s", "e", 1, true)
			q.submit("s", "e", 1)
			q.end("s")
			q.end("s")
			q.end("s")
		},
		"servers have slots of their own": func(q *quotas) {
			q.admit("s", "a", 3, true)
			q.admit("s", "b", 1, false)
			q.admit("t", "c", 9, true) // alone, whatever its size
			q.done("c")
			q.done("a", "b")
			q.done("b")
		},
		"what is promised is taken": func(q *quotas) {
			q.admit("s", "a", 2, true)
			q.admit("s", "b", 2, false)
			q.submit("s", "a", 1, "b") // fewer than it had asked for
			q.admit("s", "b", 2, true)
			q.done("b")
			q.end("s")
		},
		"what was woken does not come": func(q *quotas) {
			q.admit("s", "a", 3, true)
			q.admit("s", "b", 1, false)
			q.admit("s", "c", 1, false)
			q.done("a", "b")
			q.done("b", "c")
			q.admit("s", "c", 1, true)
			q.done("c")
		},
		"what comes is not submitted": func(q *quotas) {
			q.admit("s", "a", 3, true)
			q.submit("s", "a", 3)
			q.admit("s", "b", 3, false)
			q.admit("s", "c", 3, false)
			q.end("s")
			q.end("s")
			q.end("s", "b")
			q.admit("s", "b", 3, true)
			q.done("b", "c")
			q.done("c")
		},
		"an older one comes between": func(q *quotas) {
			q.admit("s", "a", 3, true)
			q.submit("s", "a", 3)
			q.admit("s", "c", 3, false)
			q.end("s")
			q.end("s")
			q.end("s", "c")
			q.admit("s", "b", 3, true)
			q.submit("s", "b", 3)
			q.admit("s", "c", 3, false)
			q.end("s")
			q.end("s")
			q.end("s", "c")
			q.done("c")
		},
		"made again for another server": func(q *quotas) {
			for _, s := range []string{"s", "t"} {
				q.admit(s, s, 3, true)
				q.submit(s, s, 3)
			}
			q.admit("s", "m", 1, false)
			q.admit("s", "n", 1, false)
			q.admit("t", "other", 1, false)
			q.end("s", "m")
			q.admit("t", "m", 1, false, "n")
			q.admit("s", "n", 1, true)
			q.done("n")
			q.end("t", "m")
			q.done("m", "other")
			q.done("other")
			q.end("s")
			q.end("s")
			q.end("t")
			q.end("t")
		},
		"what was woken has to wait for an older one": func(q *quotas) {
			q.admit("s", "a", 3, true)
			q.Add(Message{Key: named("m"), UID: "m", Order: Order{Name: "m"}, Recipients: []v1alpha1.Recipient{toGroup}})
			q.admit("s", "m", 1, false)
			q.admit("s", "n", 1, false)
			q.done("a", "m")
			q.Add(Message{Key: named("b"), UID: "b", Order: Order{Name: "b"}, Recipients: []v1alpha1.Recipient{toGroup}})
			q.admit("s", "m", 1, false, "n")
			q.admit("s", "n", 1, true)
			q.done("n")
			q.done("b", "m")
			q.done("m")
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQuotas(t)
			walk(q)
			for _, key := range slices.Collect(maps.Keys(q.uids)) {
				q.Delete(key, "", "")
			}
			q.wantCalled("end", nil)
			q.wantEmpty()
		})
	}
}

// TestOneIsWoken: however many slots are released at once, and however slowly those come
// who are woken, each is woken once, and in order.
func TestOneIsWoken(t *testing.T) {
	const slots, waiting = 1000, 4000
	q := newQuotas(t)
	q.slots = slots
	q.submit("s", "full", slots)
	for n := range waiting {
		q.admit("s", fmt.Sprintf("m%05d", n), 1, false)
	}
	for _, p := range q.places["s"] {
		p.Release()
		p.ReleaseSlot()
	}
	var admitted []string
	for len(q.woken) > 0 {
		if len(q.woken) > 1 {
			t.Fatalf("woken at once: %v", q.woken)
		}
		name := q.woken[0]
		q.woken = nil
		if !q.Admit(types.UID(name), named("s"), 1) {
			t.Fatalf("%s was woken, and is not admitted", name)
		}
		admitted = append(admitted, name)
		woken := q.woken
		q.woken = nil
		q.recorder.submit("s", Message{UID: types.UID(name), Recipients: []v1alpha1.Recipient{toGroup}})
		q.woken = append(woken, q.woken...)
	}
	if len(admitted) != slots || !slices.IsSorted(admitted) {
		t.Errorf("%d were admitted, want %d in order", len(admitted), slots)
	}
}

// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// do takes one step, such as "admit x/m s 2 yes wakes n": m of namespace x asks for two slots through server s, has
// them, and n is woken. Other steps are "add m", which reserves a place, "submit m s 2", "end s", which ends a
// recipient of the server's oldest message, "long s", of which one waits for long, "keep m" and "done m".
func (r *recorder) do(step string, places map[string][]*Place) {
	r.t.Helper()
	r.woken = nil
	what, wakes, _ := strings.Cut(step, " wakes ")
	f := append(strings.Fields(what), "", "", "")
	name, server, want := f[1], f[2], f[4]
	n, _ := strconv.Atoi(f[3])
	m := Message{Key: named(name), UID: types.UID(name), Order: Order{Name: name}}
	if namespace, short, ok := strings.Cut(name, "/"); ok {
		m.Key = types.NamespacedName{Namespace: namespace, Name: short}
	}
	switch f[0] {
	case "add":
		m.Recipients = []v1alpha1.Recipient{toGroup}
		r.Add(m)
	case "admit":
		r.Add(m)
		if r.Admit(m.UID, named(server), n) != (want == "yes") {
			r.t.Errorf("%s: not so", step)
		}
	case "submit":
		for id := range n {
			m.Recipients = append(m.Recipients, user(uint32(id)))
		}
		places[server] = append(places[server], r.submit(server, m)...)
	case "end":
		p := places[name][0]
		places[name] = places[name][1:]
		p.Done()
	case "long":
		n, _ := strconv.Atoi(server)
		places[name][n].Release()
		places[name][n].ReleaseSlot()
	case "keep":
		r.Keep(m.UID)
	case "done":
		r.Done(m.UID)
	}
	if !slices.Equal(r.woken, strings.Fields(wakes)) {
		r.t.Errorf("%s: wakes %q", step, r.woken)
	}
}

// TestAdmission admits messages for which there are slots, and wakes the others when there are, once. A server has
// three slots for a namespace, as long as it is the only one.
func TestAdmission(t *testing.T) {
	for name, steps := range map[string][]string{
		"the oldest first": {
			"admit a s 2 yes", "submit a s 2", "admit d s 2 no",
			"admit b s 1 yes", "submit b s 1", // it is older, and fits
			"admit e s 1 no", "admit c s 3 no", "admit c s 3 no", // asked again, it waits once
			"end s", "end s", "end s wakes c", // what comes behind it does not fit
			"admit c s 3 yes", "submit c s 3", "end s", "end s wakes d", "end s wakes e",
			"admit e s 1 yes", "admit d s 2 yes", "submit d s 2", "submit e s 1", "end s", "end s", "end s",
		},
		"servers have slots of their own": {
			"admit a s 3 yes", "admit b s 1 no", "admit c t 9 yes", // whatever its size
			"done c", "done a wakes b", "done b",
		},
		"namespaces have slots of their own": {
			"admit x/a s 3 yes", "submit x/a s 3", "admit x/b s 1 no", "admit x/c s 1 no",
			"admit y/d s 9 yes", "submit y/d s 9", "admit y/e s 1 no",
			"end s", "end s wakes b", "done x/b wakes c", "done x/c", "done y/e",
			"end s", "end s", "end s", "end s", "end s", "end s", "end s", "end s", "end s", "end s",
		},
		"namespaces take turns": {
			"admit x/a s 21 yes", "admit y/b s 21 yes", "admit z/c s 21 yes", // all that there are
			"admit x/d s 1 no", "admit x/e s 1 no", "admit y/f s 1 no", "admit y/g s 1 no", "admit z/h s 1 no",
			"done x/a wakes d", "done y/b wakes f", "done z/c wakes h e g",
			"done x/d", "done x/e", "done y/f", "done y/g", "done z/h",
		},
		"all slots are taken": {
			"admit x/a s 63 yes", "admit y/b s 1 no", "admit z/c s 9 no", "done x/a wakes b c", "done y/b", "done z/c",
		},
		"what is promised is taken": {
			"admit a s 2 yes", "admit b s 2 no", "submit a s 1 wakes b", // fewer than it had asked for
			"admit b s 2 yes", "done b", "end s",
		},
		"what was woken does not come": {
			"admit a s 3 yes", "admit b s 3 no", "admit c s 1 no", "done a wakes b", "done b wakes c",
			"admit c s 1 yes", "done c",
		},
		"what was woken waits for something else": {
			"admit a s 3 yes", "admit b s 3 no", "admit c s 1 no", "done a wakes b", "keep b wakes c",
			"keep c", "admit c s 1 yes", "keep c", "admit b s 3 no", "done c wakes b", "done b",
		},
		"what comes is not submitted": {
			"admit a s 3 yes", "submit a s 3", "admit b s 3 no", "admit c s 3 no",
			"end s", "end s", "end s wakes b", "admit b s 3 yes", "done b wakes c", "done c",
		},
		"an older one comes between": {
			"admit a s 3 yes", "submit a s 3", "admit c s 3 no", "end s", "end s", "end s wakes c",
			"admit b s 3 no", "admit c s 3 yes", "submit c s 3", "end s", "end s", "end s wakes b", "done b",
		},
		"fewer are left when it asks again": {
			"admit a s 3 yes", "admit b s 2 no", "admit a s 1 yes wakes b", "done a", "done b",
		},
		"more than were promised": {
			"admit a s 3 yes", "admit b s 2 no", "admit c s 1 no", "done a wakes b c", "admit b s 3 no", "done c wakes b", "done b",
		},
		"made again for another server": {
			"admit s s 3 yes", "submit s s 3", "admit m s 1 no", "admit n s 2 no", "end s wakes m",
			"admit m t 9 yes", "done m", "end s wakes n", "done n", "end s",
		},
		"what was woken has to wait for an older one": {
			"admit a s 3 yes", "add m", "admit m s 3 no", "admit n s 1 no", "done a wakes m",
			"add b", "admit m s 3 no wakes n", "admit n s 1 yes", "done n", "done b wakes m", "done m",
		},
		"what waits for long holds no slot, until there is too much of it": {
			"admit a s 3 yes", "submit a s 3", "admit b s 3 no", "long s 0", "long s 1", "long s 2 wakes b", "submit b s 3",
			"admit c s 1 no", "admit d t 1 yes", "admit y/e s 1 yes", "long s 3", "long s 4", "long s 5",
			"end s", "end s wakes c", "done c", "done d", "done y/e", "end s", "end s", "end s", "end s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, places := newRecorder(t), map[string][]*Place{}
			r.slots = newSlots(3*21, 4*3)
			for _, step := range steps {
				r.do(step, places)
			}
			r.woken = nil
			for _, uid := range slices.Collect(maps.Values(r.uids)) {
				r.Delete(r.pending[uid].Key, "", "")
			}
			r.wantWoken()
			r.wantEmpty()
		})
	}
}

// TestWokenOnce: however many slots are released at once, and however slowly those come that are woken, each is woken
// once, in order, and admitted.
func TestWokenOnce(t *testing.T) {
	const slots, waiting = 1000, 4000
	r, places := newRecorder(t), map[string][]*Place{}
	r.slots = newSlots(slots*21, slots)
	r.do(fmt.Sprintf("submit full s %d", slots), places)
	for n := range waiting {
		r.do(fmt.Sprintf("admit m%05d s 1 no", n), places)
	}
	r.woken = nil
	for _, p := range places["s"] {
		p.Done()
	}
	if len(r.woken) != slots || !slices.IsSorted(r.woken) {
		t.Errorf("%d were woken, want %d in order", len(r.woken), slots)
	}
	for _, name := range slices.Clone(r.woken) {
		if !r.Admit(types.UID(name), named("s"), 1) {
			t.Fatalf("%s was woken, and is not admitted", name)
		}
		r.submit("s", Message{Key: named(name), UID: types.UID(name), Recipients: []v1alpha1.Recipient{toGroup}})
	}
	if len(r.woken) != slots {
		t.Errorf("%d were woken in all", len(r.woken))
	}
}

// TestNewcomer: a namespace that comes late is admitted at once, although others have all that they can get, through
// servers that are away, and thousands waiting, also for its recipients.
func TestNewcomer(t *testing.T) {
	r := newRecorder(t)
	admit := func(namespace, server string, n int, to ...v1alpha1.Recipient) bool {
		key := types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("%s-%d", server, len(r.pending))}
		m := Message{Key: key, UID: types.UID(key.String()), Server: named(server), Recipients: to}
		m.Order = Order{Created: time.Unix(int64(len(r.pending)), 0)}
		r.Add(m)
		return r.Admit(m.UID, named(server), n)
	}
	for tenant := range 10 {
		for n := range 200 {
			admit(fmt.Sprint("bulk-", tenant), fmt.Sprint("server-", n%5), 1000, user(uint32(n)))
		}
		if tenant == 0 && !admit("bulk-0", "another server", 1) {
			t.Error("a namespace is not admitted to another server")
		}
	}
	if used := r.slots.underWay.Used(); used > maxUnderWay {
		t.Errorf("%d are under way", used)
	}
	for n := range 10 {
		if !admit(fmt.Sprint("newcomer-", n), "server-0", 1, user(uint32(5*n))) {
			t.Errorf("newcomer %d is not admitted", n)
		}
	}
}

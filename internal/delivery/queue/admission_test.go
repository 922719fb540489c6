// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// do takes one step, such as "admit m s 2 yes wakes n": m asks server s for two slots, has
// them, and n is woken. Other steps are "add m", which reserves a place, "submit m s 2",
// "end s", which ends a recipient of the server's oldest message, and "done m".
func (r *recorder) do(step string, places map[string][]*Place) {
	r.t.Helper()
	r.woken = nil
	what, wakes, _ := strings.Cut(step, " wakes ")
	f := append(strings.Fields(what), "", "", "")
	name, server, want := f[1], f[2], f[4]
	n, _ := strconv.Atoi(f[3])
	m := Message{Key: named(name), UID: types.UID(name), Order: Order{Name: name}}
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
		p.Release()
		p.ReleaseSlot()
	case "done":
		r.Done(m.UID)
	}
	if !slices.Equal(r.woken, strings.Fields(wakes)) {
		r.t.Errorf("%s: wakes %q", step, r.woken)
	}
}

// TestAdmission admits messages for which there are slots, and wakes the others when
// there are, the oldest first and each once. A server has three.
func TestAdmission(t *testing.T) {
	for name, steps := range map[string][]string{
		"the oldest first": {
			"admit a s 2 yes", "submit a s 2", "admit d s 2 no",
			"admit b s 1 yes", "submit b s 1", // it is older, and fits
			"admit e s 1 no", "admit c s 3 no", "admit c s 3 no", // asked again, it waits once
			"end s", "end s", "end s wakes c", // what comes behind it does not fit
			"admit c s 3 yes", "submit c s 3", "end s", "end s wakes d", "end s", // it has been woken
			"admit e s 1 no", "admit d s 2 yes wakes e", "submit d s 2",
			"admit e s 1 yes", "submit e s 1", "end s", "end s", "end s",
		},
		"servers have slots of their own": {
			"admit a s 3 yes", "admit b s 1 no", "admit c t 9 yes", // alone, whatever its size
			"done c", "done a wakes b", "done b",
		},
		"what is promised is taken": {
			"admit a s 2 yes", "admit b s 2 no", "submit a s 1 wakes b", // fewer than it had asked for
			"admit b s 2 yes", "done b", "end s",
		},
		"what was woken does not come": {
			"admit a s 3 yes", "admit b s 1 no", "admit c s 1 no", "done a wakes b", "done b wakes c",
			"admit c s 1 yes", "done c",
		},
		"what comes is not submitted": {
			"admit a s 3 yes", "submit a s 3", "admit b s 3 no", "admit c s 3 no",
			"end s", "end s", "end s wakes b", "admit b s 3 yes", "done b wakes c", "done c",
		},
		"an older one comes between": {
			"admit a s 3 yes", "submit a s 3", "admit c s 3 no", "end s", "end s", "end s wakes c",
			"admit b s 3 yes", "submit b s 3", "admit c s 3 no", "end s", "end s", "end s wakes c", "done c",
		},
		"made again for another server": {
			"admit s s 3 yes", "submit s s 3", "admit t t 3 yes", "submit t t 3",
			"admit m s 1 no", "admit n s 1 no", "admit other t 1 no", "end s wakes m",
			"admit m t 1 no wakes n", "admit n s 1 yes", "done n", "end t wakes m",
			"done m wakes other", "done other", "end s", "end s", "end t", "end t",
		},
		"what was woken has to wait for an older one": {
			"admit a s 3 yes", "add m", "admit m s 1 no", "admit n s 1 no", "done a wakes m",
			"add b", "admit m s 1 no wakes n", "admit n s 1 yes", "done n", "done b wakes m", "done m",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, places := newRecorder(t), map[string][]*Place{}
			r.slots = 3
			for _, step := range steps {
				r.do(step, places)
			}
			r.woken = nil
			for _, key := range slices.Collect(maps.Keys(r.uids)) {
				r.Delete(key, "", "")
			}
			r.wantWoken()
			r.wantEmpty()
		})
	}
}

// TestOneIsWoken: however many slots are released at once, and however slowly those come
// who are woken, each is woken once, and in order.
func TestOneIsWoken(t *testing.T) {
	const slots, waiting = 1000, 4000
	r, places := newRecorder(t), map[string][]*Place{}
	r.slots = slots
	r.do(fmt.Sprintf("submit full s %d", slots), places)
	for n := range waiting {
		r.do(fmt.Sprintf("admit m%05d s 1 no", n), places)
	}
	for _, p := range places["s"] {
		p.Release()
		p.ReleaseSlot()
	}
	var admitted []string
	for len(r.woken) > 0 {
		if len(r.woken) > 1 {
			t.Fatalf("woken at once: %v", r.woken)
		}
		name := r.woken[0]
		r.woken = nil
		if !r.Admit(types.UID(name), named("s"), 1) {
			t.Fatalf("%s was woken, and is not admitted", name)
		}
		admitted = append(admitted, name)
		r.submit("s", Message{UID: types.UID(name), Recipients: []v1alpha1.Recipient{toGroup}})
	}
	if len(admitted) != slots || !slices.IsSorted(admitted) {
		t.Errorf("%d were admitted, want %d in order", len(admitted), slots)
	}
}

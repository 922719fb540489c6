// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"maps"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// usualTime is after what time an answer of the fake is late.
const usualTime = 500 * time.Millisecond

// silent is a send that is stored, as far as reads show after a time, and not answered.
func silent(storedAfter time.Duration) reply {
	return reply{store: true, err: dbproxy.ErrNoAnswer, takes: clientTimeout, storedAfter: storedAfter}
}

// TestEarlyLook: a row that is found while the answer is late settles the send. One that is not found proves nothing.
func TestEarlyLook(t *testing.T) {
	untoken := func(spec *Task) {
		spec.Token = false
		spec.Recipients[0].CreateTime = uint32(spec.Order.Created.Unix())
	}
	proved := clientTimeout + settle + lag
	runEach(t, map[string]struct {
		reply reply
		to    v1alpha1.Recipient
		edit  func(*Task)
		want  result
		// from and to bound the time until the end.
		atLeast, atMost time.Duration
	}{
		"stored":                 {silent(0), toAlice, nil, adopted, usualTime, usualTime + time.Second},
		"stored, group":          {silent(0), toGroup, nil, adopted, usualTime, usualTime + time.Second},
		"stored, without token":  {silent(0), toAlice, untoken, adopted, usualTime, usualTime + time.Second},
		"stored after two looks": {silent(2 * time.Second), toAlice, nil, adopted, 2 * time.Second, 6 * time.Second},
		"stored by another thread, as late as is possible": {
			silent(clientTimeout + settle - time.Second), toAlice, nil, adopted, clientTimeout, proved + time.Second},
		"not stored": {lostBefore, toAlice, nil, routed(2), proved, proved + 5*time.Second},
		"answered after a look": {reply{takes: 3 * time.Second, store: true, storedAfter: 3 * time.Second}, toAlice, nil,
			routed(1), 3 * time.Second, 4 * time.Second},
	}, func(h *harness, tc struct {
		reply           reply
		to              v1alpha1.Recipient
		edit            func(*Task)
		want            result
		atLeast, atMost time.Duration
	},
	) {
		h.talk.replies, h.talk.lateAfter = []reply{tc.reply}, usualTime
		spec := h.task("m", tc.to)
		if tc.edit != nil {
			tc.edit(&spec)
		}
		began := time.Now()
		p := h.deliver(spec, 2*time.Minute, tc.want)
		h.wantTook(began, tc.atLeast, tc.atMost)
		if p.Attempts != int32(tc.want.sends) {
			h.t.Errorf("%d attempts are recorded, want %d", p.Attempts, tc.want.sends)
		}
		if sends := h.talk.sends; len(sends) > 1 && sends[1].at.Sub(sends[0].at) < proved {
			h.t.Errorf("sent again after %v: its absence is proved after %v", sends[1].at.Sub(sends[0].at), proved)
		}
	})
}

// TestNoEarlyLook: a send that is answered in the usual time is not looked for.
func TestNoEarlyLook(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies, h.talk.lateAfter = []reply{{store: true, takes: usualTime}}, usualTime
		h.deliver(h.task("m", toAlice), time.Minute, routed(1))
		if want := map[string]int{"users": 1, "byID": 1}; !maps.Equal(h.talk.reads, want) {
			h.t.Errorf("asked %v, want %v", h.talk.reads, want)
		}
	})
}

// TestEarlyLookAndSegments: the segments of a text that was found early are sent once each, and at once.
func TestEarlyLookAndSegments(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies, h.talk.lateAfter = []reply{silent(0)}, usualTime
		spec := h.split(0)
		began := time.Now()
		h.submit(spec)
		wantProgress(h.t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		h.wantCounts(3, 3, 3)
		h.wantTook(began, usualTime, 3*time.Second)
	})
}

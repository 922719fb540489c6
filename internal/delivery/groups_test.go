// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// say stores a message of a member of the group.
func (f *talk) say(id, from uint32, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep(id, dbproxy.Message{
		From: from, To: group, CreateTime: uint32(at.Unix()), Type: groupText, Data: f.keys.Current.Encrypt([]byte("x")),
	}, time.Now())
}

// TestGroupsInDoubt: where the store can be read, no doubt about a group lasts, even if its members have changed.
func TestGroupsInDoubt(t *testing.T) {
	hourAgo := func() time.Time { return time.Now().Add(-time.Hour) }
	unknownGroup := func(f *talk) { delete(f.groups, group) }
	attempted := func(s *Task) {
		recordedAs(Progress{State: v1alpha1.StateInDoubt, Reason: v1alpha1.ReasonNoAnswer, Attempts: 1, DoubtSince: time.Now()})(s)
	}
	type scenario struct {
		spec func(*Task)
		talk func(*talk)
		// stored: the message is in the store.
		stored bool
		// recorded are rows of finished messages.
		recorded []RecordedRow
		want     result
		within   time.Duration
	}
	rows := func(n int) counts { return counts{rows: n} }
	const earlier = PeerPatience + settle + lag
	failedOf := func(reason string, n int) result { return result{v1alpha1.StateFailed, reason, rows(n)} }
	notMember, notFound := v1alpha1.ReasonSenderNotInGroup, v1alpha1.ReasonGroupNotFound
	runEach(t, map[string]scenario{
		"no member, no rows": {
			talk: withMembers(alice, bob), want: failedOf(notMember, 0), within: earlier + 2*lag,
		},
		"no member, older rows": {
			talk: all(withMembers(alice, bob), func(f *talk) { f.say(5, alice, hourAgo()) }),
			want: failedOf(notMember, 1), within: earlier + 2*lag,
		},
		"no member, newer rows too": {
			talk: all(withMembers(alice, bob), func(f *talk) {
				f.say(5, alice, hourAgo())
				f.say(6, alice, time.Now().Add(5*time.Second))
			}),
			want: failedOf(notMember, 2), within: earlier + 2*lag,
		},
		"no member, and it was stored": {
			talk: withMembers(alice, bob), stored: true, want: result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{0, 2, 1}},
			within: earlier + time.Second,
		},
		"only the last member joined early": {
			talk: all(withMembers(10, 11, 12, 13, 14, 15, 16), func(f *talk) {
				late := uint32(time.Now().Add(time.Hour).Unix())
				f.joinedAt = map[uint32]uint32{10: late, 11: late, 12: late, 13: late, 14: late, 15: late}
				f.say(5, alice, hourAgo())
			}),
			want: failedOf(notMember, 1), within: earlier + 2*time.Minute,
		},
		"joined late": {
			talk: func(f *talk) {
				f.joinedAt = map[uint32]uint32{bot: uint32(time.Now().Add(20 * time.Second).Unix())}
				f.say(5, alice, hourAgo())
			},
			want: result{v1alpha1.StateRouted, "", counts{1, 2, 1}}, within: earlier + 2*time.Second,
		},
		"all joined late, and the newest row is recorded": {
			talk: func(f *talk) {
				late := uint32(time.Now().Add(20 * time.Second).Unix())
				f.joinedAt = map[uint32]uint32{bot: late, alice: late}
				f.say(5, alice, hourAgo())
			},
			recorded: []RecordedRow{{Sender: bot, Recipient: toGroup, ID: 5, By: time.Unix(1, 0)}},
			want:     failedOf(v1alpha1.ReasonOutcomeUnknown, 1), within: InDoubtLimit + 2*time.Minute,
		},
		"unknown group, no rows":        {talk: unknownGroup, want: failedOf(notFound, 0), within: earlier + 2*lag},
		"unknown group, rows":           {talk: all(unknownGroup, func(f *talk) { f.say(5, alice, hourAgo()) }), want: failedOf(notFound, 1), within: earlier + 2*lag},
		"unknown group, attempted":      {spec: attempted, talk: all(unknownGroup, func(f *talk) { f.say(5, alice, hourAgo()) }), want: failedOf(notFound, 1), within: earlier + 2*lag},
		"unknown group, no row for one": {talk: unknownGroup, stored: true, want: failedOf(notFound, 2), within: earlier + 2*lag},
	}, func(h *harness, tc scenario) {
		spec := h.task("m", toGroup)
		if tc.talk(h.talk); tc.stored {
			h.talk.say(5, alice, hourAgo())
			h.store(spec)
		}
		h.talk.groups[group+messageTables] = []uint32{bot} // the directory shows something
		for _, r := range tc.recorded {
			h.noteRecorded(r)
		}
		takenOver(&spec)
		if tc.spec != nil {
			tc.spec(&spec)
		}
		began := time.Now()
		p := h.deliver(spec, tc.within+time.Second, tc.want)
		h.wantTook(began, 0, tc.within)
		if strings.Contains(p.Message, "nothing") {
			h.t.Errorf("it says %q", p.Message)
		}
	})
}

// TestGroupHidden: where nobody can read the group, nothing is said of it.
func TestGroupHidden(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toGroup, "a")
		withMembers(alice, bob)(h.talk)
		h.talk.hidden = func(c queue.Conversation) bool { return c.High == group }
		spec := h.task("m", toGroup)
		takenOver(&spec)
		h.submit(spec)
		p := h.await("m", 2*InDoubtLimit).Recipients[0]
		wantProgress(t, p, v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
		if p.Message != unknownBecause(whyMissing(101)) {
			t.Error(p.Message)
		}
	})
}

// TestSecondLook delays nobody but its recipient.
func TestSecondLook(t *testing.T) {
	unknown := v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: 99}
	runEach(t, map[string][]v1alpha1.Recipient{
		"first":       {unknown, toGroup},
		"last":        {toGroup, unknown},
		"beside user": {toAlice, unknown, user(99), toGroup},
	}, func(h *harness, to []v1alpha1.Recipient) {
		began := time.Now()
		h.submit(h.task("m", to...))
		h.await("m", time.Minute)
		for _, s := range h.talk.sends {
			if took := s.at.Sub(began); took > 0 {
				h.t.Errorf("%d was sent to after %v", s.To, took)
			}
		}
		h.wantTook(began, lag, lag)
	})
}

// TestKeySeenByOneMember: a message with the key is found where a single member sees it, and a new member's first
// message is sent where none does.
func TestKeySeenByOneMember(t *testing.T) {
	runEach(t, map[string]bool{"one sees it": true, "nobody does": false}, func(h *harness, seen bool) {
		members, joined := []uint32{bot}, uint32(time.Now().Add(time.Minute).Unix())
		h.talk.joinedAt = map[uint32]uint32{bot: joined}
		for id := range uint32(100) {
			members = append(members, 100+id)
			h.talk.joinedAt[100+id] = joined
		}
		withMembers(members...)(h.talk)
		spec := h.keyed("m", "hello", toGroup)
		if seen {
			delete(h.talk.joinedAt, 177)
			h.store(spec)
		} else {
			h.talk.say(5, alice, time.Now())
		}
		advance(5 * time.Minute)
		want := result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{0, 1, 1}}
		if !seen {
			want = result{v1alpha1.StateRouted, "", counts{1, 2, 1}}
		}
		h.deliver(spec, time.Minute, want)
	})
}

// TestKeyedAfterJoiningAgain: a message that was sent with the key is found where the sender has joined the group again,
// and sees younger rows only.
func TestKeyedAfterJoiningAgain(t *testing.T) {
	runEach(t, map[string]int{"one younger row": 1, "more than one list": 2 * scanCount}, func(h *harness, younger int) {
		h.submit(h.keyed("first", "hello", toGroup))
		h.Forget("first")
		advance(2 * attemptTTL)
		h.talk.change(func() { h.talk.joinedAt = map[uint32]uint32{bot: uint32(time.Now().Unix())} })
		for n := range younger {
			h.talk.say(uint32(500+n), alice, time.Now())
		}
		advance(2 * attemptTTL)
		h.submit(h.keyed("second", "hello", toGroup))
		wantProgress(h.t, h.await("second", time.Minute).Recipients[0], v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted)
		h.wantRows(1 + younger)
	})
}

// TestMemberIsShownAConcealedRow: one of many members is shown a row that may be the message. It counts in later searches,
// which ask others.
func TestMemberIsShownAConcealedRow(t *testing.T) {
	run(t, func(h *harness) {
		concealed := dbproxy.Message{From: bot, To: group, Type: groupText, CreateTime: uint32(time.Now().Unix())}
		concealed.Data = key(t, 9).Encrypt([]byte("x"))
		h.talk.keep(5, concealed, time.Now())
		advance(time.Minute)
		members, joined := []uint32{bot, alice}, uint32(time.Now().Unix())
		h.talk.joinedAt = map[uint32]uint32{bot: joined}
		for id := range uint32(2 * membersPerSearch) {
			members = append(members, 100+id)
			h.talk.joinedAt[100+id] = joined
		}
		withMembers(members...)(h.talk)
		h.talk.say(6, alice, time.Now())
		advance(time.Minute)
		h.submit(h.keyed("m", "hello", toGroup))
		p := h.await("m", 2*InDoubtLimit).Recipients[0]
		wantProgress(t, p, v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
		if h.wantRows(2); p.Message != unknownBecause(whyConcealed(5, true)) {
			t.Error(p.Message)
		}
	})
}

// TestKeyedAlone: a sender that is the group's only member has nobody else to ask.
func TestKeyedAlone(t *testing.T) {
	run(t, func(h *harness) {
		withMembers(bot)(h.talk)
		h.deliverAll(toGroup, "a")
		h.deliver(h.keyed("m", "hello", toGroup), time.Minute, result{v1alpha1.StateRouted, "", counts{2, 2, 2}})
	})
}

// TestLatestIDRepeated: after a loss of db_proxy's counters the message has the id of the newest row that is known.
func TestLatestIDRepeated(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toGroup, "a")
		advance(time.Minute)
		h.talk.replies = []reply{1: lostAfter}
		h.talk.change(func() { h.talk.joined = uint32(time.Now().Add(10 * time.Second).Unix()) })
		h.submit(h.task("m", toGroup))
		h.talk.change(func() { *h.talk.rows[1].MsgId = h.talk.rows[0].GetMsgId() })
		p := h.await("m", 2*InDoubtLimit).Recipients[0]
		wantProgress(t, p, v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
		h.wantRows(2)
	})
}

// TestMembersAreNotKept: of a group with a million members, a snapshot keeps two, and a search those that it asks.
func TestMembersAreNotKept(t *testing.T) {
	hostile := func(senderAt int) *wire.GroupInfo {
		members := make([]uint32, 1_000_000)
		for i := range members {
			members[i] = math.MaxUint32 - uint32(i)
		}
		if senderAt >= 0 {
			members[senderAt] = bot
		}
		return &wire.GroupInfo{
			GroupId: proto.Uint32(group), GroupName: proto.String(string(make([]byte, 1<<20))),
			GroupCreatorId: proto.Uint32(math.MaxUint32 - 500_000), GroupMemberList: members,
		}
	}
	for name, at := range map[string]int{"no member": -1, "first": 0, "last": 999_999} {
		t.Run(name, func(t *testing.T) {
			g := hostile(at)
			keepWitnesses(bot)(g)
			s := DirectorySnapshot{Users: map[uint32]*wire.UserInfo{bot: {}}, Groups: map[uint32]*wire.GroupInfo{group: g}}
			if shown := s.shows(toGroup, bot); shown != (at >= 0) {
				t.Errorf("the sender is a member: %v", shown)
			}
			if s.otherMember(bot) == nil || cap(g.GroupMemberList) > 4 || proto.Size(g) > 50 {
				t.Errorf("%d bytes, %d members are kept", proto.Size(g), cap(g.GroupMemberList))
			}
			q := &question{task: Task{Sender: bot}, to: recipientState{Progress: Progress{Recipient: toGroup}}}
			found := q.readers(hostile(at), true)
			wantReaders, wantOthers := membersPerSearch, 1_000_000
			if at >= 0 {
				wantReaders, wantOthers = wantReaders+1, wantOthers-1
			}
			if len(found.readers) != wantReaders || cap(found.readers) > 2*wantReaders || found.others != wantOthers ||
				found.readers[0] != math.MaxUint32-500_000 {
				t.Errorf("%d readers, %d others", len(found.readers), found.others)
			}
		})
	}
}

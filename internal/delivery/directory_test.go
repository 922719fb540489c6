// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// mute is a directory that shows no users.
type mute struct{ *talk }

func (m mute) Users(context.Context, uint32, []uint32) (map[uint32]*wire.UserInfo, error) {
	return map[uint32]*wire.UserInfo{}, nil
}

// TestFetchDirectory: an answer without users is no evidence that a group is missing.
func TestFetchDirectory(t *testing.T) {
	f := newTalk(t)
	snapshot, err := fetchDirectory(t.Context(), f, bot, []uint32{alice, 99}, []uint32{group, 8})
	if err != nil || len(snapshot.Users) != 2 || len(snapshot.Groups) != 1 || !snapshot.respondsWithData() {
		t.Errorf("%d users, %d groups, %v", len(snapshot.Users), len(snapshot.Groups), err)
	}
	snapshot, err = fetchDirectory(t.Context(), f, bot, nil, []uint32{group})
	if err != nil || snapshot.Users[alice] == nil {
		t.Errorf("%d users beside a group, %v: want a member", len(snapshot.Users), err)
	}
	snapshot, err = fetchDirectory(t.Context(), mute{f}, bot, []uint32{alice}, []uint32{group})
	if err != nil || snapshot.respondsWithData() || snapshot.Groups != nil {
		t.Errorf("%+v, %v: want no evidence", snapshot, err)
	}
	for _, read := range []string{"users", "groups"} {
		f.fails = failing(read)
		if _, err = fetchDirectory(t.Context(), f, bot, nil, []uint32{group}); !errors.Is(err, dbproxy.ErrNoAnswer) {
			t.Errorf("%s: %v", read, err)
		}
	}
}

// TestSnapshotsExpire: a message that has waited for its conversation asks again.
func TestSnapshotsExpire(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{slow(2 * directoryTTL)}
		h.submit(h.task("first", user(bob)))
		h.submit(h.task("m", toAlice, user(bob)))
		advance(time.Second)
		wantProgress(t, h.first("m"), v1alpha1.StateRouted, "")
		h.talk.change(func() { delete(h.talk.users, bob) })
		wantProgress(t, h.await("m", time.Hour).Recipients[1], v1alpha1.StateFailed, v1alpha1.ReasonRecipientNotFound)
	})
}

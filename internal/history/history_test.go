// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const currentKey, previousKey, otherKey = "12345678901234567890123456789012", "abcdefghijabcdefghijabcdefghijab", "00000000000000000000000000000000"

var errNoAnswer = errors.New("no answer")

// fakeReads answers with what it holds.
type fakeReads struct {
	rows                        []*wire.MsgInfo
	latest                      uint32
	users                       []uint32
	scanErr, latestErr, userErr error
	count                       uint32
}

func (f *fakeReads) Scan(_ context.Context, _ dbproxy.Session, count uint32, to dbproxy.Scanner) error {
	f.count = count
	to.Begin()
	to.Row(row(99, 1, 1, wire.MsgType_MSG_TYPE_SINGLE_TEXT, []byte("of an answer that was lost")))
	to.Begin()
	for _, r := range f.rows {
		to.Row(r)
	}
	return f.scanErr
}

func (f *fakeReads) LatestID(context.Context, dbproxy.Session) (uint32, error) {
	return f.latest, f.latestErr
}

func (f *fakeReads) Users(_ context.Context, _ uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	found := map[uint32]*wire.UserInfo{}
	for _, id := range f.users {
		found[id] = &wire.UserInfo{UserId: &id}
	}
	if len(ids) != 1 || ids[0] != 1 {
		return nil, errors.New("another user is asked for")
	}
	return found, f.userErr
}

func row(id, from, seconds uint32, kind wire.MsgType, data []byte) *wire.MsgInfo {
	return &wire.MsgInfo{
		MsgId: &id, FromSessionId: &from, CreateTime: &seconds, MsgType: &kind, MsgData: data,
	}
}

func keyOf(t *testing.T, key string) *cipher.Cipher {
	t.Helper()
	c, err := cipher.New([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRead(t *testing.T) {
	current, previous, other := keyOf(t, currentKey), keyOf(t, previousKey), keyOf(t, otherKey)
	const single, audio = wire.MsgType_MSG_TYPE_SINGLE_TEXT, wire.MsgType_MSG_TYPE_SINGLE_AUDIO
	token := cipher.Token{1, 2, 3, 4, 5, 6, 7, 8}
	reads := &fakeReads{rows: []*wire.MsgInfo{
		row(7, 3, 60, audio, nil),
		row(6, 3, 50, audio, []byte{0, 0, 0, 9, 1, 2, 3}),
		row(5, 3, 40, single, []byte("not a ciphertext")),
		row(3, 3, 30, single, other.Encrypt([]byte("of another key"))),
		row(4, 1, 30, single, previous.Encrypt([]byte("of the previous key"))),
		row(2, 1, 20, single, current.EncryptWithToken([]byte("with a token"), token)),
		row(1, 3, 10, single, current.Encrypt([]byte("not UTF-8: \xff"))),
	}}
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	want := []Message{
		{ID: 1, From: 3, Time: at(10), Kind: KindText, Text: "not UTF-8: \xff"},
		{ID: 2, From: 1, Time: at(20), Kind: KindText, Text: "with a token", Token: "0102030405060708"},
		{ID: 3, From: 3, Time: at(30), Kind: KindUnreadable},
		{ID: 4, From: 1, Time: at(30), Kind: KindText, Text: "of the previous key"},
		{ID: 5, From: 3, Time: at(40), Kind: KindUnreadable},
		{ID: 6, From: 3, Time: at(50), Kind: KindAudio, AudioSeconds: 9, AudioBytes: 3},
		{ID: 7, From: 3, Time: at(60), Kind: KindAudio},
	}
	got, err := Read(t.Context(), reads, cipher.Keys{Current: current, Previous: []*cipher.Cipher{previous}}, dbproxy.Session{UserID: 1, ID: 3}, 10)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestReadCount bounds what db_proxy is asked for.
func TestReadCount(t *testing.T) {
	for count, want := range map[int]uint32{-1: 1, 0: 1, 20: 20, MaxCount + 1: MaxCount} {
		reads := &fakeReads{users: []uint32{1}}
		if _, err := Read(t.Context(), reads, cipher.Keys{}, dbproxy.Session{UserID: 1, ID: 3}, count); err != nil || reads.count != want {
			t.Errorf("of %d: %d were asked for, want %d: %v", count, reads.count, want, err)
		}
	}
}

// TestReadNothing: an empty answer is believed only beside proof that db_proxy can read.
func TestReadNothing(t *testing.T) {
	tests := map[string]struct {
		reads   fakeReads
		wantErr error
	}{
		"an empty conversation":      {reads: fakeReads{users: []uint32{1}}},
		"a conversation that hides":  {reads: fakeReads{users: []uint32{1}, latest: 5}, wantErr: ErrHidden},
		"no database":                {wantErr: ErrNoDirectory},
		"no answer to the list":      {reads: fakeReads{scanErr: errNoAnswer}, wantErr: errNoAnswer},
		"no answer to the latest id": {reads: fakeReads{latestErr: errNoAnswer}, wantErr: errNoAnswer},
		"no answer to the user":      {reads: fakeReads{userErr: errNoAnswer}, wantErr: errNoAnswer},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Read(t.Context(), &tc.reads, cipher.Keys{}, dbproxy.Session{UserID: 1, ID: 3}, 10)
			if len(got) > 0 || !errors.Is(err, tc.wantErr) || tc.wantErr == nil && err != nil {
				t.Errorf("%v, %v, want %v", got, err, tc.wantErr)
			}
		})
	}
}

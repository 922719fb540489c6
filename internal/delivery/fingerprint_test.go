// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func info(from, created uint32, kind wire.MsgType, data []byte) *wire.MsgInfo {
	return &wire.MsgInfo{MsgId: proto.Uint32(1), FromSessionId: &from, CreateTime: &created, MsgType: &kind, MsgData: data}
}

const (
	text      = wire.MsgType_MSG_TYPE_SINGLE_TEXT
	audio     = wire.MsgType_MSG_TYPE_SINGLE_AUDIO
	groupText = wire.MsgType_MSG_TYPE_GROUP_TEXT
)

func TestFingerprint(t *testing.T) {
	k1, k2, k3 := key(t, 1), key(t, 2), key(t, 3)
	keys := cipher.Keys{Current: k2, Previous: []*cipher.Cipher{k1}, AtHand: []cipher.Period{
		{Begin: time.Unix(100, 0), End: time.Unix(200, 0)}, {Begin: time.Unix(300, 0)},
	}}
	ours, theirs := cipher.Token{1}, cipher.Token{2}
	marked := Fingerprint{Sender: bot, Token: ours, HasToken: true, Payload: Payload{Data: []byte("hi")}}
	timed := Fingerprint{Sender: bot, CreateTime: 50, Payload: Payload{Data: []byte("hi")}}
	timeless := Fingerprint{Sender: bot, Payload: Payload{Data: []byte("hi")}}
	// Tokens were disabled since it was sent, and it was given another time.
	switchedOff := Fingerprint{Sender: bot, Token: ours, CreateTime: 2000, Payload: Payload{Data: []byte("hi")}}
	sound := Fingerprint{Sender: bot, CreateTime: 50, Payload: Payload{Audio: true, Data: []byte("sound")}}
	timelessSound := Fingerprint{Sender: bot, Payload: Payload{Audio: true, Data: []byte("sound")}}
	hi := []byte("hi")
	cases := map[string]struct {
		fingerprint                             Fingerprint
		row                                     *wire.MsgInfo
		wantMatches, wantVerifies, wantConceals bool
	}{
		"the message":                {marked, info(bot, 9, text, k2.EncryptWithToken(hi, ours)), true, true, false},
		"under the previous key":     {marked, info(bot, 9, text, k1.EncryptWithToken(hi, ours)), true, true, false},
		"under a key that is gone":   {marked, info(bot, 9, text, k3.EncryptWithToken(hi, ours)), false, false, true},
		"another text":               {marked, info(bot, 9, text, k2.EncryptWithToken([]byte("ho"), ours)), true, false, false},
		"another token":              {marked, info(bot, 9, text, k2.EncryptWithToken(hi, theirs)), false, false, false},
		"no token":                   {marked, info(bot, 9, text, k2.Encrypt(hi)), false, false, false},
		"another sender":             {marked, info(alice, 9, text, k2.EncryptWithToken(hi, ours)), false, false, false},
		"another sender's, unopened": {marked, info(alice, 9, text, k3.EncryptWithToken(hi, ours)), false, false, false},
		"gone, before the record":    {marked, info(bot, 99, text, k3.EncryptWithToken(hi, ours)), false, false, true},
		"gone, not then in use":      {marked, info(bot, 100, text, k3.EncryptWithToken(hi, ours)), false, false, false},
		"gone, in use for a while":   {marked, info(bot, 200, text, k3.EncryptWithToken(hi, ours)), false, false, true},
		"gone, not in use any more":  {marked, info(bot, 300, text, k3.EncryptWithToken(hi, ours)), false, false, false},
		"truncated":                  {marked, info(bot, 9, text, k2.EncryptWithToken(hi, ours)[:20]), false, false, false},
		"plain text":                 {marked, info(bot, 9, text, []byte("good morning")), false, false, false},
		"an empty object":            {marked, info(bot, 9, text, []byte("{}")), false, false, false},
		"timed, plain text":          {timed, info(bot, 50, text, []byte("hi")), false, false, false},
		"audio for text":             {marked, info(bot, 9, audio, []byte("sound")), false, false, false},
		"timed":                      {timed, info(bot, 50, text, k1.Encrypt(hi)), true, true, false},
		"timed, another time":        {timed, info(bot, 51, text, k1.Encrypt(hi)), false, false, false},
		"timed, another text":        {timed, info(bot, 50, text, k1.Encrypt([]byte("ho"))), false, false, true},
		"timed, unopened":            {timed, info(bot, 50, text, k3.Encrypt(hi)), false, false, true},
		"timed, unopened, other":     {timed, info(bot, 51, text, k3.Encrypt(hi)), false, false, true},
		"no token, no time":          {timeless, info(bot, 50, text, k2.Encrypt(hi)), false, false, true},
		"switched off":               {switchedOff, info(bot, 1000, text, k2.EncryptWithToken(hi, ours)), true, true, false},
		"switched off, another":      {switchedOff, info(bot, 1000, text, k2.EncryptWithToken(hi, theirs)), false, false, false},
		"sound":                      {sound, info(bot, 50, audio, []byte("sound")), true, true, false},
		"another sound":              {sound, info(bot, 50, audio, []byte("noise")), false, false, true},
		"sound, another time":        {sound, info(bot, 49, audio, []byte("sound")), false, false, false},
		"text for sound":             {sound, info(bot, 50, text, []byte("sound")), false, false, false},
		"sound, no time":             {timelessSound, info(bot, 50, audio, []byte("noise")), false, false, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := tc.fingerprint.Matches(tc.row, keys); got != tc.wantMatches {
				t.Errorf("matches: %v", got)
			}
			if got := tc.fingerprint.Verifies(tc.row, keys); got != tc.wantVerifies {
				t.Errorf("verifies: %v", got)
			}
			if got := !tc.wantMatches && tc.fingerprint.conceals(tc.row, keys); got != tc.wantConceals {
				t.Errorf("conceals: %v", got)
			}
		})
	}
}

func TestSearch(t *testing.T) {
	k := key(t, 1)
	keys := cipher.Keys{Current: k}
	fingerprint := Fingerprint{Sender: bot, Token: cipher.Token{1}, HasToken: true}
	ours := func(created uint32) *wire.MsgInfo {
		return info(bot, created, text, k.EncryptWithToken([]byte("hi"), fingerprint.Token))
	}
	other := func(created uint32) *wire.MsgInfo { return info(bot, created, text, k.Encrypt([]byte("x"))) }
	sealed := func(created uint32) *wire.MsgInfo { return info(bot, created, text, key(t, 2).Encrypt([]byte("x"))) }
	rows := func(r ...*wire.MsgInfo) []*wire.MsgInfo { return r }
	cases := map[string]struct {
		rows      []*wire.MsgInfo
		keys      cipher.Keys
		want      uint32
		reach     uint32
		wantFound bool
		wantWhole bool
	}{
		"nothing at all":                {nil, keys, 4, 0, false, true},
		"fewer than asked for":          {rows(other(60), other(50)), keys, 3, 0, false, true},
		"as many as asked for":          {rows(other(60), other(50)), keys, 2, 0, false, false},
		"one from before the bound":     {rows(other(60), other(49)), keys, 2, 0, false, true},
		"one from the bound itself":     {rows(other(60), other(50)), keys, 2, 0, false, false},
		"found":                         {rows(other(60), ours(55)), keys, 2, 0, true, true},
		"found behind an older one":     {rows(other(49), ours(48)), keys, 2, 0, true, true},
		"one that no key opens":         {rows(sealed(60), other(49)), keys, 2, 0, false, false},
		"one that no key opens, of few": {rows(sealed(60)), keys, 2, 0, false, false},
		"an older one that none opens":  {rows(other(60), sealed(49)), keys, 2, 0, false, true},
		"no keys":                       {rows(ours(60), other(49)), cipher.Keys{}, 2, 0, false, false},
		"found beside a sealed one":     {rows(sealed(60), ours(55)), keys, 2, 0, true, true},
		// A group's history must reach back to a time.
		"a group's, nothing":          {nil, keys, 10, 50, false, false},
		"a group's, only newer ones":  {rows(other(60)), keys, 10, 50, false, false},
		"a group's, one of that time": {rows(other(60), other(50)), keys, 10, 50, false, true},
		"a group's, an older one":     {rows(other(60), other(40)), keys, 10, 50, false, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := rowScanner{fingerprint: fingerprint, bound: 50, keys: tc.keys}
			s.fingerprint.Reach = tc.reach
			s.Begin()
			for _, r := range tc.rows {
				s.Row(r)
			}
			if found, whole := s.result(tc.want, false); (found != nil) != tc.wantFound || whole != tc.wantWhole {
				t.Errorf("found %v, whole %v", found, whole)
			}
		})
	}
}

func TestBoundAndTime(t *testing.T) {
	created := time.Unix(1000, 0)
	cases := map[string]struct {
		token, audio        bool
		announced           uint32
		now                 time.Time
		wantBound, wantTime uint32
	}{
		"token":                        {token: true, now: created.Add(time.Minute), wantBound: 1000, wantTime: 1060},
		"token, slow clock":            {token: true, now: created.Add(-time.Minute), wantBound: 1000, wantTime: 1000},
		"token, sent before":           {token: true, announced: 1030, now: created.Add(time.Minute), wantBound: 1000, wantTime: 1060},
		"announced":                    {announced: 1030, now: created.Add(time.Minute), wantBound: 1000, wantTime: 1030},
		"not announced":                {now: created.Add(time.Minute), wantBound: 1000, wantTime: 1060},
		"audio":                        {audio: true, announced: 1030, now: created, wantBound: 1000, wantTime: 1030},
		"audio that may carry a token": {token: true, audio: true, announced: 1030, now: created, wantBound: 1000, wantTime: 1030},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			task := Task{Token: tc.token, Payload: Payload{Audio: tc.audio}, Order: queue.Order{Created: created}}
			p := recipientState{Progress: Progress{Recipient: toAlice, CreateTime: tc.announced}}
			if b, at := task.bound(p), task.createTime(p, tc.now); b != tc.wantBound || at != tc.wantTime || at < b {
				t.Errorf("bound %d, time %d", b, at)
			}
			// A text has the token even if it is sent without: it may have been sent before tokens were disabled.
			if f := task.fingerprint(p); f.HasToken != (tc.token && !tc.audio) || (f.Token == cipher.Token{}) != tc.audio {
				t.Errorf("token %v, sent with it: %v", f.Token, f.HasToken)
			}
		})
	}
}

func TestAfterPreflight(t *testing.T) {
	u := func(ids ...uint32) map[uint32]*wire.UserInfo {
		m := map[uint32]*wire.UserInfo{}
		for _, id := range ids {
			m[id] = &wire.UserInfo{}
		}
		return m
	}
	g := func(members ...uint32) map[uint32]*wire.GroupInfo {
		return map[uint32]*wire.GroupInfo{group: {GroupMemberList: members}}
	}
	cases := map[string]struct {
		to       v1alpha1.Recipient
		snapshot DirectorySnapshot
		// wantFirst is the reason after one such snapshot. wantFinal: it is final after
		// another one when replicas have caught up.
		wantFirst string
		wantFinal bool
	}{
		"both there":             {to: toAlice, snapshot: DirectorySnapshot{Users: u(bot, alice)}},
		"user missing":           {to: toAlice, snapshot: DirectorySnapshot{Users: u(bot)}, wantFirst: v1alpha1.ReasonRecipientNotFound, wantFinal: true},
		"sender missing":         {to: toAlice, snapshot: DirectorySnapshot{Users: u(alice)}, wantFirst: v1alpha1.ReasonSenderNotFound, wantFinal: true},
		"nobody there":           {to: toAlice, snapshot: DirectorySnapshot{}, wantFirst: v1alpha1.ReasonNoAnswer},
		"nobody, but a group":    {to: toGroup, snapshot: DirectorySnapshot{Groups: g(bot)}, wantFirst: v1alpha1.ReasonNoAnswer},
		"member":                 {to: toGroup, snapshot: DirectorySnapshot{Users: u(bot), Groups: g(alice, bot)}},
		"group without members":  {to: toGroup, snapshot: DirectorySnapshot{Users: u(bot), Groups: g()}},
		"not a member":           {to: toGroup, snapshot: DirectorySnapshot{Users: u(bot), Groups: g(alice)}, wantFirst: v1alpha1.ReasonSenderNotInGroup, wantFinal: true},
		"group missing":          {to: toGroup, snapshot: DirectorySnapshot{Users: u(bot)}, wantFirst: v1alpha1.ReasonGroupNotFound, wantFinal: true},
		"user of a group's id":   {to: user(group), snapshot: DirectorySnapshot{Users: u(bot), Groups: g(bot)}, wantFirst: v1alpha1.ReasonRecipientNotFound, wantFinal: true},
		"group of a user's id":   {to: v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: alice}, snapshot: DirectorySnapshot{Users: u(bot, alice)}, wantFirst: v1alpha1.ReasonGroupNotFound, wantFinal: true},
		"sender missing, member": {to: toGroup, snapshot: DirectorySnapshot{Users: u(alice), Groups: g(alice, bot)}, wantFirst: v1alpha1.ReasonSenderNotFound, wantFinal: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			start := recipientState{Progress: Progress{
				Recipient: tc.to, State: v1alpha1.StatePending, Reason: v1alpha1.ReasonServerNotReady,
			}}
			at := func(d time.Duration) DirectorySnapshot { l := tc.snapshot; l.At = base.Add(d); return l }
			first := afterPreflight(start, at(0), nil, bot, envAt(base))
			wantProgress(t, first.Progress, v1alpha1.StatePending, tc.wantFirst)
			if first.checked != (tc.wantFirst == "") {
				t.Errorf("checked: %v", first.checked)
			}
			if tc.wantFirst == "" {
				return
			}
			early := afterPreflight(first, at(lag-1), nil, bot, envAt(base))
			wantProgress(t, early.Progress, v1alpha1.StatePending, tc.wantFirst)
			late := afterPreflight(early, at(lag), nil, bot, envAt(base))
			if (late.State == v1alpha1.StateFailed) != tc.wantFinal || late.Reason != tc.wantFirst {
				t.Errorf("%s %s", late.State, late.Reason)
			}
			back := afterPreflight(early, DirectorySnapshot{At: base, Users: u(bot, tc.to.ID), Groups: map[uint32]*wire.GroupInfo{tc.to.ID: {}}}, nil, bot, envAt(base))
			if !back.checked || tc.wantFinal && back.Reason != "" {
				t.Errorf("back again: checked %v, %s", back.checked, back.Reason)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	for n := range int32(100) {
		longest := retryBackoff.limit
		if n >= 1 && n < 10 {
			longest = time.Second << (n - 1)
		}
		env := envAt(base)
		if d := env.backoff(retryBackoff, n).Sub(base); d != longest {
			t.Errorf("try %d with the most jitter: %v, want %v", n, d, longest)
		}
		env.jitter = func(time.Duration) time.Duration { return 0 }
		if d := env.backoff(retryBackoff, n).Sub(base); d != longest/2 {
			t.Errorf("try %d without jitter: %v, want %v", n, d, longest/2)
		}
	}
}

// TestJitter: the engine's is random, within its bound.
func TestJitter(t *testing.T) {
	jitter, seen := NewEngine(nil).jitter, map[time.Duration]bool{}
	for range 100 {
		d := jitter(time.Second)
		if seen[d] = true; d < 0 || d > time.Second {
			t.Errorf("%v, want at most a second", d)
		}
	}
	if len(seen) < 50 || jitter(0) != 0 {
		t.Errorf("%d values in 100 calls", len(seen))
	}
}

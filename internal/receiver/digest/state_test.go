// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// users are so many, from an id on.
func users(from, count int) []v1alpha1.Recipient {
	var list []v1alpha1.Recipient
	for i := range count {
		list = append(list, v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: uint32(from + i)})
	}
	return list
}

func newReceiver(f v1alpha1.FloodControl) *v1alpha1.TeamTalkReceiver {
	r := &v1alpha1.TeamTalkReceiver{}
	r.Namespace, r.Name, r.UID = "chat", "alerts", "uid"
	r.Spec.DedupWindowSeconds = 300
	r.Spec.FloodControl = &f
	return r
}

// allow has alerts name so many users, from 1 on.
func allow(r *v1alpha1.TeamTalkReceiver, count int) {
	r.Spec.ToLabel, r.Spec.Allow = "to", &v1alpha1.NamedRecipients{}
	for id := range count {
		r.Spec.Allow.Users = append(r.Spec.Allow.Users, v1alpha1.UserID(id+1))
	}
}

func newNotification(hash string, to []v1alpha1.Recipient) Notification {
	return Notification{Hash: hash, To: to, Line: func(context.Context) string { return "line " + hash }}
}

// decideAll decides on notifications, and writes and reads the state.
func decideAll(t *testing.T, s *State, r *v1alpha1.TeamTalkReceiver, now time.Time, limit int, list ...Notification) *State {
	t.Helper()
	newLimiter(s, r, now).decide(t.Context(), list)
	text, err := s.encode(r.DedupWindow(), now, limit)
	if err != nil || len(text) > limit {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	read, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// TestRoomForAStorm: the state holds 10,000 notifications of one window, and the lines of its digest.
func TestRoomForAStorm(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 5, WindowSeconds: 3600})
	r.Spec.DedupWindowSeconds = 86400
	now := time.Unix(1_800_000_000, 0)
	for _, count := range []int{1, 100, 1000} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			s, to := &State{Epoch: "x"}, users(10_000, count)
			var hashes []string
			for range 10 {
				var list []Notification
				for range 1000 {
					hashes = append(hashes, random(10))
					list = append(list, newNotification(hashes[len(hashes)-1], to))
				}
				s = decideAll(t, s, r, now, maxState, list...)
			}
			for _, hash := range hashes {
				if _, known := s.Entries[hash]; !known {
					t.Fatalf("%s is forgotten: %d entries of %d", hash, len(s.Entries), len(hashes))
				}
			}
			if len(s.Digests) != 1 || s.Digests[0].Count != 10_000-5 {
				t.Fatalf("%+v", s.Digests)
			}
			text := s.Digests[0].text()
			if shown := strings.Count(text, bullet); shown < 40 || len(text) > cipher.MaxTextWithToken || !strings.HasSuffix(text, fmt.Sprintf("\n+%d more", 10_000-5-shown)) {
				t.Errorf("%d lines in %d bytes: %s", shown, len(text), text[len(text)-40:])
			}
		})
	}
}

// TestRoomForTheFirstLine: a full digest can be escalated.
func TestRoomForTheFirstLine(t *testing.T) {
	d := &Digest{Window: Window{Seconds: 3600}}
	for range 10_000 {
		d.Count++
		d.add("x")
	}
	const limit = cipher.MaxTextWithToken - v1alpha1.MaxFirstLine
	if got := len(d.text()); got > limit || got < limit-60 {
		t.Errorf("%d bytes of %d", got, limit)
	}
}

// TestNoRoom: the oldest notifications are forgotten, but neither the counts of a window nor the suppressed
// notifications.
func TestNoRoom(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 3600})
	r.Spec.DedupWindowSeconds = 86400
	now := time.Unix(1_800_000_000, 0)
	s := &State{Epoch: "x"}
	var last string
	for round := range 15 {
		var list []Notification
		for i := range 40 {
			last = random(10)
			list = append(list, newNotification(last, users(1+(i+round)%100, 100)))
		}
		at := now.Add(time.Duration(round) * time.Second)
		s = decideAll(t, s, r, at, maxState, list...)
		rest := *s
		rest.Entries = nil
		text, err := rest.encode(r.DedupWindow(), at, maxState)
		if err != nil {
			t.Fatal(err)
		}
		// Room for some 400 entries.
		if _, err := s.encode(r.DedupWindow(), at, len(text)+24<<10); err != nil {
			t.Fatal(err)
		}
	}
	if _, known := s.Entries[last]; !known || len(s.Entries) >= 600 {
		t.Errorf("%d entries", len(s.Entries))
	}
	for _, to := range users(1, 153) {
		if s.Sent[recipient(to)] != 1 {
			t.Errorf("%v has %d messages", to, s.Sent[recipient(to)])
		}
	}
	suppressed := 0
	for _, d := range s.Digests {
		suppressed += d.Count * len(d.To)
	}
	if want := 600*100 - 153; suppressed != want {
		t.Errorf("%d suppressed, want %d", suppressed, want)
	}
	if _, err := s.encode(r.DedupWindow(), now, 10); !errors.Is(err, ErrFull) {
		t.Errorf("%v", err)
	}
}

// TestManyNamedShareADigest: many recipients of one alert share digests, and nobody gets many more.
func TestManyNamedShareADigest(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60})
	allow(r, 1000)
	s := &State{Epoch: "x"}
	l := newLimiter(s, r, time.Unix(1_800_000_000, 0))
	enter := func(hash string, to []v1alpha1.Recipient) {
		l.decide(t.Context(), []Notification{newNotification(hash, to)})
	}
	enter("A", users(1, 1000))
	for i := range 10 {
		enter(fmt.Sprint("B", i), users(1, 1000))
	}
	if len(s.Digests) != 1 || s.Digests[0].Count != 10 {
		t.Fatalf("%+v", s.Digests)
	}
	enter("few", users(1, manyNamed))
	if len(s.Digests) != 1+manyNamed {
		t.Errorf("%d digests, of which %d are of few", len(s.Digests), manyNamed)
	}
	for i := range 20 {
		enter(fmt.Sprint("C", i), users(1+i, 100))
	}
	has := map[recipient]int{}
	for _, d := range s.Digests {
		for _, to := range d.To {
			has[to]++
		}
	}
	for to, count := range has {
		if count > 1+maxShared {
			t.Errorf("%v has %d digests", to, count)
		}
	}
}

// TestWindows: counts start again with a window, but not if the clock of a replica is one window behind.
func TestWindows(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60})
	start := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		at             time.Duration
		windowSeconds  int32
		wantSuppressed bool
		wantBegin      time.Duration
	}{
		"in the window":                  {59 * time.Second, 60, true, 0},
		"in the next one":                {60 * time.Second, 60, false, 60 * time.Second},
		"by a clock that is behind":      {-time.Second, 60, true, 0},
		"by one that is far behind":      {-61 * time.Second, 60, false, -120 * time.Second},
		"with windows of another length": {time.Second, 30, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := decideAll(t, &State{Epoch: "x"}, r, start, maxState, newNotification("A", users(2, 1)))
			other := r.DeepCopy()
			other.Spec.FloodControl.WindowSeconds = tc.windowSeconds
			got, _ := newLimiter(s, other, start.Add(tc.at)).decide(t.Context(), []Notification{newNotification("B", users(2, 1))})
			if got[0].Suppressed != tc.wantSuppressed || s.Window.Begin != start.Add(tc.wantBegin).Unix() {
				t.Errorf("%+v in %+v", got, s.Window)
			}
		})
	}
}

// TestRecipients: a repeat is decided as before, for each recipient.
func TestRecipients(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60})
	s, now := &State{Epoch: "x"}, time.Unix(1_800_000_000, 0)
	list := []Notification{newNotification("one", users(2, 1)), newNotification("both", users(2, 2)), newNotification("none", users(2, 2))}
	s = decideAll(t, s, r, now, maxState, list...)
	got, fresh := newLimiter(s, r, now).decide(t.Context(), append(list, list[0]))
	if fresh {
		t.Error("it is decided again")
	}
	for i, want := range [][]v1alpha1.Recipient{users(2, 1), users(3, 1), nil, nil} {
		if !slices.Equal(got[i].To, want) || got[i].Fresh || got[i].Suppressed != (i == 1 || i == 2) {
			t.Errorf("%d: %+v, want %v", i, got[i], want)
		}
	}
}

// TestNames: a name is neither the id of the same digits, nor a group of the same name.
func TestNames(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60})
	r.Spec.ToLabel, r.Spec.Allow = "to", &v1alpha1.NamedRecipients{
		Users: []v1alpha1.UserID{2}, UserNames: []string{"2", "li.si"}, GroupNames: []string{"2"},
	}
	all := r.Spec.Allow.All()
	s, now := &State{Epoch: "x"}, time.Unix(1_800_000_000, 0)
	s = decideAll(t, s, r, now, maxState, newNotification("first", all[:3]))
	s = decideAll(t, s, r, now, maxState, newNotification("second", all))
	again, fresh := newLimiter(s, r, now).decide(t.Context(), []Notification{newNotification("second", all)})
	if fresh || !again[0].Suppressed || !slices.Equal(again[0].To, all[3:]) {
		t.Errorf("%+v", again)
	}
	names, to := map[string]bool{}, []v1alpha1.Recipient{}
	for _, d := range s.Digests {
		names[digestName(r, s, d)] = true
		for _, one := range d.To {
			to = append(to, v1alpha1.Recipient(one))
		}
	}
	if !slices.Equal(to, all[:3]) || len(names) != 3 {
		t.Errorf("digests %v for %v", names, to)
	}
}

// TestEncodeDropsOldEntries: entries are kept for the dedup window.
func TestEncodeDropsOldEntries(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60})
	s, start := &State{Epoch: "x"}, time.Unix(1_800_000_000, 0)
	for i := range 4 {
		s = decideAll(t, s, r, start.Add(time.Duration(i)*200*time.Second), maxState, newNotification(fmt.Sprint(i), users(2, 2)))
	}
	if _, known := s.Entries["2"]; len(s.Entries) != 2 || !known {
		t.Errorf("%+v", s.Entries)
	}
}

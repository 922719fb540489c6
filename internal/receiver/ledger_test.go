// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// enterAll enters notifications with a line each, and writes and reads the ledger.
func enterAll(t *testing.T, r *v1alpha1.TeamTalkReceiver, now time.Time, l *ledger, parts []part) *ledger {
	t.Helper()
	b := l.book(r, now)
	for _, p := range parts {
		e := *b.enter(p, 1)
		b.admit(e, random(30))
	}
	bytes, err := l.fit(r, now, maxLedger)
	must(t, err)
	read := &ledger{}
	if err := read.decode(bytes); err != nil || len(bytes) > maxLedger {
		t.Fatalf("%d bytes, %v", len(bytes), err)
	}
	return read
}

// TestRoomForAStorm: the ledger holds 10,000 notifications of one window, and the lines of its digest.
func TestRoomForAStorm(t *testing.T) {
	r := alertmanager("")
	r.Spec.DedupWindowSeconds = 86400
	r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 5, WindowSeconds: 3600}
	now := time.Unix(1_800_000_000, 0)
	for _, count := range []int{1, 100} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			l, all := &ledger{Epoch: "x"}, users(10_000, count)
			var hashes []string
			for range 10 {
				var parts []part
				for range 1000 {
					hashes = append(hashes, random(10))
					parts = append(parts, part{hash: hashes[len(hashes)-1], to: all})
				}
				l = enterAll(t, r, now, l, parts)
			}
			for _, hash := range hashes {
				if l.find(hash) == nil {
					t.Fatalf("%s is forgotten: %d entries of %d", hash, len(l.Entries), len(hashes))
				}
			}
			if len(l.Digests) != 1 || l.Digests[0].Count != 10_000-5 {
				t.Fatalf("%+v", l.Digests)
			}
			text := l.text(1)
			if shown := strings.Count(text, bullet); shown < 40 || len(text) > cipher.MaxTextWithToken || !strings.HasSuffix(text, fmt.Sprintf("\n+%d more", 10_000-5-shown)) {
				t.Errorf("%d lines in %d bytes: %s", shown, len(text), text[len(text)-40:])
			}
		})
	}
}

// TestNoRoom: everything is entered; the oldest is forgotten, but neither budgets nor folds.
func TestNoRoom(t *testing.T) {
	r := alertmanager("")
	r.Spec.DedupWindowSeconds = 86400
	r.Spec.ToLabel, r.Spec.Allow = "to", &v1alpha1.Recipients{}
	r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 1, WindowSeconds: 3600}
	for id := range 200 {
		r.Spec.Allow.Users = append(r.Spec.Allow.Users, v1alpha1.UserID(id+1))
	}
	now := time.Unix(1_800_000_000, 0)
	l := &ledger{Epoch: "x"}
	var last string
	for round := range 15 {
		b := l.book(r, now)
		for i := range 40 {
			last = random(10)
			b.admit(*b.enter(part{hash: last, to: users(1+(i+round)%100, 100)}, 1), random(60))
		}
		bytes, err := l.fit(r, now, 24<<10)
		must(t, err)
		l = &ledger{}
		must(t, l.decode(bytes))
	}
	b := l.book(r, now)
	if l.find(last) == nil || len(l.Entries) >= 600 {
		t.Errorf("%d entries", len(l.Entries))
	}
	for id := int64(1); id <= 153; id++ {
		if b.got[id] != 1 {
			t.Errorf("%d has %d messages", id, b.got[id])
		}
	}
	folded := 0
	for _, d := range l.Digests {
		folded += d.Count * len(l.to(d.To))
	}
	if want := 600*100 - 153; folded != want {
		t.Errorf("%d folds, want %d", folded, want)
	}
	if _, err := l.fit(r, now, 10); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}

func TestPrune(t *testing.T) {
	r := alertmanager("")
	r.Spec.DedupWindowSeconds = 300
	r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60}
	start := time.Unix(1_800_000_000, 0)
	l := &ledger{Epoch: "x"}
	enter := func(hash string, at time.Duration) {
		b := l.book(r, start.Add(at))
		b.admit(*b.enter(part{hash: hash, to: users(2, 2)}, 1), "line "+hash)
	}
	for i := range 4 {
		enter(fmt.Sprint("made", i), time.Duration(i)*time.Hour)
		enter(fmt.Sprint("folded", i), time.Duration(i)*time.Hour)
	}
	now := start.Add(3 * time.Hour)
	// Moved to a later window, it is needed until that is over.
	b := l.book(r, now)
	b.again(l.find("folded0"), []int64{3})
	l.prune(r, now)
	var left []string
	for _, e := range l.Entries {
		left = append(left, e.Hash)
	}
	if !slices.Equal(left, []string{"folded0", "made3", "folded3"}) || len(l.Digests) != 2 || len(l.Lines) != 1 || l.check() != nil {
		t.Errorf("%q, %+v", left, l)
	}
	if d := l.Digests[l.digestsOf(*l.find("folded0"))[0]-1]; d.Count != 1 || !slices.Equal(l.to(d.To), []int64{3}) {
		t.Errorf("%+v", d)
	}
	if text := l.text(l.digestsOf(*l.find("folded3"))[0]); text != "📦 1 more within 60 s\n• line folded3" {
		t.Errorf("%q", text)
	}
	l.prune(r, now.Add(time.Hour))
	if len(l.Entries)+len(l.Lines)+len(l.Digests)+len(l.Folds)+len(l.Names) != 0 {
		t.Errorf("%+v", l)
	}
}

// TestForeignConfigMap shows that nothing of others is overwritten.
func TestForeignConfigMap(t *testing.T) {
	for name, edit := range map[string]func(*corev1.ConfigMap){
		"without an owner": func(*corev1.ConfigMap) {},
		"with the label":   func(cm *corev1.ConfigMap) { cm.Labels = map[string]string{v1alpha1.ReceiverLabel: "alerts"} },
		"of another receiver": func(cm *corev1.ConfigMap) {
			other := alertmanager("")
			other.UID = "another"
			cm.OwnerReferences = []metav1.OwnerReference{owned(other)}
		},
		"damaged": func(cm *corev1.ConfigMap) {
			cm.OwnerReferences = []metav1.OwnerReference{owned(alertmanager(""))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFlooded(t)
			foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: ledgerName(x.receiver)}, Data: map[string]string{"theirs": "kept"}}
			edit(foreign)
			must(t, x.client.Create(t.Context(), foreign))
			if _, err := x.take("A"); err == nil || !strings.Contains(err.Error(), foreign.Name) || !strings.Contains(err.Error(), map[bool]string{true: "was damaged", false: "does not belong"}[name == "damaged"]) {
				t.Errorf("%v", err)
			}
			if err := x.client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil || foreign.Data["theirs"] != "kept" {
				t.Errorf("%+v, %v", foreign, err)
			}
		})
	}
}

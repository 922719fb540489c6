// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// told returns how often each name is in a message or digest that can still be sent
// when it is made: one is never written to after its time.
func (x *flooded) told() map[string]int {
	x.t.Helper()
	list := &v1alpha1.TeamTalkMessageList{}
	if err := x.client.List(x.t.Context(), list); err != nil {
		x.t.Fatal(err)
	}
	told := map[string]int{}
	count := func(text string) {
		for word := range strings.FieldsSeq(text) {
			if name, ok := strings.CutPrefix(word, "Told-"); ok {
				told[name]++
			}
		}
	}
	for _, m := range list.Items {
		if m.Spec.Content.Text != nil {
			count(*m.Spec.Content.Text)
		}
	}
	for _, text := range x.sent {
		count(text)
	}
	return told
}

// send freezes what digests say whose time has come, as the operator reads it then.
func (x *flooded) send() {
	x.t.Helper()
	for name, text := range x.digests() {
		m := &v1alpha1.TeamTalkMessage{}
		if err := x.client.Get(x.t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, m); err != nil {
			x.t.Fatal(err)
		}
		if _, done := x.sent[name]; !done && !x.now.Before(m.Spec.SendAfter.Time) {
			x.sent[name] = text
		}
	}
}

// TestEditsWithinAWindow shows that nothing is lost or told twice where the spec
// changes while there are open digests.
func TestEditsWithinAWindow(t *testing.T) {
	hour := time.Unix((time.Now().Unix()/3600+1)*3600, 0)
	for name, edit := range map[string]func(*v1alpha1.TeamTalkReceiverSpec){
		"a longer window":  func(s *v1alpha1.TeamTalkReceiverSpec) { s.FloodControl.WindowSeconds = 3600 },
		"a shorter window": func(s *v1alpha1.TeamTalkReceiverSpec) { s.FloodControl.WindowSeconds = 10 },
		"a larger budget":  func(s *v1alpha1.TeamTalkReceiverSpec) { s.FloodControl.Messages = 2 },
		"a longer dedup":   func(s *v1alpha1.TeamTalkReceiverSpec) { s.DedupWindowSeconds = 3600 },
		"another template": func(s *v1alpha1.TeamTalkReceiverSpec) {
			s.Template = "Told-{{(index .Alerts 0).Labels.alertname}} again"
		},
		"one recipient more": func(s *v1alpha1.TeamTalkReceiverSpec) { s.To.Users = append(s.To.Users, 3) },
		"one recipient less": func(s *v1alpha1.TeamTalkReceiverSpec) { s.To.Users = s.To.Users[:1] },
		"who may be named": func(s *v1alpha1.TeamTalkReceiverSpec) {
			s.ToLabel, s.Allow = "to", &v1alpha1.Recipients{Users: []v1alpha1.UserID{2}}
		},
		"a group in addition": func(s *v1alpha1.TeamTalkReceiverSpec) { s.To.Groups = append(s.To.Groups, 7) },
	} {
		for _, later := range []time.Duration{time.Second, 25 * time.Second, 10 * time.Minute} {
			t.Run(fmt.Sprint(name, " after ", later), func(t *testing.T) {
				t.Parallel()
				x := newFlooded(t)
				x.receiver.Spec.FloodControl.WindowSeconds = 20
				x.receiver.Spec.To.Users = []v1alpha1.UserID{2, 5}
				x.receiver.Spec.Template = "Told-{{(index .Alerts 0).Labels.alertname}} first"
				x.now = hour // a window's beginning, whatever its length
				take := func(names ...string) {
					for _, name := range names {
						x.send()
						if o, err := x.take(name); err != nil || o.message == "" && !o.folded {
							t.Errorf("%s: %+v, %v", name, o, err)
						}
						x.now = x.now.Add(time.Second)
					}
				}
				take("A", "B", "C")
				x.now = x.now.Add(later)
				edit(&x.receiver.Spec)
				take("D", "E", "F", "G")
				x.want("G", aDuplicate)
				x.now = x.now.Add(2 * time.Hour)
				x.send()
				got := x.told()
				for _, name := range []string{"A", "B", "C", "D", "E", "F", "G"} {
					// Recipients who do not have the same have it in two.
					if n := got[name]; n == 0 || n > 2 || n > 1 && !slices.Contains([]string{"D", "E", "F", "G"}, name) {
						t.Errorf("%s is told %d times: %q", name, n, x.sent)
					}
				}
			})
		}
	}
}

// TestTwoProcessesDecide has two processes take a storm at once, each its half and
// some of the other's.
func TestTwoProcessesDecide(t *testing.T) {
	x := newFlooded(t)
	x.receiver.Spec.GroupBy = []string{"instance"}
	x.receiver.Spec.Template = "Told-{{(index .Alerts 0).Labels.instance}}"
	second := NewHandler(Options{Client: x.client, Log: logr.Discard()})
	second.now = x.handler.now
	var wg sync.WaitGroup
	var messages, folded, duplicates atomic.Int64
	for i := range 12 {
		h := []*Handler{x.handler, second}[i%2]
		wg.Go(func() {
			parts, _ := split(x.receiver, &Notification{Status: statusFiring, Alerts: instances(i/3*5, 10)})
			templates, _ := ParseTemplates(x.receiver)
			got, err := h.take(t.Context(), x.receiver, &texts{handler: h, receiver: x.receiver, templates: templates}, parts)
			if err != nil {
				t.Error(err)
			}
			m, f, d := sum(got)
			messages.Add(int64(m))
			folded.Add(int64(f))
			duplicates.Add(int64(d))
		})
	}
	wg.Wait()
	if messages.Load() != 1 || len(x.digests()) != 1 || messages.Load()+folded.Load() != 25 || duplicates.Load() != 120-25 {
		t.Errorf("%d messages, %d folded, %d duplicates, %q", messages.Load(), folded.Load(), duplicates.Load(), x.digests())
	}
	x.now = x.now.Add(time.Hour)
	x.send()
	for name, n := range x.told() {
		if n != 1 {
			t.Errorf("%s is told %d times", name, n)
		}
	}
	if len(x.told()) != 25 {
		t.Errorf("%v", x.told())
	}
}

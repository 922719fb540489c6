// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// budget is what a recipient gets in a window of the tests here.
const budget = 3

func withBudget(r *v1alpha1.TeamTalkReceiver) {
	r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: budget, WindowSeconds: 10}
}

// flood posts as many notifications as names, at once and each again until it is
// taken, to whichever address is given for the try.
func (x *tenant) flood(receiver string, names []string, address func(index, try int) string) {
	x.Helper()
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			body := firing(name)
			for try := range 50 {
				// What has no answer, or 503, is posted again, as Alertmanager does.
				if r, err := x.tryPost(x.url(address(i, try), receiver), body); err == nil && r.Code == 200 {
					return
				}
			}
			x.Errorf("%s is not taken", name)
		})
	}
	wg.Wait()
}

func storms(count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("Storm-%d-", i)
	}
	return names
}

// checkOnce checks that somebody was told of each name once, be it in a message or
// in a digest, and no more often in a window than the budget allows.
func (x *tenant) checkOnce(to uint32, names []string) {
	x.Helper()
	var digests, messages int
	windows := map[string]int{}
	for _, m := range x.Messages() {
		if rest, ok := strings.CutPrefix(m.Name, "alerts-digest-"); ok {
			if slices.Contains(m.Spec.To.Users, v1alpha1.UserID(to)) {
				digests++
				window, _, _ := strings.Cut(rest, "-")
				windows[window]++
			}
		} else {
			messages++
		}
	}
	texts := x.texts(to)
	for _, name := range names {
		told := 0
		for _, text := range texts {
			if strings.Contains(text, name) {
				told++
			}
		}
		if told != 1 {
			x.Errorf("%d is told of %s %d times", to, name, told)
		}
	}
	for window, n := range windows {
		if n != 1 {
			x.Errorf("%d digests of %s", n, window)
		}
	}
	// A flood may fall into several windows, each of which but the last is full.
	if digests == 0 || messages > budget*(digests+1) || len(texts) != digests+messages {
		x.Errorf("%d messages, %d digests, %d texts: %q", messages, digests, len(texts), texts)
	}
}

// TestFlood shows that what is beyond the budget arrives in one digest a window, with
// two processes that decide.
func TestFlood(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", withBudget)
	s := x.serve()
	names := storms(24)
	// Each is posted twice: by a cluster of Alertmanagers, say.
	x.flood("alerts", append(names, names...), func(i, _ int) string { return []string{world.shared, s.address}[i%5%2] })
	if x.settled(); !t.Failed() {
		x.checkOnce(x.Alice, names)
	}
	r := x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.Counts.Received == int64(2*len(names)) })
	if c := r.Status.Counts; c.Messages+c.Folded != int64(len(names)) || c.Duplicates != int64(len(names)) {
		t.Errorf("%+v", c)
	}
	// The text of a digest goes with it.
	list := &corev1.ConfigMapList{}
	x.List(list, client.HasLabels{v1alpha1.ReceiverLabel})
	for _, cm := range list.Items {
		want := "TeamTalkReceiver"
		if strings.Contains(cm.Name, "-digest-") {
			want = "TeamTalkMessage"
		}
		if len(cm.OwnerReferences) != 1 || cm.OwnerReferences[0].Kind != want {
			t.Errorf("%s is owned by %+v", cm.Name, cm.OwnerReferences)
		}
	}
}

// TestFloodOfKills kills a process over and over while it decides: what has no
// answer is posted again, to another one too.
func TestFloodOfKills(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", withBudget)
	s := x.serve()
	names := storms(24)
	stop := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for range 5 {
			// As many kills as the flood lasts for.
			s.process.Kill()
			s.start()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	x.flood("alerts", names, func(i, try int) string {
		if try < 40 && (i+try)%4 != 0 {
			return s.address
		}
		return world.shared
	})
	close(stop)
	killer.Wait()
	if x.settled(); !t.Failed() {
		x.checkOnce(x.Alice, names)
	}
}

// TestFloodPerRecipient shows that one's budget is not another's.
func TestFloodPerRecipient(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", withBudget, func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.FloodControl.WindowSeconds = 3600
		r.Spec.ToLabel = "to"
		both := []v1alpha1.UserID{v1alpha1.UserID(x.Alice), v1alpha1.UserID(x.Bob)}
		r.Spec.Allow = &v1alpha1.Recipients{Users: both}
	})
	// What follows is of one window.
	x.Eventually("the hour does not end", func() bool { return time.Now().Unix()%3600 < 3570 })
	tell := func(name string, to ...uint32) reply {
		ids := strings.Trim(strings.ReplaceAll(fmt.Sprint(to), " ", ","), "[]")
		return x.post(x.url(world.shared, "alerts"), firing(name, "to", ids))
	}
	for _, name := range storms(budget) {
		tell(name, x.Alice)
	}
	// Alice has had hers, Bob has not.
	if r := tell("ToBoth", x.Alice, x.Bob); len(r.Messages) != 1 || r.Folded != 1 {
		t.Errorf("%+v", r)
	}
	if got := x.awaitTexts(x.Bob, 1); !strings.Contains(got[0], "ToBoth") {
		t.Errorf("%q", got)
	}
	x.awaitTexts(x.Alice, budget)
	var digest *v1alpha1.TeamTalkMessage
	for _, m := range x.Messages() {
		if strings.Contains(m.Name, "-digest-") {
			digest = &m
		}
	}
	if digest == nil || digest.Spec.SendAfter == nil || len(digest.Spec.To.Users) != 1 || uint32(digest.Spec.To.Users[0]) != x.Alice {
		t.Fatalf("%+v", digest)
	}
	cm := &corev1.ConfigMap{}
	x.Must(world.Admin.Get(x.Context(), client.ObjectKeyFromObject(digest), cm))
	if want := "📦 1 more within 3600 s\n• 🔥 FIRING · critical · ToBoth • ToBoth is wrong"; !strings.HasPrefix(cm.Data["text"], want) {
		t.Errorf("%q", cm.Data["text"])
	}
}

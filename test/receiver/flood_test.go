// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
)

// budget is what a recipient gets in a window of the tests here.
const budget = 3

func withBudget(r *v1alpha1.TeamTalkReceiver) {
	r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: budget, WindowSeconds: 10}
}

// flood posts the notifications at once, each until it is taken, to the address for the try.
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

// checkOnce checks that somebody has each name once, and that each window keeps its budget.
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
		if n := count(texts, name); n != 1 {
			x.Errorf("%d has %s %d times", to, name, n)
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

// TestFlood: with two processes, what is beyond the budget arrives in one digest a window.
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
	if c := r.Status.Counts; c.Messages+c.Suppressed != int64(len(names)) || c.Duplicates != int64(len(names)) {
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

// TestFloodOfKills kills a process again and again while it decides; callers try again.
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
	x.receiver("alerts", x.hourly(budget), func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.ToLabel = "to"
		both := []v1alpha1.UserID{v1alpha1.UserID(x.Alice), v1alpha1.UserID(x.Bob)}
		r.Spec.Allow = &v1alpha1.NamedRecipients{Users: both}
	})
	tell := func(name string, to ...uint32) reply {
		ids := strings.Trim(strings.ReplaceAll(fmt.Sprint(to), " ", ","), "[]")
		return x.post(x.url(world.shared, "alerts"), firing(name, "to", ids))
	}
	for _, name := range storms(budget) {
		tell(name, x.Alice)
	}
	// Alice has had hers, Bob has not.
	if r := tell("ToBoth", x.Alice, x.Bob); len(r.Messages) != 1 || r.Suppressed != 1 {
		t.Errorf("%+v", r)
	}
	if got := x.awaitTexts(x.Bob, 1); !strings.Contains(got[0], "ToBoth") {
		t.Errorf("%q", got)
	}
	x.awaitTexts(x.Alice, budget)
	messages, texts := x.digests("alerts")
	if len(messages) != 1 || messages[0].Spec.SendAfter == nil || len(messages[0].Spec.To.Users) != 1 || uint32(messages[0].Spec.To.Users[0]) != x.Alice {
		t.Fatalf("%+v", messages)
	}
	if want := "📦 1 more within 3600 s\n• 🔥 FIRING · critical · ToBoth • ToBoth is wrong"; !strings.HasPrefix(texts[0], want) {
		t.Errorf("%q", texts)
	}
}

// instances is one notification of so many alerts, which groupBy makes parts of.
func instances(name string, count int) string {
	var all []string
	for i := range count {
		all = append(all, alert(name, "firing", noon, "instance", fmt.Sprint("i", i)))
	}
	return notification("firing", all...)
}

// tries posts a body until it is taken, and returns how often, and the last answer.
func (x *tenant) tries(most int, address func(try int) string, receiver, body string) (reply, int) {
	x.Helper()
	var last reply
	for try := 1; try <= most; try++ {
		if last = x.post(x.url(address(try), receiver), body); last.Code == 200 {
			return last, try
		}
	}
	x.Fatalf("not taken in %d tries: %+v", most, last)
	return last, 0
}

func shared(int) string { return world.shared }

// hourly makes one window of a test, which must not begin at the end of an hour.
func (x *tenant) hourly(messages int32) func(*v1alpha1.TeamTalkReceiver) {
	x.Helper()
	x.Eventually("the hour does not end", func() bool { return time.Now().Unix()%3600 < 3570 })
	return func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: messages, WindowSeconds: 3600}
	}
}

// digests returns the messages that wait for the end of their window, and their texts.
func (x *tenant) digests(receiver string) (messages []v1alpha1.TeamTalkMessage, texts []string) {
	x.Helper()
	for _, m := range x.Messages() {
		if strings.HasPrefix(m.Name, receiver+"-digest-") {
			cm := &corev1.ConfigMap{ObjectMeta: x.Named(m.Name)}
			x.Get(cm)
			messages, texts = append(messages, m), append(texts, cm.Data["text"])
		}
	}
	return messages, texts
}

// TestAStormOfAlerts: a thousand alerts at once are taken with a few requests to the API server.
func TestAStormOfAlerts(t *testing.T) {
	x := newTenant(t)
	x.receiver("alerts", x.hourly(5), func(r *v1alpha1.TeamTalkReceiver) { r.Spec.GroupBy = []string{"instance"} })
	s, api := x.throughProxy(t)
	all := api.Add(apiproxy.Rule{Match: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/namespaces/"+x.Namespace+"/") && r.URL.Query().Get("watch") == "" && r.Method != http.MethodPatch
	}, Do: pass})
	const alerts = 1000
	body := instances("Storm", alerts)
	_, tries := x.tries(2, func(int) string { return s.address }, "alerts", body)
	if n := all.Fired(); n > 25*tries {
		t.Errorf("%d requests in %d tries", n, tries)
	}
	before := all.Fired()
	if r := x.post(x.url(s.address, "alerts"), body); r.Duplicates != alerts {
		t.Errorf("a repeat: %+v", r)
	}
	if n := all.Fired() - before; n > 10 {
		t.Errorf("%d requests for a repeat", n)
	}
	x.awaitTexts(x.Alice, 5)
	_, texts := x.digests("alerts")
	if len(texts) != 1 || !strings.HasPrefix(texts[0], fmt.Sprintf("📦 %d more within 3600 s\n• 🔥 FIRING", alerts-5)) {
		t.Errorf("%q", texts)
	}
	x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return r.Status.Counts.Messages == 5 && r.Status.Counts.Suppressed == alerts-5 && r.Status.Counts.Received == 2
	})
}

// TestAStormForAThousand: alerts that are suppressed for a thousand recipients are one digest.
func TestAStormForAThousand(t *testing.T) {
	x := newTenant(t)
	var all []v1alpha1.UserID
	for i := range 1000 {
		all = append(all, v1alpha1.UserID(500_000+i))
	}
	byLabel := []string{"to", strings.Trim(strings.ReplaceAll(fmt.Sprint(all), " ", ","), "[]")}
	for name, tc := range map[string]struct {
		labels []string
		edit   func(*v1alpha1.TeamTalkReceiver)
	}{
		"all": {nil, func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To.Users = all }},
		"named": {byLabel, func(r *v1alpha1.TeamTalkReceiver) {
			r.Spec.ToLabel, r.Spec.Allow = "to", &v1alpha1.NamedRecipients{Users: all}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x.receiver(name, x.hourly(1), tc.edit)
			x.tries(2, shared, name, firing("First", tc.labels...))
			for _, storm := range storms(5) {
				if r, _ := x.tries(1, shared, name, firing(storm, tc.labels...)); r.Suppressed != 1 {
					t.Errorf("%+v", r)
				}
			}
			messages, texts := x.digests(name)
			if len(messages) != 1 || len(messages[0].Spec.To.Users) != 1000 || strings.Count(texts[0], "Storm-") != 2*5 {
				t.Errorf("%d digests: %q", len(messages), texts)
			}
		})
	}
}

// TestEditedWindow: alerts that are suppressed before and after an edit of the window arrive in two digests.
func TestEditedWindow(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", withBudget)
	second := x.serve()
	addresses := []string{world.shared, second.address}
	names := storms(20)
	for i, name := range names {
		if i == len(names)/2 {
			x.edit("alerts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.FloodControl.WindowSeconds = 20 })
			// The new window may have begun with the old one.
			second.process.Kill()
			second.start()
		}
		x.tries(5, func(try int) string { return addresses[(i+try)%2] }, "alerts", firing(name))
	}
	x.settled()
	texts := x.texts(x.Alice)
	for _, name := range names {
		if n := count(texts, name); n != 1 {
			t.Errorf("%s was sent %d times: %q", name, n, texts)
		}
	}
}

// TestForeignConfigMap: a foreign ConfigMap stays as it is, and the receiver says so.
func TestForeignConfigMap(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", x.hourly(1))
	x.notify("alerts", "First")
	list := &corev1.ConfigMapList{}
	x.List(list, client.HasLabels{v1alpha1.ReceiverLabel})
	if len(list.Items) != 1 || !strings.HasPrefix(list.Items[0].Name, "teamtalk-receiver-alerts-") {
		t.Fatalf("%+v", list.Items)
	}
	ours := &list.Items[0]
	x.Delete(ours)
	foreign := &corev1.ConfigMap{ObjectMeta: x.Named(ours.Name), Data: map[string]string{"theirs": "kept"}}
	x.Create(foreign)
	if r := x.notify("alerts", "Second"); r.Code != 503 {
		t.Errorf("%+v", r)
	}
	x.Get(foreign)
	if len(foreign.Data) != 1 || len(foreign.BinaryData) != 0 {
		t.Errorf("%+v", foreign)
	}
	x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return r.Status.LastError != nil && strings.Contains(r.Status.LastError.Message, "does not belong to the receiver")
	})
	x.Delete(foreign)
	x.tries(1, shared, "alerts", firing("Second"))
}

// TestMoreNamedThanAMessageHas: an alert may name more recipients than a message may have.
func TestMoreNamedThanAMessageHas(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	var names []string
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.ToLabel, r.Spec.Allow = "to", &v1alpha1.NamedRecipients{}
		for i := range 600 {
			r.Spec.Allow.Users = append(r.Spec.Allow.Users, v1alpha1.UserID(500_000+i))
			r.Spec.Allow.Groups = append(r.Spec.Allow.Groups, v1alpha1.GroupID(500_000+i))
			names = append(names, fmt.Sprint(500_000+i), fmt.Sprint("group:", 500_000+i))
		}
	})
	body := firing("Named", "to", strings.Join(names, ","))
	r := x.post(x.url(world.shared, "alerts"), body)
	if r.Code != 200 || len(r.Messages) != 2 {
		t.Fatalf("%+v", r)
	}
	named := 0
	for _, m := range x.Messages() {
		named += len(m.Spec.To.Users) + len(m.Spec.To.Groups)
	}
	if again := x.post(x.url(world.shared, "alerts"), body); named != 1200 || again.Duplicates != 2 {
		t.Errorf("%d recipients; again: %+v", named, again)
	}
}

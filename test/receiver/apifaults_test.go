// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
)

// faulty serves receivers behind an API server that fails on demand; it returns the address and the server.
func (x *tenant) faulty(t *testing.T) (address string, api *apiproxy.Proxy) {
	t.Helper()
	api, err := apiproxy.Start(world.Plane.Config())
	x.Must(err)
	t.Cleanup(api.Stop)
	cfg := api.Config()
	cfg.QPS = -1
	c, err := client.NewWithWatch(cfg, client.Options{})
	x.Must(err)
	// It neither writes statuses nor follows messages: the rules would match these requests, too.
	h := receiver.NewHandler(receiver.Options{Client: c, Log: logr.Discard()})
	mux := http.NewServeMux()
	mux.Handle(receiver.Pattern, h)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), api
}

// request matches a method on a resource of a namespace.
func request(method, resource string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, "/"+resource) }
}

// TestTheAPIFails: whatever request fails, the caller is asked to retry, and the alert arrives once.
func TestTheAPIFails(t *testing.T) {
	x := newTenant(t)
	x.receiver("alerts")
	hourly := x.hourly(budget)
	address, api := x.faulty(t)
	refuse := apiproxy.Refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError)
	tests := map[string]struct {
		receiver string
		match    func(*http.Request) bool
		do       apiproxy.Action
		// heals tells that no caller need try again.
		heals bool
		// duplicate tells that the failed try made the message.
		duplicate bool
		// before is how many notifications a receiver with flood control has had.
		before int
	}{
		"the receiver cannot be read":         {"alerts", request("GET", "teamtalkreceivers"), refuse, false, false, 0},
		"the Secret cannot be read":           {"alerts", request("GET", "secrets"), refuse, false, false, 0},
		"messages cannot be listed":           {"alerts", request("GET", "teamtalkmessages"), refuse, false, false, 0},
		"a list hangs":                        {"alerts", request("GET", "teamtalkmessages"), apiproxy.Hang, false, false, 0},
		"a creation is refused":               {"alerts", request("POST", "teamtalkmessages"), refuse, false, false, 0},
		"a creation never arrives":            {"alerts", request("POST", "teamtalkmessages"), apiproxy.CutBefore, false, false, 0},
		"a creation's answer is lost":         {"alerts", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, true, 0},
		"the state cannot be read":            {"flood", request("GET", "configmaps"), refuse, false, false, 2},
		"the state is not made":               {"flood", request("POST", "configmaps"), refuse, false, false, 0},
		"the state is not written":            {"flood", request("PUT", "configmaps/teamtalk-receiver"), refuse, false, false, 2},
		"the state's answer is lost":          {"flood", request("PUT", "configmaps/teamtalk-receiver"), apiproxy.CutAfter, false, false, 4},
		"the state conflicts":                 {"flood", request("PUT", "configmaps/teamtalk-receiver"), apiproxy.Refuse(http.StatusConflict, metav1.StatusReasonConflict), true, false, 2},
		"beside the state, a message is lost": {"flood", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, false, 1},
		"a digest is not made":                {"flood", request("POST", "configmaps"), refuse, false, false, 3},
		"the message of a digest is not made": {"flood", request("POST", "teamtalkmessages"), refuse, false, false, 3},
		"the message of a digest is lost":     {"flood", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, false, 3},
		"a digest cannot be read":             {"flood", request("GET", "configmaps/flood"), refuse, false, false, 4},
		"a digest is not written":             {"flood", request("PUT", "configmaps/flood"), refuse, false, false, 4},
		"a digest's answer is lost":           {"flood", request("PUT", "configmaps/flood"), apiproxy.CutAfter, false, false, 4},
		"a digest conflicts":                  {"flood", request("PUT", "configmaps/flood"), apiproxy.Refuse(http.StatusConflict, metav1.StatusReasonConflict), true, false, 4},
	}
	floods := 0
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			receiver := tc.receiver
			if receiver == "flood" {
				floods++
				receiver = fmt.Sprint("flood", floods)
				x.receiver(receiver, hourly)
				for i := range tc.before {
					x.post(x.url(address, receiver), firing(fmt.Sprint("Before", i)))
				}
			}
			rule := api.Add(apiproxy.Rule{Match: tc.match, Count: 1, Do: tc.do})
			defer rule.Remove()
			before := len(x.Messages())
			body := firing(strings.ReplaceAll(name, " ", "-"))
			first := x.post(x.url(address, receiver), body)
			if want := map[bool]int{true: 200, false: 503}[tc.heals]; first.Code != want {
				t.Errorf("the first try: %+v, want %d", first, want)
			}
			if strings.Contains(first.Error, address) || strings.Contains(first.Error, "refused") {
				t.Errorf("the answer shows what goes on inside: %q", first.Error)
			}
			if rule.Fired() != 1 {
				t.Fatalf("%d faults", rule.Fired())
			}
			second := x.post(x.url(address, receiver), body)
			if second.Code != 200 || tc.duplicate && second.Duplicates != 1 {
				t.Errorf("the second try: %+v", second)
			}
			x.post(x.url(address, receiver), body)
			made := len(x.Messages()) - before
			want := 1
			if tc.before > budget {
				want = 0 // it is in the digest that was there
			}
			if made != want {
				t.Errorf("%d messages, want %d", made, want)
			}
			if tc.before < budget {
				return
			}
			list := &corev1.ConfigMapList{}
			x.List(list, client.MatchingLabels{v1alpha1.ReceiverLabel: receiver})
			for _, cm := range list.Items {
				if want := fmt.Sprintf("📦 %d more", tc.before-budget+1); strings.Contains(cm.Name, "-digest-") && !strings.HasPrefix(cm.Data["text"], want) {
					t.Errorf("%q, want %s", cm.Data["text"], want)
				}
			}
		})
	}
	t.Run("the API is gone", func(t *testing.T) {
		api.SetGone(true)
		body := firing("Gone")
		if r := x.post(x.url(address, "alerts"), body); r.Code != 503 {
			t.Errorf("%+v", r)
		}
		api.SetGone(false)
		if r := x.post(x.url(address, "alerts"), body); len(r.Messages) != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// lists matches lists of messages, for which an API server searches the namespace, but no watches.
func lists(r *http.Request) bool {
	return request("GET", "teamtalkmessages")(r) && r.URL.Query().Get("watch") == "" && r.URL.Query().Get("labelSelector") != ""
}

func pass(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }

// TestNothingIsListed: notifications cost no list of messages, and arrive once with a stale cache.
func TestNothingIsListed(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts")
	x.receiver("flood", withBudget, func(r *v1alpha1.TeamTalkReceiver) { r.Spec.FloodControl.WindowSeconds = 3600 })
	s, api := x.throughProxy(t)
	listed := api.Add(apiproxy.Rule{Match: lists, Do: pass})
	post := func(receiver, name string) reply {
		return x.post(x.url(s.address, receiver), firing(name))
	}
	n := 0
	x.Eventually("each notification is a list", func() bool {
		n++
		before := listed.Fired()
		return len(post("alerts", fmt.Sprint("Warm", n)).Messages) == 1 && listed.Fired() == before
	})
	before := listed.Fired()
	const storm = 20
	for i := range storm {
		name := fmt.Sprint("Storm", i)
		if r := post("alerts", name); len(r.Messages) != 1 {
			t.Errorf("%+v", r)
		}
		if r := post("alerts", name); r.Duplicates != 1 {
			t.Errorf("a repeat: %+v", r)
		}
		if r := post("flood", name); r.Code != 200 {
			t.Errorf("with flood control: %+v", r)
		}
	}
	if got := listed.Fired() - before; got != 0 {
		t.Errorf("%d notifications cost %d lists", 3*storm, got)
	}
	// Another process makes a message meanwhile, and this one does not see it.
	watch := func(r *http.Request) bool {
		return request("GET", "teamtalkmessages")(r) && r.URL.Query().Get("watch") != ""
	}
	api.SetGone(true)
	cut := api.Add(apiproxy.Rule{Match: watch, Do: apiproxy.CutBefore})
	api.SetGone(false)
	if r := x.notify("alerts", "Unseen"); len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	x.Eventually("it does not come back", func() bool {
		r, err := x.tryPost(x.url(s.address, "alerts"), firing("Unseen"))
		if err == nil && len(r.Messages) != 0 {
			t.Fatalf("what another process has received is a message once more: %+v", r)
		}
		return err == nil && r.Code == 200 && r.Duplicates == 1
	})
	if listed.Fired() != before {
		t.Error("it was listed: nothing is shown of an index that is behind")
	}
	cut.Remove()
}

// BenchmarkNotification measures a new notification in a namespace with so many
// messages as TEAMTALK_BENCH_MESSAGES says (2,000): as the index makes it, and with a
// list of them each time, as it is before the index has been read.
func BenchmarkNotification(b *testing.B) {
	messages := 2000
	if n, err := strconv.Atoi(os.Getenv("TEAMTALK_BENCH_MESSAGES")); err == nil {
		messages = n
	}
	x := newTenant(b)
	x.receiver("alerts")
	x.leftBehind(b, messages)
	s, api := x.throughProxy(b)
	listed := api.Add(apiproxy.Rule{Match: func(r *http.Request) bool { return lists(r) && r.URL.Query().Get("limit") == "" }, Do: pass})
	unread := api.Add(apiproxy.Rule{Match: func(r *http.Request) bool { return lists(r) && r.URL.Query().Get("limit") != "" }, Do: apiproxy.CutBefore})
	n := 0
	post := func() bool {
		n++
		return len(x.post(x.url(s.address, "alerts"), firing(fmt.Sprint("Loop", n))).Messages) == 1
	}
	measure := func(b *testing.B) {
		for b.Loop() {
			if !post() {
				b.Fatal("not taken")
			}
		}
	}
	x.Eventually("nothing is taken", post)
	b.Run("listed", measure)
	unread.Remove()
	x.Eventually("the index is not read", func() bool {
		before := listed.Fired()
		return post() && listed.Fired() == before
	})
	b.Run("followed", measure)
}

// leftBehind makes messages as receivers leave them behind.
func (x *tenant) leftBehind(b *testing.B, count int) {
	b.Helper()
	var workers sync.WaitGroup
	next := make(chan int)
	for range 16 {
		workers.Go(func() {
			for i := range next {
				hash := fmt.Sprintf("%020x", i)
				err := world.Admin.Create(b.Context(), x.Message("alerts-"+hash+"-1", "done", func(m *v1alpha1.TeamTalkMessage) {
					m.Labels = map[string]string{v1alpha1.ReceiverLabel: "alerts", v1alpha1.NotificationLabel: hash}
					m.Spec.Suspend = ptr.To(true)
				}))
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	workers.Wait()
}

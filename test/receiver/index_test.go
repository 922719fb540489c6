// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
)

// lists matches lists of messages, which an API server answers by looking through all
// of the namespace; watches are none.
func lists(r *http.Request) bool {
	return request("GET", "teamtalkmessages")(r) && r.URL.Query().Get("watch") == "" && r.URL.Query().Get("labelSelector") != ""
}

func pass(w http.ResponseWriter, r *http.Request, next http.Handler) { next.ServeHTTP(w, r) }

// TestNothingIsListed shows that notifications cost no list of messages, and that they
// arrive once, also when the cache of the process is stale.
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
	// Another process makes a message meanwhile, and this one is not told.
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
		r := x.post(x.url(s.address, "alerts"), firing(fmt.Sprint("Loop", n)))
		return len(r.Messages) == 1
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
				text, suspend := "done", true
				err := world.Admin.Create(b.Context(), &v1alpha1.TeamTalkMessage{
					ObjectMeta: metav1.ObjectMeta{
						Namespace: x.Namespace, Name: fmt.Sprintf("alerts-%s-1", hash),
						Labels: map[string]string{v1alpha1.ReceiverLabel: "alerts", v1alpha1.NotificationLabel: hash},
					},
					Spec: v1alpha1.TeamTalkMessageSpec{
						To: v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}}, Content: v1alpha1.Content{Text: &text}, Suspend: &suspend,
					},
				})
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

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
)

// creations matches the creation of messages, and holds them until they are let go.
func creations(leave <-chan struct{}) apiproxy.Rule {
	return apiproxy.Rule{Match: request("POST", "teamtalkmessages"), Do: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-leave
		next.ServeHTTP(w, r)
	}}
}

// TestOverload shows that a receiver with too much to do does not keep others from
// being served, and that what is too much is to be tried again: Alertmanager gives up
// at all but 5xx.
func TestOverload(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("busy")
	x.receiver("other")
	s, api := x.throughProxy(t, "--max-in-flight", "4", "--max-in-flight-per-caller", "2")
	leave := make(chan struct{})
	held := api.Add(creations(leave))
	body := func(name string) string { return firing(name) }
	var wg sync.WaitGroup
	hold := func(receiver string, names ...string) {
		t.Helper()
		before := held.Fired()
		for _, name := range names {
			wg.Go(func() {
				if r, err := x.tryPost(x.url(s.address, receiver), body(name)); err != nil || r.Code != 200 {
					t.Errorf("%s: %+v, %v", name, r, err)
				}
			})
		}
		x.Must(held.Await(t.Context(), before+len(names)))
	}
	refused := func(receiver, why string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, x.url(s.address, receiver), strings.NewReader(body("Refused")))
		x.Must(err)
		req.Header.Set("Authorization", "Bearer "+secretToken)
		resp, err := http.DefaultClient.Do(req)
		x.Must(err)
		_ = resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %v", why, resp.Status, resp.Header)
		}
	}
	hold("busy", "One", "Two")
	refused("busy", "too much of one receiver")
	hold("other", "Three", "Four")
	refused("other", "too much in all")
	close(leave)
	wg.Wait()
	held.Remove()
	if r := x.post(x.url(s.address, "busy"), body("Refused")); len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	x.awaitTexts(x.Alice, 5)
}

// TestAlertmanagerComesAgain shows that a real Alertmanager tries again what is refused
// because its receiver has too much to do.
func TestAlertmanagerComesAgain(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts")
	s, api := x.throughProxy(t, "--max-in-flight", "2", "--max-in-flight-per-caller", "1")
	leave := make(chan struct{})
	held := api.Add(creations(leave))
	first := make(chan reply, 1)
	go func() {
		r, err := x.tryPost(x.url(s.address, "alerts"), firing("First"))
		if err != nil {
			t.Error(err)
		}
		first <- r
	}()
	x.Must(held.Await(t.Context(), 1))
	am := x.startAlertmanager(t, x.url(s.address, "alerts"))
	am.post("Refused", time.Now(), time.Time{})
	am.awaitMetric(failures, 2)
	close(leave)
	if r := <-first; len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	x.awaitTexts(x.Alice, 2)
	if n := x.settled(); n != 2 {
		t.Errorf("%d messages", n)
	}
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// alertmanager is a running Alertmanager.
type alertmanager struct {
	x       *tenant
	address string
	cluster string
	process *framework.Process
}

// alertmanagerBinary builds Alertmanager on first use.
var alertmanagerBinary = sync.OnceValues(func() (string, error) {
	return framework.Tool(context.Background(), "alertmanager", "alertmanager")
})

// startAlertmanager starts one for the test that posts to target, once it has its peers.
func (x *tenant) startAlertmanager(t *testing.T, target string, peers ...*alertmanager) *alertmanager {
	t.Helper()
	// A group is posted when it changes, and again after 12 seconds; the receivers
	// here take what comes within 10 for a retry.
	return x.runAlertmanager(t, fmt.Sprintf(`
route: {receiver: team, group_by: [alertname], group_wait: 200ms, group_interval: 1s, repeat_interval: 12s}
receivers:
- name: team
  webhook_configs:
  - url: %s
    send_resolved: true
    http_config: {authorization: {credentials_file: %s}}
`, target, x.tokenFile(t)), peers...)
}

// tokenFile writes the token of the receivers into a file.
func (x *tenant) tokenFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	x.Must(os.WriteFile(file, []byte(secretToken), 0o600))
	return file
}

// runAlertmanager starts one with a configuration.
func (x *tenant) runAlertmanager(t *testing.T, content string, peers ...*alertmanager) *alertmanager {
	t.Helper()
	binary, err := alertmanagerBinary()
	x.Must(err)
	dir := t.TempDir()
	config := filepath.Join(dir, "alertmanager.yml")
	x.Must(os.WriteFile(config, []byte(content), 0o600))
	am := &alertmanager{x: x, address: x.freeAddress(), cluster: x.freeAddress()}
	// Peers do not wait for each other: both post.
	args := []string{
		"--config.file", config, "--storage.path", filepath.Join(dir, "data"), "--web.listen-address", am.address,
		"--cluster.listen-address", am.cluster, "--cluster.advertise-address", am.cluster,
		"--cluster.settle-timeout", "1s", "--cluster.peer-timeout", "1ms", "--log.level", "warn",
	}
	for _, p := range peers {
		args = append(args, "--cluster.peer", p.cluster)
	}
	am.process, err = framework.Start(binary, &world.Log, args...)
	x.Must(err)
	t.Cleanup(am.process.Kill)
	x.Must(am.process.AwaitListening(t.Context(), am.address))
	return am
}

// post gives it an alert that goes on for an hour, or ends.
func (am *alertmanager) post(name string, starts time.Time, ends ...time.Time) {
	am.x.Helper()
	b, err := json.Marshal([]any{map[string]any{
		"labels":      map[string]string{"alertname": name, "severity": "critical"},
		"annotations": map[string]string{"summary": name + " is wrong"},
		"startsAt":    starts.Format(time.RFC3339Nano),
		"endsAt":      append(ends, starts.Add(time.Hour))[0].Format(time.RFC3339Nano),
	}})
	am.x.Must(err)
	am.x.Eventually("Alertmanager takes no alert", func() bool {
		resp, _, err := framework.Ask(am.x.Context(), http.DefaultClient, http.MethodPost, "http://"+am.address+"/api/v2/alerts",
			string(b), "Content-Type", "application/json")
		return err == nil && resp.StatusCode == http.StatusOK // it may still be starting
	})
}

// metric reads the sum of one of its metrics, of the integrations that post to receivers.
func (am *alertmanager) metric(name string) float64 {
	am.x.Helper()
	_, shown, err := framework.Ask(am.x.Context(), http.DefaultClient, http.MethodGet, "http://"+am.address+"/metrics", "")
	am.x.Must(err)
	var sum float64
	for line := range strings.Lines(shown) {
		full, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, labels, ok := strings.Cut(full, "{"); base != name || ok && strings.Contains(labels, "integration=") && !strings.Contains(labels, `"webhook"`) && !strings.Contains(labels, `"slack"`) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		am.x.Must(err)
		sum += v
	}
	return sum
}

// awaitMetric waits until a metric is at least so much.
func (am *alertmanager) awaitMetric(name string, least float64) {
	am.x.Helper()
	var got float64
	am.x.EventuallySeen(func() string { return fmt.Sprintf("%s is %g, not %g", name, got, least) }, func() bool {
		got = am.metric(name)
		return got >= least
	})
}

const (
	requests = "alertmanager_notification_requests_total"
	failures = "alertmanager_notification_requests_failed_total"
	peers    = "alertmanager_cluster_members"
)

// count counts texts that hold all of some words.
func count(texts []string, words ...string) int {
	n := 0
	for _, text := range texts {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) }) {
			n++
		}
	}
	return n
}

// awaitCount waits until somebody has so many texts with these words.
func (x *tenant) awaitCount(want int, words ...string) {
	x.Helper()
	var texts []string
	x.EventuallySeen(func() string {
		return fmt.Sprintf("%d texts with %q, want %d: %q", count(texts, words...), words, want, texts)
	}, func() bool {
		texts = x.texts(x.Alice)
		return count(texts, words...) >= want
	})
	if n := count(texts, words...); n > want {
		x.Fatalf("%d texts with %q, want %d: %q", n, words, want, texts)
	}
}

// checkSettled checks how many messages there are, each of which somebody has.
func (x *tenant) checkSettled(want int) {
	x.Helper()
	if n := x.settled(); n != want || len(x.texts(x.Alice)) != want {
		x.Errorf("%d messages, texts %q, want %d", n, x.texts(x.Alice), want)
	}
}

func shortWindow(r *v1alpha1.TeamTalkReceiver) { r.Spec.DedupWindowSeconds = 10 }

// TestAlertmanager: each notification is a message: firing, repeated after repeat_interval, resolved.
func TestAlertmanager(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", shortWindow)
	am := x.startAlertmanager(t, x.url(world.shared, "alerts"))
	starts := time.Now()
	am.post("DiskFull", starts)
	am.post("Other", starts)
	x.awaitCount(1, "FIRING", "DiskFull is wrong")
	x.awaitCount(1, "FIRING", "Other is wrong")
	am.post("Other", starts, time.Now())
	x.awaitCount(1, "RESOLVED", "Other is wrong")
	x.awaitCount(2, "FIRING", "DiskFull is wrong")
	am.post("DiskFull", starts, time.Now())
	x.awaitCount(1, "RESOLVED", "DiskFull is wrong")
	if n := am.metric(failures); n != 0 {
		t.Errorf("%g requests failed", n)
	}
	// Each of its requests made a message, and there is nothing else.
	if n, sent := x.settled(), am.metric(requests); float64(n) != sent || n != len(x.texts(x.Alice)) {
		t.Errorf("%g requests, %d messages, texts %q", sent, n, x.texts(x.Alice))
	}
}

// TestAlertmanagerWhileNobodyServes: an alert arrives once though the gateway was away.
func TestAlertmanagerWhileNobodyServes(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts")
	s := x.serve()
	am := x.startAlertmanager(t, x.url(s.address, "alerts"))
	am.post("Before", time.Now())
	x.awaitCount(1, "Before is wrong")
	s.process.Kill()
	am.post("Meanwhile", time.Now())
	am.awaitMetric(failures, 3)
	s.start()
	x.awaitCount(1, "Meanwhile is wrong")
	x.checkSettled(2)
}

// TestAlertmanagerHearsNothing: Alertmanager posts again what was taken, in part by a killed process.
func TestAlertmanagerHearsNothing(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts")
	s := x.serve()
	front, taken := x.losingAnswers(t, s)
	am := x.startAlertmanager(t, x.url(front, "alerts"))
	am.post("Unheard", time.Now())
	am.awaitMetric(failures, 3)
	s.start()
	x.EventuallySeen(func() string { return fmt.Sprintf("%d answers", taken.Load()) }, func() bool { return taken.Load() >= 3 })
	x.awaitCount(1, "Unheard is wrong")
	x.checkSettled(1)
}

// losingAnswers returns the address of a proxy that loses the first two answers, and kills the gateway with the second
// one. taken counts them all.
func (x *tenant) losingAnswers(t *testing.T, s *serving) (address string, taken *atomic.Int32) {
	t.Helper()
	target, err := url.Parse("http://" + s.address)
	x.Must(err)
	taken = &atomic.Int32{}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(*http.Response) error {
		switch taken.Add(1) {
		case 1:
			return fmt.Errorf("the answer is lost")
		case 2:
			s.process.Kill()
			return fmt.Errorf("the answer is lost, and who gave it")
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	return strings.TrimPrefix(front.URL, "http://"), taken
}

// TestAlertmanagersInACluster: what two Alertmanagers post to two processes arrives once.
func TestAlertmanagersInACluster(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts")
	s := x.serve()
	first := x.startAlertmanager(t, x.url(world.shared, "alerts"))
	second := x.startAlertmanager(t, x.url(s.address, "alerts"), first)
	first.awaitMetric(peers, 2)
	second.awaitMetric(peers, 2)
	// Gossip may keep a peer from posting; go on until both have posted the same alert.
	var alerts int
	x.EventuallySeen(func() string { return fmt.Sprintf("of %d alerts none was posted by both", alerts) }, func() bool {
		alerts++
		before := first.metric(requests) + second.metric(requests)
		name, starts := fmt.Sprintf("Twice%d", alerts), time.Now()
		first.post(name, starts)
		second.post(name, starts)
		x.awaitCount(1, name+" is wrong")
		return first.metric(requests)+second.metric(requests) >= before+2
	})
	x.checkSettled(alerts)
	if n := first.metric(failures) + second.metric(failures); n != 0 {
		t.Errorf("%g requests failed", n)
	}
}

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
	var wg sync.WaitGroup
	hold := func(receiver string, names ...string) {
		t.Helper()
		before := held.Fired()
		for _, name := range names {
			wg.Go(func() {
				if r, err := x.tryPost(x.url(s.address, receiver), firing(name)); err != nil || r.Code != 200 {
					t.Errorf("%s: %+v, %v", name, r, err)
				}
			})
		}
		x.Must(held.Await(t.Context(), before+len(names)))
	}
	refused := func(receiver, why string) {
		t.Helper()
		r := x.post(x.url(s.address, receiver), firing("Refused"))
		if r.Code != 503 || r.header.Get("Retry-After") == "" || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v", why, r)
		}
	}
	hold("busy", "One", "Two")
	refused("busy", "too much of one receiver")
	hold("other", "Three", "Four")
	refused("other", "too much in all")
	close(leave)
	wg.Wait()
	held.Remove()
	if r := x.post(x.url(s.address, "busy"), firing("Refused")); len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	x.awaitTexts(x.Alice, 5)
}

// TestAlertmanagerComesAgain: Alertmanager tries again what a busy receiver refuses.
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
	am.post("Refused", time.Now())
	am.awaitMetric(failures, 2)
	close(leave)
	if r := <-first; len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	x.awaitTexts(x.Alice, 2)
	x.checkSettled(2)
}

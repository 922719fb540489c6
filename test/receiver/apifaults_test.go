// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
)

// faulty serves receivers behind an API server that fails on demand; it returns
// where, and the API server.
func (x *tenant) faulty(t *testing.T) (address string, api *apiproxy.Proxy) {
	t.Helper()
	api, err := apiproxy.Start(t.Context(), world.Plane.Config())
	x.Must(err)
	t.Cleanup(api.Stop)
	cfg := api.Config()
	cfg.QPS = -1
	c, err := client.NewWithWatch(cfg, client.Options{})
	x.Must(err)
	// It neither writes statuses nor follows messages, whose requests the rules would
	// take for its others.
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

// TestTheAPIFails shows that whatever request of whatever kind fails, the caller is
// told to try again, and the alert arrives once.
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
		"the receiver cannot be read":          {"alerts", request("GET", "teamtalkreceivers"), refuse, false, false, 0},
		"the Secret cannot be read":            {"alerts", request("GET", "secrets"), refuse, false, false, 0},
		"messages cannot be listed":            {"alerts", request("GET", "teamtalkmessages"), refuse, false, false, 0},
		"a list hangs":                         {"alerts", request("GET", "teamtalkmessages"), apiproxy.Hang, false, false, 0},
		"a creation is refused":                {"alerts", request("POST", "teamtalkmessages"), refuse, false, false, 0},
		"a creation never arrives":             {"alerts", request("POST", "teamtalkmessages"), apiproxy.CutBefore, false, false, 0},
		"a creation's answer is lost":          {"alerts", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, true, 0},
		"the ledger cannot be read":            {"flood", request("GET", "configmaps"), refuse, false, false, 2},
		"the ledger is not made":               {"flood", request("POST", "configmaps"), refuse, false, false, 0},
		"the ledger is not written":            {"flood", request("PUT", "configmaps/teamtalk-receiver"), refuse, false, false, 2},
		"the ledger's answer is lost":          {"flood", request("PUT", "configmaps/teamtalk-receiver"), apiproxy.CutAfter, false, false, 4},
		"the ledger conflicts":                 {"flood", request("PUT", "configmaps/teamtalk-receiver"), apiproxy.Refuse(http.StatusConflict, metav1.StatusReasonConflict), true, false, 2},
		"beside the ledger, a message is lost": {"flood", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, false, 1},
		"a digest is not made":                 {"flood", request("POST", "configmaps"), refuse, false, false, 3},
		"the message of a digest is not made":  {"flood", request("POST", "teamtalkmessages"), refuse, false, false, 3},
		"the message of a digest is lost":      {"flood", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, false, 3},
		"a digest cannot be read":              {"flood", request("GET", "configmaps/flood"), refuse, false, false, 4},
		"a digest is not written":              {"flood", request("PUT", "configmaps/flood"), refuse, false, false, 4},
		"a digest's answer is lost":            {"flood", request("PUT", "configmaps/flood"), apiproxy.CutAfter, false, false, 4},
		"a digest conflicts":                   {"flood", request("PUT", "configmaps/flood"), apiproxy.Refuse(http.StatusConflict, metav1.StatusReasonConflict), true, false, 4},
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
				t.Errorf("the caller is told what goes on inside: %q", first.Error)
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

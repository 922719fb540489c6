package receiver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
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
	x.must(err)
	t.Cleanup(api.Stop)
	cfg := api.Config()
	cfg.QPS = -1
	c, err := client.NewWithWatch(cfg, client.Options{})
	x.must(err)
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
	x.receiver("flood", withBudget, func(r *v1alpha1.TeamTalkReceiver) { r.Spec.FloodControl.WindowSeconds = 3600 })
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
	}{
		"the receiver cannot be read":       {"alerts", request("GET", "teamtalkreceivers"), refuse, false, false},
		"the Secret cannot be read":         {"alerts", request("GET", "secrets"), refuse, false, false},
		"messages cannot be listed":         {"alerts", request("GET", "teamtalkmessages"), refuse, false, false},
		"a list hangs":                      {"alerts", request("GET", "teamtalkmessages"), apiproxy.Hang, false, false},
		"a creation is refused":             {"alerts", request("POST", "teamtalkmessages"), refuse, false, false},
		"a creation never arrives":          {"alerts", request("POST", "teamtalkmessages"), apiproxy.CutBefore, false, false},
		"a creation's answer is lost":       {"alerts", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, true},
		"the ledger cannot be read":         {"flood", request("GET", "configmaps"), refuse, false, false},
		"the ledger is not written":         {"flood", request("PUT", "configmaps"), refuse, false, false},
		"the ledger's answer is lost":       {"flood", request("PUT", "configmaps"), apiproxy.CutAfter, false, false},
		"the ledger conflicts":              {"flood", request("PUT", "configmaps"), apiproxy.Refuse(http.StatusConflict, metav1.StatusReasonConflict), true, false},
		"beside the ledger, a lost message": {"flood", request("POST", "teamtalkmessages"), apiproxy.CutAfter, false, false},
	}
	// The first entry creates the ledger.
	x.post(x.url(address, "flood"), notification("firing", alert("First", "firing", noon)))
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			rule := api.Add(apiproxy.Rule{Match: tc.match, Count: 1, Do: tc.do})
			defer rule.Remove()
			before := len(x.messages())
			body := notification("firing", alert(strings.ReplaceAll(name, " ", "-"), "firing", noon))
			first := x.post(x.url(address, tc.receiver), body)
			if want := map[bool]int{true: 200, false: 503}[tc.heals]; first.Code != want {
				t.Errorf("the first try: %+v, want %d", first, want)
			}
			if strings.Contains(first.Error, address) || strings.Contains(first.Error, "refused") {
				t.Errorf("the caller is told what goes on inside: %q", first.Error)
			}
			if rule.Fired() != 1 {
				t.Fatalf("%d faults", rule.Fired())
			}
			second := x.post(x.url(address, tc.receiver), body)
			if second.Code != 200 || tc.duplicate && second.Duplicates != 1 {
				t.Errorf("the second try: %+v", second)
			}
			x.post(x.url(address, tc.receiver), body)
			// Of the flood's, those beyond the budget have one digest.
			if made := len(x.messages()) - before; made > 1 || made == 0 && tc.receiver == "alerts" {
				t.Errorf("%d messages", made)
			}
		})
	}
	t.Run("the API is gone", func(t *testing.T) {
		api.SetGone(true)
		body := notification("firing", alert("Gone", "firing", noon))
		if r := x.post(x.url(address, "alerts"), body); r.Code != 503 {
			t.Errorf("%+v", r)
		}
		api.SetGone(false)
		if r := x.post(x.url(address, "alerts"), body); len(r.Messages) != 1 {
			t.Errorf("%+v", r)
		}
	})
}

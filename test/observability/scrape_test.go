// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// text is what is sent: it must not be in any metric.
const text = "Rollback at nine"

// send creates a message and waits for its end.
func send(t *testing.T, name string, to v1alpha1.Recipients) *v1alpha1.TeamTalkMessage {
	t.Helper()
	x := chat(t)
	m := x.Message("", text, func(m *v1alpha1.TeamTalkMessage) { m.GenerateName, m.Spec.To = name+"-", to })
	x.Create(m)
	return x.AwaitMessage(m, "finished", (*v1alpha1.TeamTalkMessage).Finished)
}

// fault has teamtalk-dev do something wrong once.
func fault(t *testing.T, f devserver.Fault) {
	t.Helper()
	f.Count = 1
	chat(t).AddFault(f)
}

// TestMetricsAreServedToThosePermitted asks for /metrics as different clients do.
func TestMetricsAreServedToThosePermitted(t *testing.T) {
	tests := map[string]struct {
		scheme, token string
		// want is the status; 0: none, or one of an error.
		want int
	}{
		"permitted":                 {"https", world.scraper, 200},
		"nobody":                    {"https", "", 401},
		"a token that is none":      {"https", "tea", 401},
		"an account without a role": {"https", world.outsider, 403},
		"in clear":                  {"http", world.scraper, 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			status, body, err := get(t.Context(), tc.scheme+"://"+world.leader.metrics+"/metrics", tc.token)
			if tc.want == 0 && (err != nil || status >= 400) {
				status = 0
			} else if err != nil {
				t.Fatal(err)
			}
			if shown := strings.Contains(body, "teamtalk_operator_"); status != tc.want || shown != (tc.want == 200) {
				t.Errorf("status %d, metrics shown: %v; want %d", status, shown, tc.want)
			}
		})
	}
}

// TestProbes asks leader and standby how they are.
func TestProbes(t *testing.T) {
	for name, o := range map[string]*operator{"leader": world.leader, "standby": world.standby} {
		for _, path := range []string{"/healthz", "/healthz/watchdog", "/readyz"} {
			if status, body, err := get(t.Context(), "http://"+o.health+path, ""); err != nil || status != 200 {
				t.Errorf("%s %s: %d %s %v", name, path, status, body, err)
			}
		}
		if status, body, err := get(t.Context(), "http://"+o.pprof+"/debug/pprof/goroutine?debug=1", ""); err != nil ||
			status != 200 || !strings.Contains(body, "goroutine profile") {
			t.Errorf("%s: no profile: %d %v", name, status, err)
		}
	}
}

// TestPrometheus delivers messages, some with bad luck, and compares what a real
// Prometheus knows then with what became of them.
func TestPrometheus(t *testing.T) {
	p := startPrometheus(t)
	p.await("count(up == 1)", 3)
	p.await("sum(teamtalk_operator_leader)", 1)
	p.await(`teamtalk_operator_connections{server_namespace="chat", server="default", peer="router"}`, 1)
	p.await(`teamtalk_operator_connections{peer="db_proxy"} == teamtalk_operator_connections_desired`, 2)
	p.await("teamtalk_operator_key_loaded", 1)
	// A first event would not be seen, had the series not been there before it.
	p.await("count(teamtalk_operator_silent_drops_total)", 1)
	p.await(`count(teamtalk_operator_recipients_finished_total{reason="OutcomeUnknown"})`, 1)

	counts := map[string]float64{
		`sum(teamtalk_operator_messages_finished_total{outcome="Delivered", reason="Delivered"})`:      7,
		`sum(teamtalk_operator_messages_finished_total{outcome="Failed", reason="RecipientNotFound"})`: 1,
		`sum(teamtalk_operator_messages_finished_total{outcome="PartiallyDelivered"})`:                 1,
		`sum(teamtalk_operator_messages_finished_total)`:                                               9,
		`sum(teamtalk_operator_recipients_finished_total{state="Routed", reason="Delivered"})`:         8,
		`sum(teamtalk_operator_recipients_finished_total{state="Routed", reason="Adopted"})`:           1,
		`sum(teamtalk_operator_recipients_finished_total{state="Failed", reason="RecipientNotFound"})`: 2,
		`sum(teamtalk_operator_recipients_finished_total)`:                                             11,
		`sum(teamtalk_operator_accepted_to_stored_seconds_count)`:                                      9,
		`sum(teamtalk_operator_stored_to_routed_seconds_count)`:                                        9,
		`sum(teamtalk_operator_message_duration_seconds_count)`:                                        9,
		`sum(teamtalk_operator_silent_drops_total)`:                                                    1,
		`sum(teamtalk_operator_adopted_total)`:                                                         1,
		`sum(teamtalk_operator_retries_total{reason="NotStored"})`:                                     1,
		`sum(teamtalk_operator_doubt_duration_seconds_count{end="found"})`:                             1,
		`sum(teamtalk_operator_doubt_duration_seconds_count{end="absent"})`:                            1,
		`sum(teamtalk_operator_step_duration_seconds_count{step="send"})`:                              10,
		`sum(teamtalk_operator_step_duration_seconds_count{step="route"})`:                             9,
	}
	before := map[string]float64{}
	for expr := range counts {
		before[expr] = p.now(expr)
	}
	users := func(ids ...v1alpha1.UserID) v1alpha1.Recipients { return v1alpha1.Recipients{Users: ids} }
	for i := range 3 {
		send(t, fmt.Sprintf("plain-%d", i), users(3))
	}
	send(t, "two", users(3, 4))
	send(t, "group", v1alpha1.Recipients{Groups: []v1alpha1.GroupID{7}})
	send(t, "nobody", users(4242))
	send(t, "some", users(3, 4242))
	fault(t, devserver.Fault{Kind: devserver.FalseSuccess, Command: wire.CommandMsgData})
	send(t, "dropped", users(5))
	fault(t, devserver.Fault{Kind: devserver.CloseAfterStore, Command: wire.CommandMsgData})
	send(t, "adopted", users(6))

	for expr, more := range counts {
		p.await(expr, before[expr]+more)
	}
	p.await(`count(count by (server_namespace, server) (teamtalk_operator_messages_finished_total{server!=""}))`, 1)
	for _, gauge := range []string{"recipients", "conversations", "requests_in_flight"} {
		p.await("sum(teamtalk_operator_"+gauge+")", 0)
	}
	p.await(`max(ALERTS{alertname="TeamTalkSilentDrops", alertstate="firing"})`, 1)
	p.seesTheGateway()
	p.evaluates()
	p.areDocumented()
	p.knowsAll(expressions(t))
	p.isDiscreet()
}

// evaluates checks that Prometheus has evaluated every rule.
func (p *prometheus) evaluates() {
	p.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.api(p.t.Context(), "rules", nil, &data); err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if n++; r.Health != "ok" {
				p.t.Errorf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n == 0 {
		p.t.Error("Prometheus has no rules")
	}
}

// metric is how the names of metrics begin that rules and dashboards may use.
var metric = regexp.MustCompile(`\b(teamtalk_operator|teamtalk_gateway|teamtalk_receiver|controller_runtime|workqueue|rest_client|process|go)_[a-z0-9_]+`)

// knowsAll has Prometheus evaluate expressions, and checks that every metric in
// them is one that the operators expose.
func (p *prometheus) knowsAll(expressions map[string]string) {
	p.t.Helper()
	var known []string
	if err := p.api(p.t.Context(), "label/__name__/values", nil, &known); err != nil {
		p.t.Fatal(err)
	}
	for _, where := range slices.Sorted(maps.Keys(expressions)) {
		expr := expressions[where]
		if _, err := p.query(p.t.Context(), expr); err != nil {
			p.t.Errorf("%s: %v", where, err)
		}
		names := metric.FindAllString(expr, -1)
		if len(names) == 0 {
			p.t.Errorf("%s: no metric in %s", where, expr)
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				p.t.Errorf("%s: there is no metric %s", where, name)
			}
		}
		if strings.HasPrefix(where, "panel ") {
			p.shows(where, expr)
		}
	}
}

// shows checks that an expression has a value: soon, as one scrape may fail.
func (p *prometheus) shows(where, expr string) {
	p.t.Helper()
	var result []sample
	err := wait.PollUntilContextTimeout(p.t.Context(), 100*time.Millisecond, framework.Timeout, true, func(ctx context.Context) (bool, error) {
		var err error
		result, err = p.query(ctx, expr)
		return err == nil && len(result) > 0, nil
	})
	if err != nil {
		p.t.Errorf("%s shows nothing: %s (%v)", where, expr, err)
	}
}

// isDiscreet checks that no label has more in it than the names of servers and
// receivers, and constants; and that none of a target's own had to make way for one.
func (p *prometheus) isDiscreet() {
	p.t.Helper()
	var series []map[string]string
	if err := p.api(p.t.Context(), "series", url.Values{"match[]": {`{__name__=~"teamtalk_.+"}`}}, &series); err != nil {
		p.t.Fatal(err)
	}
	constant := regexp.MustCompile(`^([A-Z][A-Za-z]+|[a-z_]+|[0-9.e+-]+|\+Inf)$`)
	for _, s := range series {
		for label, value := range s {
			switch label {
			case "__name__", "instance", "job", "pod", "service", "container", "namespace", "endpoint": // of the target
			case "server_namespace", "server", "receiver_namespace", "receiver":
			case "version", "commit", "go": // of the build
			case "outcome", "reason", "state", "step", "peer", "end", "recipient_type", "le", "result", "code", "operation", "status", "error_code":
				if !constant.MatchString(value) {
					p.t.Errorf("%s has a label %s=%q", s["__name__"], label, value)
				}
			default:
				p.t.Errorf("%s has a label %s, which nobody knows of", s["__name__"], label)
			}
		}
	}
	if len(series) == 0 {
		p.t.Error("no series")
	}
}

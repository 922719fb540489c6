// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// text is the sent text. It must not be in any metric.
const text = "Rollback at nine"

// send creates a message and waits for its end.
func send(t *testing.T, name string, to v1alpha1.Recipients) *v1alpha1.TeamTalkMessage {
	t.Helper()
	x := chat(t)
	m := x.Message("", text, func(m *v1alpha1.TeamTalkMessage) { m.GenerateName, m.Spec.To = name+"-", to })
	x.Create(m)
	return x.AwaitMessage(m, "finished", (*v1alpha1.TeamTalkMessage).Finished)
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

// TestPrometheus compares what a real Prometheus has with what became of messages.
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
	p.AddFault(devserver.Fault{Kind: devserver.FalseSuccess, Command: wire.CommandMsgData, Count: 1})
	send(t, "dropped", users(5))
	p.AddFault(devserver.Fault{Kind: devserver.CloseAfterStore, Command: wire.CommandMsgData, Count: 1})
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
	p.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	p.Must(p.api("rules", nil, &data))
	n := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			if n++; r.Health != "ok" {
				p.Errorf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n == 0 {
		p.Error("Prometheus has no rules")
	}
}

// metric is how the names of metrics begin that rules and dashboards may use.
var metric = regexp.MustCompile(`\b(teamtalk_operator|teamtalk_gateway|teamtalk_receiver|controller_runtime|workqueue|rest_client|process|go)_[a-z0-9_]+`)

// knowsAll has Prometheus evaluate expressions, and checks that the operators expose their metrics.
func (p *prometheus) knowsAll(expressions map[string]string) {
	p.Helper()
	known := p.metrics()
	for _, where := range slices.Sorted(maps.Keys(expressions)) {
		expr := expressions[where]
		if _, err := p.query(expr); err != nil {
			p.Errorf("%s: %v", where, err)
		}
		names := metric.FindAllString(expr, -1)
		if len(names) == 0 {
			p.Errorf("%s: no metric in %s", where, expr)
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				p.Errorf("%s: there is no metric %s", where, name)
			}
		}
		if strings.HasPrefix(where, "panel ") {
			// One scrape may fail.
			p.awaitResult(expr, "what "+where+" shows", func(got []sample) bool { return len(got) > 0 })
		}
	}
}

// isDiscreet checks that no label has more in it than the names of servers and
// receivers, and constants; and that none of a target's own had to make way for one.
func (p *prometheus) isDiscreet() {
	p.Helper()
	var series []map[string]string
	p.Must(p.api("series", url.Values{"match[]": {`{__name__=~"teamtalk_.+"}`}}, &series))
	constant := regexp.MustCompile(`^([A-Z][A-Za-z]+|[a-z_]+|[a-z]+[A-Z][a-z]+|[0-9.e+-]+|\+Inf)$`)
	for _, s := range series {
		for label, value := range s {
			switch label {
			case "__name__", "instance", "job", "pod", "service", "container", "namespace", "endpoint": // of the target
			case "server_namespace", "server", "receiver_namespace", "receiver":
			case "version", "commit", "go": // of the build
			case "outcome", "reason", "state", "step", "peer", "end", "recipient_type", "le", "result", "code", "operation", "status", "error_code", "expression":
				if !constant.MatchString(value) {
					p.Errorf("%s has a label %s=%q", s["__name__"], label, value)
				}
			default:
				p.Errorf("%s has a label %s, which nobody knows of", s["__name__"], label)
			}
		}
	}
	if len(series) == 0 {
		p.Error("no series")
	}
}

// ofReading matches how often, and in how many seconds in all, recipients of a type have read.
var ofReading = regexp.MustCompile(`(?m)^teamtalk_operator_routed_to_read_seconds_(count|sum)\{recipient_type="(\w+)",[^}]*\} (\S+)$`)

// readBy returns it, as it is now.
func readBy(ctx context.Context) (times map[string]int, took float64, err error) {
	status, body, err := get(ctx, "https://"+world.leader.metrics+"/metrics", world.scraper)
	if err != nil || status != http.StatusOK {
		return nil, 0, fmt.Errorf("scrape: %d %w", status, err)
	}
	times = map[string]int{}
	for _, m := range ofReading.FindAllStringSubmatch(body, -1) {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, 0, err
		}
		if m[1] == "sum" {
			took += value
		} else {
			times[m[2]] += int(value)
		}
	}
	return times, took, nil
}

// readAs has a user of teamtalk-dev read a conversation.
func readAs(t *testing.T, user uint32, session string) {
	t.Helper()
	request := fmt.Sprintf(`{"user": %d, "session": %q}`, user, session)
	answer, _, err := framework.Ask(t.Context(), world.client, http.MethodPost, world.TeamTalk.InboxURL()+"/api/reads", request)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v, %v", request, answer, err)
	}
}

// TestReads: the leader counts who reads its messages once, and not the sender.
func TestReads(t *testing.T) {
	began := time.Now()
	before, tookBefore, err := readBy(t.Context())
	if err != nil || len(before) != 2 {
		t.Fatalf("before anything is read there is %v, %v; want a series for users and one for groups", before, err)
	}
	var times map[string]int
	var took float64
	await := func(what string, users, groups int) {
		t.Helper()
		var last error
		chat(t).EventuallySeen(func() string { return fmt.Sprintf("%s: %v, %v", what, times, last) }, func() bool {
			times, took, last = readBy(t.Context())
			return last == nil && times["user"]-before["user"] >= users && times["group"]-before["group"] >= groups
		})
		if times["user"]-before["user"] != users || times["group"]-before["group"] != groups {
			t.Errorf("%s: read %v, before %v; want %d more by users and %d by groups", what, times, before, users, groups)
		}
	}
	send(t, "read-1", v1alpha1.Recipients{Users: []v1alpha1.UserID{11}})
	send(t, "read-2", v1alpha1.Recipients{Users: []v1alpha1.UserID{11, 12}})
	send(t, "read-3", v1alpha1.Recipients{Groups: []v1alpha1.GroupID{8}})

	// Routers relay in order: by when the last is seen, the others would have been.
	readAs(t, 1, "user:1:11") // the sender's own devices
	readAs(t, 1, "group:8")
	readAs(t, 11, "user:1:11")
	await("user 11", 2, 0)
	readAs(t, 11, "user:1:11")
	readAs(t, 4, "group:8")
	await("group 8", 2, 1)
	readAs(t, 5, "group:8")
	readAs(t, 12, "user:1:12")
	await("user 12", 3, 1)
	if most := 4 * time.Since(began).Seconds(); took-tookBefore <= 0 || took-tookBefore > most {
		t.Errorf("it took %v s, want more than 0 and at most %v", took-tookBefore, most)
	}
}

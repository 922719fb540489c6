// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// directClients post at once in direct mode. They are twice as many as requests may be in flight at db_proxy. A
	// message is also decoded, routed and answered. So fewer clients would not keep db_proxy as busy as the bare
	// client does.
	directClients = 128
	// recordClients post at once in record mode.
	recordClients = 64
	// gatewayMessages is the number of messages of a round, and gatewayAlone that of the client that is alone.
	gatewayMessages = 4000
	gatewayAlone    = 500
	// gatewayRecorded are the messages of a round in record mode: as many as stream has.
	gatewayRecorded = streamMessages
)

var gatewayColumns = []column{
	{"gateway_direct_ratio", 3}, {"gateway_direct_per_s", 0}, {"gateway_direct_bare_per_s", 0},
	{"gateway_direct_cpu_ms", 3},
	{"gateway_unverified_ratio", 3}, {"gateway_unverified_per_s", 0}, {"gateway_unverified_bare_per_s", 0},
	{"gateway_unverified_cpu_ms", 3},
}

// gateway compares the gateway in direct mode with a bare client, in turns, with and without reading back. Each has
// 64 requests in flight at db_proxy. It also measures how long a single client waits.
func gateway(ctx context.Context, w *world, r *report) {
	// An operator would have connections of its own, and nothing to do.
	w.retire(ctx)
	w.addUnverified(ctx)
	g := w.startGateway(ctx, "direct")
	defer g.process.Kill()
	users := w.o.users[:streamUsers]
	samples := w.rounds(gatewayColumns, func(round int, s sample) {
		w.gatewayOnce(ctx, g, s, users, round, directSides{"direct", "", w.bare.send})
		w.gatewayOnce(ctx, g, s, users, round, directSides{
			"unverified", "/namespaces/" + unverifiedNamespace, w.bare.sendUnverified,
		})
	})
	r.addMedians(samples, gatewayColumns)
	alone := make([]time.Duration, gatewayAlone)
	for i := range alone {
		began := time.Now()
		framework.Must(g.send(ctx, w.o.sender, users[i%len(users)], gatewayText("alone", 0)(i)))
		alone[i] = time.Since(began)
	}
	r.add("gateway_direct_p50_ms", milliseconds(percentile(alone, 50)), 2)
	r.add("gateway_direct_p99_ms", milliseconds(percentile(alone, 99)), 2)
}

// unverifiedNamespace has a server whose messages are not read back.
const unverifiedNamespace = "bench-unverified"

func (w *world) addUnverified(ctx context.Context) {
	server := framework.Server(unverifiedNamespace, w.teamtalk.dbProxy, w.teamtalk.router, w.o.sender)
	server.Spec.Verification = v1alpha1.VerificationNever
	framework.Must(framework.CreateNamespace(ctx, w.admin, operatorUser, unverifiedNamespace))
	framework.Must(w.admin.Create(ctx, framework.KeySecret(unverifiedNamespace, w.o.key)))
	framework.Must(w.admin.Create(ctx, server))
}

func gatewayText(side string, round int) func(int) string {
	return func(i int) string { return fmt.Sprintf("Deployment %s-%d-%d has finished", side, round, i) }
}

// directSides are the two sides of a ratio of the gateway in direct mode.
type directSides struct {
	name string
	// prefix of the gateway's endpoints.
	prefix string
	bare   func(ctx context.Context, users []uint32, n int, text func(int) string) time.Duration
}

func (w *world) gatewayOnce(
	ctx context.Context, g *gatewayProcess, s sample, users []uint32, round int, sides directSides,
) {
	name := "gateway_" + sides.name
	ours := gatewayText("ours-"+sides.name, round)
	to := *g
	to.url += sides.prefix
	framework.Must(to.send(ctx, w.o.sender, users[0], "Good morning")) // it connects
	inTurn(round, func() {
		began, before := time.Now(), cpuOf(g.process)
		framework.Must(framework.Parallel(ctx, directClients, gatewayMessages, func(ctx context.Context, i int) {
			framework.Must(to.send(ctx, w.o.sender, users[i%len(users)], ours(i)))
		}))
		s[name+"_per_s"] = perSecond(gatewayMessages, time.Since(began))
		s[name+"_cpu_ms"] = milliseconds(cpuOf(g.process)-before) / gatewayMessages
	}, func() {
		took := sides.bare(ctx, users, gatewayMessages, gatewayText("bare-"+sides.name, round))
		s[name+"_bare_per_s"] = perSecond(gatewayMessages, took)
	})
	s[name+"_ratio"] = s[name+"_per_s"] / s[name+"_bare_per_s"]
	w.verifyGateway(ctx, users, gatewayMessages, ours)
}

// verifyGateway fails unless the store has each of n texts once.
func (w *world) verifyGateway(ctx context.Context, users []uint32, n int, text func(int) string) {
	w.bare.verify(ctx, users, 64, func(user int) []string {
		var texts []string
		for i := user; i < n; i += len(users) {
			texts = append(texts, text(i))
		}
		return texts
	})
}

var recordColumns = []column{
	{"gateway_record_ratio", 3}, {"gateway_record_per_s", 0}, {"gateway_record_stream_per_s", 0},
	{"gateway_record_p50_ms", 0}, {"gateway_record_p99_ms", 0},
}

// gatewayRecord compares the gateway in record mode, with 64 clients, with an operator that starts with a full queue.
// They take turns.
func gatewayRecord(ctx context.Context, w *world, r *report) {
	w.lead(ctx)
	g := w.startGateway(ctx, "record")
	defer g.process.Kill()
	w.retire(ctx)
	users := w.o.users[:streamUsers]
	r.addMedians(w.rounds(recordColumns, func(round int, s sample) {
		inTurn(round, func() { w.recordOnce(ctx, g, s, users, round) }, func() {
			streamed := sample{}
			w.streamOnce(ctx, streamed, round)
			s["gateway_record_stream_per_s"] = streamed["stream_per_s"]
		})
		s["gateway_record_ratio"] = s["gateway_record_per_s"] / s["gateway_record_stream_per_s"]
	}), recordColumns)
}

// recordOnce posts messages while an operator leads.
func (w *world) recordOnce(ctx context.Context, g *gatewayProcess, s sample, users []uint32, round int) {
	w.lead(ctx)
	w.tracker.stop() // the answers are counted, and the clients have no watch
	defer func() { w.tracker = w.track(ctx) }()
	framework.Must(g.send(ctx, w.o.sender, users[0], "Good morning")) // the operator has connected
	text := gatewayText("recorded", round)
	took := make([]time.Duration, gatewayRecorded)
	from, began := w.audit.end(), time.Now()
	framework.Must(framework.Parallel(ctx, recordClients, gatewayRecorded, func(ctx context.Context, i int) {
		began := time.Now()
		framework.Must(g.send(ctx, w.o.sender, users[i%len(users)], text(i)))
		took[i] = time.Since(began)
	}))
	s["gateway_record_per_s"] = perSecond(gatewayRecorded, time.Since(began))
	s["gateway_record_p50_ms"] = milliseconds(percentile(took, 50))
	s["gateway_record_p99_ms"] = milliseconds(percentile(took, 99))
	say("  round %d: requests: %s", round, tally(w.audit.since(from)))
	w.retire(ctx)
	w.verifyGateway(ctx, users, gatewayRecorded, text)
	w.clear(ctx, namespace)
}

type gatewayProcess struct {
	process *framework.Process
	url     string
	client  *http.Client
}

// startGateway waits until the gateway has sent something: in direct mode it connects with the first request.
func (w *world) startGateway(ctx context.Context, mode string) *gatewayProcess {
	address := framework.MustGet(framework.FreeAddresses(1))[0]
	g := &gatewayProcess{
		url:    "http://" + address,
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: directClients}},
	}
	g.process = framework.MustGet(framework.Start(w.binary, w.log, "gateway", "--kubeconfig", w.kubeconfig,
		"--namespace", namespace, "--mode", mode, "--auth", "None", "--bind-address", address,
		"--health-probe-bind-address", "0"))
	w.Cleanup(g.process.Kill)
	framework.Must(g.process.Await(ctx, "the gateway sends", framework.Retried(
		func(ctx context.Context) (string, bool, error) {
			return "", true, g.send(ctx, w.o.sender, w.o.users[0], "Good morning")
		})))
	return g
}

// send posts one message, and returns an error unless it is answered with success.
func (g *gatewayProcess) send(ctx context.Context, sender, to uint32, text string) error {
	body, err := json.Marshal(map[string]any{"from_user_id": sender, "session_id": to, "msg": text})
	if err != nil {
		return err
	}
	answer, err := g.post(ctx, "SendSingleMessage?wait=8", string(body))
	if err == nil && (answer.Code != 0 || answer.MsgID == 0) {
		err = fmt.Errorf("the gateway answers with code %d: %s", answer.Code, answer.Detail)
	}
	return err
}

func (g *gatewayProcess) post(ctx context.Context, endpoint, body string) (answer posted, err error) {
	_, b, err := framework.Ask(ctx, g.client, http.MethodPost, g.url+"/query/"+endpoint, body)
	if err != nil {
		return answer, fmt.Errorf("post to the gateway: %w", err)
	}
	return answer, json.Unmarshal([]byte(b), &answer)
}

type posted struct {
	Code   int    `json:"error_code"`
	Detail string `json:"error_detail"`
	MsgID  int64  `json:"msg_id"`
}

const (
	// refusalRounds is how often each mistake is made.
	refusalRounds = 5
	// absent is a user and a group that no TeamTalk has.
	absent = 2_000_000_000
)

// refusals measures the longest wait of a caller who made a mistake, in both modes. None may succeed.
func refusals(ctx context.Context, w *world, r *report) {
	message := func(to uint32, text string) string {
		return fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, w.o.sender, to, text)
	}
	mistakes := []struct{ name, endpoint, body string }{
		{"no JSON", "SendSingleMessage", "{"},
		{"a missing field", "SendSingleMessage", `{"from_user_id":1,"msg":"hello"}`},
		{"a wrong type", "SendSingleMessage", `{"from_user_id":1,"session_id":[2],"msg":"hello"}`},
		{"10,000 characters", "SendSingleMessage", message(w.o.users[0], strings.Repeat("x", 10_000))},
		{"an empty text", "SendSingleMessage", message(w.o.users[0], "")},
		{"an unknown user", "SendSingleMessage", message(absent, "hello")},
		{"an unknown group", "SendGroupMessage", message(absent, "hello")},
	}
	var longest time.Duration
	for _, mode := range []string{"record", "direct"} {
		g := w.startGateway(ctx, mode)
		defer g.process.Kill()
		for _, m := range mistakes {
			var took time.Duration
			for range refusalRounds {
				began := time.Now()
				answer, err := g.post(ctx, m.endpoint, m.body)
				took = max(took, time.Since(began))
				framework.Must(err)
				if answer.Code == 0 {
					framework.Failf("%s: answered with success", m.name)
				}
			}
			say("  %s, %s: answered within %.0f ms", mode, m.name, milliseconds(took))
			longest = max(longest, took)
		}
		g.process.Kill()
	}
	r.add("gateway_refusal_s", longest.Seconds(), 2)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// gatewayClients post at once, as many as requests may be in flight at db_proxy.
	gatewayClients = 64
	// gatewayMessages of a round, and gatewayAlone of the client that is alone.
	gatewayMessages = 4000
	gatewayAlone    = 500
)

// gateway compares the gateway in direct mode, at 64 clients, with a bare client that
// sends the same to the same users with 64 requests in flight; and says how long one
// client waits that is alone. Both sides take turns as in bulk.
func gateway(ctx context.Context, w *world, r *report) error {
	// It would have connections of its own, and nothing to do.
	if err := w.retire(ctx); err != nil {
		return err
	}
	g, err := w.startGateway(ctx, "direct")
	if err != nil {
		return err
	}
	defer g.process.Kill()
	users := w.o.users[:streamUsers]
	var rounds []gatewayRound
	for round := range w.o.rounds + 1 {
		b, err := w.measureGateway(ctx, g, users, round)
		if err != nil {
			return err
		}
		say("  round %d: %.0f/s by the gateway, %.0f/s by the bare client: %.3f", round, b.gateway, b.bare, b.ratio())
		if round > 0 {
			rounds = append(rounds, b)
		}
	}
	alone := make([]time.Duration, gatewayAlone)
	for i := range alone {
		began := time.Now()
		if err := g.send(ctx, w.o.sender, users[i%len(users)], gatewayText("alone", 0)(i)); err != nil {
			return err
		}
		alone[i] = time.Since(began)
	}
	r.add("gateway_direct_ratio", medianOf(rounds, gatewayRound.ratio), 3)
	r.add("gateway_direct_per_s", medianOf(rounds, func(b gatewayRound) float64 { return b.gateway }), 0)
	r.add("gateway_direct_bare_per_s", medianOf(rounds, func(b gatewayRound) float64 { return b.bare }), 0)
	r.add("gateway_direct_p50_ms", milliseconds(percentile(alone, 50)), 2)
	r.add("gateway_direct_p99_ms", milliseconds(percentile(alone, 99)), 2)
	return nil
}

func gatewayText(side string, round int) func(int) string {
	return func(i int) string { return fmt.Sprintf("Deployment %s-%d-%d has finished", side, round, i) }
}

// measureGateway measures one round, and verifies that all is stored.
func (w *world) measureGateway(ctx context.Context, g *gatewayProcess, users []uint32,
	round int) (b gatewayRound, err error) {
	sides := []func() error{
		func() error {
			began := time.Now()
			err := parallel(ctx, gatewayClients, gatewayMessages, func(ctx context.Context, i int) error {
				return g.send(ctx, w.o.sender, users[i%len(users)], gatewayText("ours", round)(i))
			})
			b.gateway = perSecond(gatewayMessages, time.Since(began))
			return err
		},
		func() error {
			took, err := w.bare.send(ctx, users, gatewayMessages, gatewayText("bare", round))
			b.bare = perSecond(gatewayMessages, took)
			return err
		},
	}
	for i := range sides {
		if err := sides[(i+round)%2](); err != nil {
			return b, err
		}
	}
	return b, w.bare.verify(ctx, users, 64, func(user int) []string {
		var texts []string
		for i := user; i < gatewayMessages; i += len(users) {
			texts = append(texts, gatewayText("ours", round)(i))
		}
		return texts
	})
}

// gatewayRound is what one round has measured: messages per second on both sides.
type gatewayRound struct{ gateway, bare float64 }

func (b gatewayRound) ratio() float64 { return b.gateway / b.bare }

// gatewayProcess is a running gateway.
type gatewayProcess struct {
	process *framework.Process
	url     string
	client  *http.Client
}

// startGateway starts a gateway, and waits until it has sent something: in direct mode
// it connects with the first request.
func (w *world) startGateway(ctx context.Context, mode string) (*gatewayProcess, error) {
	addresses, err := framework.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	g := &gatewayProcess{
		url:    "http://" + addresses[0],
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: gatewayClients}},
	}
	g.process, err = framework.Start(w.binary, w.log, "gateway", "--kubeconfig", w.kubeconfig, "--namespace", namespace,
		"--mode", mode, "--auth", "None", "--bind-address", addresses[0], "--health-probe-bind-address", "0")
	if err != nil {
		return nil, err
	}
	err = until(ctx, "the gateway sends", func(ctx context.Context) (bool, error) {
		select {
		case <-g.process.Ended():
			return false, fmt.Errorf("it has ended: %w", g.process.Err())
		default:
		}
		return g.send(ctx, w.o.sender, w.o.users[0], "Good morning") == nil, nil
	})
	if err != nil {
		g.process.Kill()
	}
	return g, err
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

// post posts to an endpoint.
func (g *gatewayProcess) post(ctx context.Context, endpoint, body string) (posted, error) {
	var answer posted
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/query/"+endpoint, strings.NewReader(body))
	if err != nil {
		return answer, err
	}
	res, err := g.client.Do(req)
	if err != nil {
		return answer, fmt.Errorf("post to the gateway: %w", err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the gateway's answer: %w", err)
	}
	return answer, nil
}

// posted is what the gateway answers.
type posted struct {
	Code   int    `json:"error_code"`
	Detail string `json:"error_detail"`
	MsgID  int64  `json:"msg_id"`
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

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

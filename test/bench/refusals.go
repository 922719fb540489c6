// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// refusalRounds is how often each mistake is made.
	refusalRounds = 5
	// nobody is a user and a group that no TeamTalk has.
	nobody = 2_000_000_000
)

// refusals measures how long callers of the gateway wait at most who have made a
// mistake, in both modes. None may be told that it went well.
func refusals(ctx context.Context, w *world, r *report) error {
	message := func(to uint32, text string) string {
		return fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, w.o.sender, to, text)
	}
	mistakes := []struct{ name, endpoint, body string }{
		{"no JSON", "SendSingleMessage", "{"},
		{"a missing field", "SendSingleMessage", `{"from_user_id":1,"msg":"hello"}`},
		{"a wrong type", "SendSingleMessage", `{"from_user_id":1,"session_id":[2],"msg":"hello"}`},
		{"10,000 characters", "SendSingleMessage", message(w.o.users[0], strings.Repeat("x", 10_000))},
		{"an empty text", "SendSingleMessage", message(w.o.users[0], "")},
		{"an unknown user", "SendSingleMessage", message(nobody, "hello")},
		{"an unknown group", "SendGroupMessage", message(nobody, "hello")},
	}
	if err := w.lead(ctx); err != nil {
		return err
	}
	var longest time.Duration
	for _, mode := range []string{"record", "direct"} {
		g, err := w.startGateway(ctx, mode)
		if err != nil {
			return err
		}
		for _, m := range mistakes {
			var took time.Duration
			for range refusalRounds {
				began := time.Now()
				answer, err := g.post(ctx, m.endpoint, m.body)
				took = max(took, time.Since(began))
				if err == nil && answer.Code == 0 {
					err = fmt.Errorf("%s: answered with success", m.name)
				}
				if err != nil {
					g.process.Kill()
					return err
				}
			}
			say("  %s, %s: answered within %.0f ms", mode, m.name, milliseconds(took))
			longest = max(longest, took)
		}
		g.process.Kill()
	}
	r.add("gateway_refusal_s", longest.Seconds(), 2)
	return nil
}

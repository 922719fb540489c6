// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestPerCaller: who has too much in flight is told to retry, and does not keep
// others from sending.
func TestPerCaller(t *testing.T) {
	t.Parallel()
	x := newTenant(t, framework.Unreachable)
	g := x.central("--max-in-flight", "8", "--max-in-flight-per-caller", "2")
	x.AllowCreate("greedy")
	x.AllowCreate("modest")
	greedy := []string{"Authorization", "Bearer " + x.Token("greedy")}
	modest := []string{"Authorization", "Bearer " + x.Token("modest")}
	done := make(chan struct{}, 2)
	for range cap(done) {
		go func() {
			_, _ = g.try("/query/SendSingleMessage?wait=8", x.hello("waits"), greedy...)
			done <- struct{}{}
		}()
	}
	x.Eventually("the requests are not recorded", func() bool { return len(x.Messages()) == 2 })
	a := g.post("/query/SendSingleMessage", x.hello("one more"), greedy...)
	if *a.Code != 10 || a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || a.Detail == "" {
		t.Errorf("beyond the bound: %+v", a)
	}
	if a := g.post("/query/SendSingleMessage?wait=0", x.hello("hello"), modest...); *a.Code != 0 || a.status != http.StatusAccepted {
		t.Errorf("another caller: %+v", a)
	}
	for range cap(done) {
		<-done
	}
	if a := g.post("/query/SendSingleMessage?wait=0", x.hello("later"), greedy...); a.status != http.StatusAccepted {
		t.Errorf("afterwards: %+v", a)
	}
	if !g.metric(`teamtalk_gateway_requests_total{error_code="10",operation="SendSingleMessage",status="429"} 1`) {
		t.Error("the refusal is not counted")
	}
	if n := len(x.Messages()); n != 4 {
		t.Errorf("%d messages are recorded, want 4", n)
	}
}

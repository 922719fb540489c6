// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestRecorded sends through each endpoint, and finds each message recorded.
func TestRecorded(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.checkSends(t, x.sidecar(), func(t *testing.T, a answer) {
		t.Helper()
		for _, m := range x.Messages() {
			if m.Namespace+"/"+m.Name == a.Message && m.Spec.IdempotencyKey != "" && !m.MayBeRepeated() {
				return
			}
		}
		t.Errorf("no message %s with a generated key is recorded", a.Message)
	})
}

// checkSends sends through each endpoint: a message that is answered with success is stored and pushed once.
func (x *tenant) checkSends(t *testing.T, g *gateway, check func(*testing.T, answer)) {
	t.Helper()
	tests := map[string]struct {
		path, body string
		want       []string
		to         []uint32
	}{
		"single":                      {"SendSingleMessage", fmt.Sprintf(`{"app_key":"any","req_user_id":%d,"from_user_id":%d,"session_id":%d,"msg":%q}`, x.Bot, x.Bot, x.Alice, secretText), []string{secretText}, []uint32{x.Alice}},
		"numbers as strings":          {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":"%d","session_id":"%d","msg":"strings"}`, x.Bot, x.Alice), []string{"strings"}, []uint32{x.Alice}},
		"to_user_id":                  {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"to_user_id":%d,"msg":"older"}`, x.Bot, x.Bob), []string{"older"}, []uint32{x.Bob}},
		"msg is an object":            {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":{"z": 1, "a": ["<é>", null]}}`, x.Bot, x.Bob), []string{`{"z":1,"a":["<é>",null]}`}, []uint32{x.Bob}},
		"msg is an empty one":         {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":{}}`, x.Bot, x.Bob), []string{`{}`}, []uint32{x.Bob}},
		"msg is a number":             {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d.0,"session_id":%d,"msg":7};`, x.Bot, x.Bob), []string{"7"}, []uint32{x.Bob}},
		"a raw newline":               {"SendSingleMessage", fmt.Sprintf("{\"from_user_id\":%d,\"session_id\":%d,\"msg\":\"done\nhost: db1\"}", x.Bot, x.Bob), []string{"done\nhost: db1"}, []uint32{x.Bob}},
		"group":                       {"SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"to all"}`, x.Bot, x.OnCall), []string{"to all"}, []uint32{x.OnCall}},
		"p2p":                         {"SendP2PMessage", fmt.Sprintf(`{"req_user_id":%d,"session_id":%d,"msg":"p2p"}`, x.Bot, x.Alice), []string{"p2p"}, []uint32{x.Alice}},
		"p2p, to a group":             {"SendP2PMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"p2p group","msg_type":17}`, x.Bot, x.OnCall), []string{"p2p group"}, []uint32{x.OnCall}},
		"broadcast":                   {"SendBroadCastMessage", fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d,"%d",%d],"msg":"to both","msg_type":1}`, x.Bot, x.Alice, x.Bob, x.Alice), []string{"to both", "to both"}, []uint32{x.Alice, x.Bob}},
		"p2p, of the documented type": {"SendP2PMessage", fmt.Sprintf(`{"req_user_id":%d,"session_id":%d,"msg":"p2p 3","msg_type":3}`, x.Bot, x.Alice), []string{"p2p 3"}, []uint32{x.Alice}},
		"broadcast, of that type":     {"SendBroadCastMessage", fmt.Sprintf(`{"req_user_id":%d,"session_ids":[%d,%d],"msg":"both 3","msg_type":"3"}`, x.Bot, x.Alice, x.Bob), []string{"both 3", "both 3"}, []uint32{x.Alice, x.Bob}},
		"broadcast to one":            {"SendBroadCastMessage", fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d],"msg":"to one"}`, x.Bot, x.Alice), []string{"to one"}, []uint32{x.Alice}},
		"a replaced character":        {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"\uFFFD\ufffd😀\ud83d\ude00 \ufffd"}`, x.Bot, x.Alice), []string{"\uFFFD\uFFFD😀😀 \uFFFD"}, []uint32{x.Alice}},
		"the longest text":            {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, x.Bot, x.Alice, strings.Repeat("l", 3051)), []string{strings.Repeat("l", 3051)}, []uint32{x.Alice}},
		"unknown fields, blank":       {"SendSingleMessage", fmt.Sprintf("\n {\"color\":[{}],\"from_user_id\":%d,\"session_id\":%d,\"msg\":\"extra\"} \n", x.Bot, x.Alice), []string{"extra"}, []uint32{x.Alice}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := g.post("/query/"+tc.path, tc.body)
			if *a.Code != 0 || a.Text != "成功" || a.status != 200 || a.Detail != "" {
				t.Fatalf("answered %+v", a)
			}
			if got := a.header.Get("Content-Type"); got != "text/html;charset=utf-8" {
				t.Errorf("Content-Type %q", got)
			}
			ids := map[uint32]int64{}
			if broadcast := tc.path == "SendBroadCastMessage"; broadcast != (a.MsgID == 0) || broadcast != (len(a.Results) == len(tc.to)) {
				t.Errorf("msg_id %d and %d results, of %d recipients", a.MsgID, len(a.Results), len(tc.to))
			}
			if len(tc.to) == 1 {
				ids[tc.to[0]] = a.MsgID
			}
			for _, r := range a.Results {
				ids[uint32(r.SessionID)] = r.MsgID
			}
			var texts []string
			for _, row := range x.Rows() {
				if row.Text != tc.want[0] {
					continue
				}
				texts = append(texts, row.Text)
				if int64(row.MsgID) != ids[row.To] {
					t.Errorf("stored as %d, answered %+v", row.MsgID, a)
				}
				// The router acknowledges nothing, and may take a moment.
				x.Eventually("not routed once", func() bool {
					return slices.ContainsFunc(x.Rows(), func(r devserver.StoredMessage) bool {
						return r.To == row.To && r.MsgID == row.MsgID && r.Routed == 1
					})
				})
			}
			if fmt.Sprint(texts) != fmt.Sprint(tc.want) {
				t.Errorf("the store holds %d of it, want %d", len(texts), len(tc.want))
			}
			check(t, a)
		})
	}
}

// TestIdempotencyKey: a message with a key is sent once, however often it is requested.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.checkKey(t, x.sidecar())
}

// checkKey sends with keys, at once, again and again, and after records were lost.
func (x *tenant) checkKey(t *testing.T, g *gateway) {
	t.Helper()
	body, before := x.hello("once"), len(x.Rows())
	var answers []<-chan answer
	for range 8 {
		answers = append(answers, g.postAside("/query/SendSingleMessage", body, "Idempotency-Key", "k1"))
	}
	ids := map[int64]bool{}
	for _, answered := range answers {
		a := <-answered
		if *a.Code != 0 {
			t.Fatalf("answered %+v", a)
		}
		ids[a.MsgID] = true
	}
	if rows := x.Rows()[before:]; len(rows) != 1 || len(ids) != 1 || !ids[int64(rows[0].MsgID)] {
		t.Fatalf("the store holds %+v, answered with %v", rows, ids)
	}

	other := g.post("/query/SendSingleMessage", strings.Replace(body, "once", "other", 1), "Idempotency-Key", "k1")
	if *other.Code != 1 || !strings.Contains(other.Detail, "key") {
		t.Errorf("another text: %+v", other)
	}
	if a := g.post("/query/SendSingleMessage", body, "Idempotency-Key", "generated-1"); *a.Code != 1 || !strings.Contains(a.Detail, "generated-") {
		t.Errorf("a key that only the gateway may make: %+v", a)
	}
	// The same key for another recipient is another key.
	if a := g.post("/query/SendSingleMessage", strings.Replace(body, fmt.Sprint(x.Alice), fmt.Sprint(x.Bob), 1), "Idempotency-Key", "k1"); *a.Code != 0 {
		t.Errorf("another recipient: %+v", a)
	}
	// As when its record was deleted: the store knows it.
	for _, m := range x.Messages() {
		x.Delete(&m)
	}
	if a := g.post("/query/SendSingleMessage", body, "Idempotency-Key", "k1"); *a.Code != 0 || !ids[a.MsgID] {
		t.Errorf("after its record was deleted: %+v", a)
	}
	x.CheckRows(before + 2)
}

// TestRetryAfterFailure: what ended with nothing stored is tried again under its key.
func TestRetryAfterFailure(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	body := fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hello"}`, x.Bot, x.Closed)
	send := func() answer { return g.post("/query/SendGroupMessage?wait=8", body, "Idempotency-Key", "k") }
	if a := send(); *a.Code != 4 || !strings.Contains(a.Detail, "not a member") {
		t.Fatalf("answered %+v", a)
	}
	x.Must(x.TeamTalk.SetMembers(x.Closed, x.Bot, x.Alice))
	for range 2 {
		if a := send(); *a.Code != 0 {
			t.Fatalf("after it was fixed: %+v", a)
		}
	}
	x.CheckRows(1)
}

// TestNoWait: a caller that does not wait gets the name of the recorded message.
func TestNoWait(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	a := g.post("/query/SendSingleMessage?wait=0", x.hello("later"))
	if *a.Code != 0 || a.status != 202 || a.MsgID != 0 || a.Message == "" {
		t.Fatalf("answered %+v", a)
	}
	x.Eventually("not delivered", func() bool { return len(x.Rows()) == 1 })
}

// TestWithoutTokens: messages of the gateway need delivery tokens. A caller is told whose turn it is, and nothing that
// only the author of a TeamTalkMessage could do.
func TestWithoutTokens(t *testing.T) {
	t.Parallel()
	x := newTenant(t, func(s *v1alpha1.TeamTalkServer) { s.Spec.DeliveryToken = v1alpha1.DeliveryTokenDisabled })
	g := x.sidecar()
	a := g.post("/query/SendSingleMessage?wait=8", x.hello("no token"))
	if *a.Code != 10 || !strings.Contains(a.Detail, "deliveryToken is Disabled") || strings.Contains(a.Detail, "remove") {
		t.Errorf("answered %+v", a)
	}
	x.CheckRows(0)
}

// TestTTL: finished messages do not pile up.
func TestTTL(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar("--message-ttl", "1s")
	if a := g.post("/query/SendSingleMessage", x.hello("brief")); *a.Code != 0 {
		t.Fatalf("answered %+v", a)
	}
	x.Eventually("the message is not deleted", func() bool { return len(x.Messages()) == 0 })
}

// TestUnderWay: what takes longer than the caller waits is no success, and goes on.
func TestUnderWay(t *testing.T) {
	t.Parallel()
	x := newTenant(t, framework.Unreachable)
	g := x.sidecar("--wait", "1s")
	a := g.post("/query/SendSingleMessage", x.hello("waits"))
	if *a.Code != 8 || a.Message == "" || !strings.Contains(a.Detail, "not delivered yet") && !strings.Contains(a.Detail, "recorded") {
		t.Fatalf("answered %+v", a)
	}
}

// TestNoRoom: the caller of a message that Kubernetes refuses is asked to retry, with the reason.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	body := x.hello("no room")
	refused := func(want string) {
		t.Helper()
		var a answer
		x.Eventually("not refused for the "+want, func() bool {
			a = g.post("/query/SendSingleMessage", body)
			return strings.Contains(a.Detail, want)
		})
		if *a.Code != 10 || a.status != 503 || a.header.Get("Retry-After") == "" || a.MsgID != 0 {
			t.Errorf("answered %+v, status %d, Retry-After %q", a, a.status, a.header.Get("Retry-After"))
		}
	}
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: x.Namespace, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/teamtalkmessages.teamtalk.io": resource.MustParse("0")}},
	}
	x.Create(quota)
	// There is no controller here that would count.
	quota.Status.Hard = quota.Spec.Hard
	quota.Status.Used = corev1.ResourceList{"count/teamtalkmessages.teamtalk.io": resource.MustParse("0")}
	x.Must(world.Admin.Status().Update(t.Context(), quota))
	refused("ResourceQuota")
	x.Delete(quota)
	// No controller ends it, either.
	x.Delete(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.Namespace}})
	refused("being deleted")
}

// TestNotBound: a gateway without the right to create messages says so, and goes on as soon as it may.
func TestNotBound(t *testing.T) {
	t.Parallel()
	x, other := newTenant(t), newTenant(t)
	g := x.sidecar()
	send := func(query string) answer {
		return g.post("/namespaces/"+other.Namespace+"/query/SendSingleMessage"+query, other.hello("hello"))
	}
	for _, query := range []string{"", "?wait=0"} {
		if a := send(query); *a.Code != 10 || !strings.Contains(a.Detail, "teamtalk-gateway") || a.Message != "" {
			t.Errorf("%q: answered %+v", query, a)
		}
	}
	other.Grant("gateway-"+x.Namespace, "teamtalk-gateway")
	x.Eventually("the right makes no difference", func() bool { return *send("").Code == 0 })
	other.CheckRows(1)
}

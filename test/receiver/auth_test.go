// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// withPassword makes a receiver ask for the tenant's token as a password.
func withPassword(r *v1alpha1.TeamTalkReceiver) {
	r.Spec.Authentication = &v1alpha1.ReceiverAuthentication{BasicSecretRef: &v1alpha1.BasicSecretRef{Name: "caller"}}
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// sign is the base64 of an HMAC-SHA256.
func sign(key, message string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(message))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// TestForms posts with each form of authentication.
func TestForms(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("token")
	x.receiver("password", withPassword)
	x.receiver("alerts", signature(v1alpha1.ReceiverAlertmanager, "", ""))
	x.receiver("base64", signature(v1alpha1.ReceiverAlertmanager, "X-Sign", v1alpha1.EncodingBase64))
	toBob := func(r *v1alpha1.TeamTalkReceiver) { r.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Bob)} }
	x.receiver("dingtalk", signature(v1alpha1.ReceiverDingTalk, "", ""), toBob)
	x.receiver("feishu", signature(v1alpha1.ReceiverFeishu, "", ""), toBob)
	x.receiver("wecom", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type = v1alpha1.ReceiverWeCom }, toBob)
	body := firing("Form")
	ms, seconds := fmt.Sprint(time.Now().UnixMilli()), fmt.Sprint(time.Now().Unix())
	dingTalk := url.Values{"timestamp": {ms}, "sign": {sign(secretToken, ms+"\n"+secretToken)}}.Encode()
	feishu := fmt.Sprintf(`{"timestamp":%q,"sign":%q,"msg_type":"text","content":{"text":"hi"}}`,
		seconds, sign(seconds+"\n"+secretToken, ""))
	const text = `{"msgtype":"text","text":{"content":"hi"}}`
	// The services' own answers, to which tools compare.
	const robot = `{"errcode":0,"errmsg":"ok"}`
	const feishuOK = `{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}`
	for target, tc := range map[string]struct {
		body    string
		headers []string
		// want is the answer. If empty, it has the name of one message.
		want string
	}{
		"token/" + secretToken:              {body, []string{"X", "y"}, ""},
		"token?access_token=" + secretToken: {body, []string{"X", "y"}, ""},
		"token?key=" + secretToken:          {body, []string{"X", "y"}, ""},
		"token?token=" + secretToken:        {body, []string{"X", "y"}, ""},
		"token":                             {body, []string{"X-Gitlab-Token", secretToken}, ""},
		"password":                          {body, []string{"Authorization", basic("caller", secretToken)}, ""},
		"alerts":                            {body, signed(body, secretToken), ""},
		"base64":                            {body, []string{"X-Sign", sign(secretToken, body)}, ""},
		"dingtalk?" + dingTalk:              {text, []string{"X", "y"}, robot},
		"wecom?key=" + secretToken:          {text, []string{"X", "y"}, robot},
		"feishu":                            {feishu, []string{"X", "y"}, feishuOK},
	} {
		name, _, _ := strings.Cut(strings.ReplaceAll(target, "?", "/"), "/")
		resp, got, err := framework.Ask(t.Context(), http.DefaultClient, http.MethodPost, x.url(world.shared, target), tc.body, tc.headers...)
		x.Must(err)
		var r reply
		if err := json.Unmarshal([]byte(got), &r); err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %s, %q, %v", name, resp.Status, got, err)
		}
		if tc.want == "" && len(r.Messages)+r.Duplicates != 1 || tc.want != "" && strings.TrimSpace(got) != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	x.awaitTexts(x.Alice, 4) // one of each receiver
	x.awaitTexts(x.Bob, 3)
}

// TestServed: the status says where a receiver is served, and whether a gateway does.
func TestServed(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	awaitServed := func(name, reason string) string {
		t.Helper()
		r := x.awaitReceiver(name, func(r *v1alpha1.TeamTalkReceiver) bool {
			c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionServed)
			return c != nil && c.Reason == reason && (c.Status == "True") == (reason == v1alpha1.ReasonServed) &&
				c.ObservedGeneration == r.Generation && r.Status.Path == "/v1/receivers/"+x.Namespace+"/"+name
		})
		return r.ResourceVersion
	}
	x.receiver("alerts")
	x.receiver("other")
	x.receiver("later", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication.TokenSecretRef.Name = "later" })
	awaitServed("alerts", v1alpha1.ReasonNotServedYet)
	awaitServed("later", v1alpha1.ReasonNotServedYet)
	// It does not matter who calls.
	second := x.serve()
	post := func(name string) {
		t.Helper()
		for _, address := range []string{world.shared, second.address} {
			x.post(x.url(address, name), "{}", "Authorization", "Bearer guess")
		}
	}
	post("alerts")
	version := awaitServed("alerts", v1alpha1.ReasonServed)
	post("later")
	awaitServed("later", v1alpha1.ReasonSecretNotFound)
	x.CreateSecret("later", map[string]string{"token": "t"})
	x.awaitReady("later", v1alpha1.ReasonReady)
	post("later")
	awaitServed("later", v1alpha1.ReasonServed)

	// Further requests write nothing. Each process has written all that it had to when the second count is there.
	for round := range int64(2) {
		post("alerts")
		for _, address := range []string{world.shared, second.address} {
			x.post(x.url(address, "other"), firing(fmt.Sprint("Served", round, address)))
		}
		x.awaitReceiver("other", func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.Counts.Received == 2*(round+1) })
	}
	if now := awaitServed("alerts", v1alpha1.ReasonServed); now != version {
		t.Errorf("the status was written again: version %s, then %s", version, now)
	}
	// An edit is taken up by the next request.
	x.edit("alerts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.DedupWindowSeconds = 60 })
	post("alerts")
	awaitServed("alerts", v1alpha1.ReasonServed)
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// withSignature makes a receiver take any JSON that is signed.
func withSignature(r *v1alpha1.TeamTalkReceiver) {
	r.Spec.Type = v1alpha1.ReceiverGeneric
	r.Spec.Authentication = &v1alpha1.ReceiverAuthentication{
		HMACSecretRef: &v1alpha1.HMACSecretRef{TokenSecretRef: v1alpha1.TokenSecretRef{Name: "caller"}},
	}
}

// times are what differs from object to object without saying anything.
var times = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|\b[0-9a-f]{64}\b`)

// TestNothingIsLearned has receivers name the servers of others, in whatever state they
// are: answers, statuses and events are those of a server that does not exist.
func TestNothingIsLearned(t *testing.T) {
	t.Parallel()
	x, owner := newTenant(t), newTenant(t)
	owner.Create(owner.Server(framework.Unreachable, func(s *v1alpha1.TeamTalkServer) { s.Name = "closed" }))
	owner.Create(owner.Server(framework.Unreachable, func(s *v1alpha1.TeamTalkServer) {
		s.Name, s.Spec.AESKeySecretRef.Name = "no-key", "absent"
	}))
	servers := map[string]v1alpha1.ServerReference{
		"nowhere": {Namespace: "nowhere", Name: "default"}, "absent": {Namespace: owner.Namespace, Name: "absent"},
		"ready": {Namespace: owner.Namespace, Name: "default"}, "closed": {Namespace: owner.Namespace, Name: "closed"},
		"no-key": {Namespace: owner.Namespace, Name: "no-key"},
	}
	read := map[string]string{}
	for name, ref := range servers {
		x.receiver(name, func(r *v1alpha1.TeamTalkReceiver) {
			sender := v1alpha1.UserID(owner.Bot) // a sender that the server allows
			r.Spec.ServerRef, r.Spec.SenderID = &ref, &sender
		})
		x.awaitReady(name, v1alpha1.ReasonServerNotFound)
		reply := x.notify(name, "Learn")
		if len(reply.Messages) != 1 {
			t.Fatalf("%s: %+v", name, reply)
		}
		m := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(reply.Messages[0])}
		m = x.AwaitMessage(m, "without a server", func(m *v1alpha1.TeamTalkMessage) bool {
			c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
			return c != nil && c.Reason == v1alpha1.ReasonServerNotFound
		})
		r := x.awaitReceiver(name, func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.Counts.Received == 1 })
		shown, err := json.Marshal([]any{reply, m.Status, r.Status})
		x.Must(err)
		all := strings.ReplaceAll(string(shown)+x.awaitEvents(name), `\"`, `"`)
		all = regexp.MustCompile(`-[0-9a-f]{20}-`).ReplaceAllString(times.ReplaceAllString(all, "TIME"), "-HASH-")
		for _, known := range [][2]string{{name + "-HASH", "RECEIVER-HASH"}, {"/" + name + `"`, `/RECEIVER"`}, {`"` + ref.Name + `"`, "SERVER"}, {ref.Namespace, "OWNER"}} {
			all = strings.ReplaceAll(all, known[0], known[1])
		}
		read[name] = all
	}
	for name, shown := range read {
		if shown != read["nowhere"] {
			t.Errorf("a server that is %q shows as\n%s\nbut one that does not exist as\n%s", name, shown, read["nowhere"])
		}
	}
	for _, id := range []uint32{x.Alice, x.Bob} {
		if got := append(x.texts(id), owner.texts(id)...); len(got) != 0 {
			t.Errorf("the store holds %q", got)
		}
	}
}

// awaitEvents waits for an event about a receiver, and returns what its events say.
func (x *tenant) awaitEvents(name string) string {
	x.Helper()
	var said []string
	x.Eventually("no event about "+name, func() bool {
		said = nil
		for _, e := range x.Events(name) {
			if e.Regarding.Kind == "TeamTalkReceiver" {
				said = append(said, fmt.Sprintf("%s %s %s %s %v", e.Type, e.Reason, e.Action, e.Note, e.Related))
			}
		}
		return len(said) > 0
	})
	slices.Sort(said)
	return strings.Join(said, "\n")
}

// TestUnknownCallers: callers without rights get the same answer for receivers that do not exist.
func TestUnknownCallers(t *testing.T) {
	t.Parallel()
	x, home := newTenant(t), newTenant(t)
	x.receiver("secret")
	x.receiver("signed", withSignature)
	x.receiver("cluster", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication = nil })
	x.receiver("password", withPassword)
	home.AllowCreate("app")
	token := home.Token("app")
	good := firing("Strange")
	for what, tc := range map[string]struct {
		body    string
		headers []string
		want    int
	}{
		"nobody":                 {good, []string{"X", "y"}, 401},
		"a guess":                {good, []string{"Authorization", "Bearer guess"}, 401},
		"a token from elsewhere": {good, []string{"Authorization", "Bearer " + token}, 403},
		"a signature":            {good, signed(good, "guess"), 401},
		"a password":             {good, []string{"Authorization", "Basic eDp5"}, 401},
		"a body that is none":    {"{", []string{"X", "y"}, 401},
		"a body too large":       {strings.Repeat(" ", 1<<20+1), []string{"X", "y"}, 413},
	} {
		for _, name := range []string{"absent", "secret", "signed", "cluster", "password"} {
			for _, more := range []string{"", "/guess", "?access_token=guess"} {
				r := x.post(x.url(world.shared, name)+more, tc.body, tc.headers...)
				absent := x.post(x.url(world.shared, "absent")+more, tc.body, tc.headers...)
				if r.Code != tc.want || r.Error != absent.Error || r.ErrMsg != absent.ErrMsg || r.Error+r.ErrMsg == "" {
					t.Errorf("%s, to %q: %+v; to one that does not exist: %+v", what, name+more, r, absent)
				}
			}
		}
	}
}

// TestSenders: a receiver sends only as a sender that the server allows.
func TestSenders(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	asBob := func(r *v1alpha1.TeamTalkReceiver) {
		sender := v1alpha1.UserID(x.Bob)
		r.Spec.SenderID = &sender
	}
	x.receiver("alerts", asBob)
	x.receiver("flood", asBob, withBudget)
	x.receiver("signed", withSignature, asBob)
	body := `{"message":"as somebody else"}`
	for name, reply := range map[string]reply{
		"alerts": x.notify("alerts", "Sender"),
		"flood":  x.notify("flood", "Sender"),
		"signed": x.post(x.url(world.shared, "signed"), body, signed(body, secretToken)...),
	} {
		if len(reply.Messages) != 1 {
			t.Errorf("%s: %+v", name, reply)
		}
		x.awaitReady(name, v1alpha1.ReasonSenderNotPermitted)
	}
	if n := x.settled(); n != 3 {
		t.Errorf("%d messages", n)
	}
	for _, m := range x.Messages() {
		if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady); c == nil || c.Reason != v1alpha1.ReasonSenderNotPermitted {
			t.Errorf("%s: %+v", m.Name, m.Status.Conditions)
		}
	}
	if rows := x.RowsFrom(x.Bob); len(rows) != 0 {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestNothingIsShown sends a text and a token in all places where a caller may, right and wrong. After all tests, they
// must not be in logs, events, statuses or metrics.
func TestNothingIsShown(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	for name, template := range map[string]string{
		"default": "", "fails": "{{fail .CommonAnnotations.summary}}", "ranges": "{{range .CommonAnnotations.summary}}{{end}}",
		"panics": `{{urlParse (printf "http://[%s" .CommonAnnotations.summary)}}`, "calls": "{{index .Alerts .CommonAnnotations.summary}}",
	} {
		x.receiver(name, func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Template = template })
		body := strings.ReplaceAll(firing("Shown"), "Shown is wrong", secretText)
		if r := x.post(x.url(world.shared, name), body); len(r.Messages) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	x.receiver("labels", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.ToLabel, r.Spec.Allow = "to", &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}}
	})
	x.post(x.url(world.shared, "labels"), firing("Shown", "to", secretText))
	x.receiver("signed", withSignature)
	x.CreateSecret("other", map[string]string{"token": "other"})
	x.receiver("other", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication.TokenSecretRef.Name = "other" })
	for _, wrong := range []struct {
		receiver, body string
		headers        []string
		want           int
	}{
		{"other", secretText, nil, 401}, // with a token that is another receiver's
		{"default", secretText, nil, 400},
		{"default", `{"alerts":{"` + secretText + `":1}}`, nil, 400},
		{"default", `{"alerts":[{"startsAt":"` + secretText + `"}]}`, nil, 400},
		{"default", firing("Shown"), []string{"Authorization", secretToken}, 401},
		{"signed", secretText, signed(secretText, secretToken), 400},
		{"signed", secretText, []string{"X-Signature", secretToken}, 401},
	} {
		r := x.post(x.url(world.shared, wrong.receiver), wrong.body, wrong.headers...)
		if r.Code != wrong.want || strings.Contains(r.Error, secretText) || strings.Contains(r.Error, secretToken) {
			t.Errorf("%s, %q: %+v", wrong.receiver, wrong.body, r)
		}
	}
	x.postTokensInURLs()
	x.settled()
	for _, name := range []string{"fails", "ranges", "panics", "calls"} {
		x.awaitReceiver(name, func(r *v1alpha1.TeamTalkReceiver) bool {
			return r.Status.Counts.TemplateFaults == 1 && r.Status.LastError != nil
		})
	}
	x.awaitReceiver("default", func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.Counts.Refused >= 3 })
}

// postTokensInURLs posts to URLs with a token, to those that are served and to others.
func (x *tenant) postTokensInURLs() {
	x.Helper()
	x.receiver("password", withPassword)
	url := x.url(world.shared, "default")
	for target, want := range map[string]int{
		url + "/" + secretToken: 400, url + "?access_token=" + secretToken: 400, url + "?key=" + secretToken + ";x": 401,
		x.url(world.shared, "other") + "/" + secretToken:                       401, // another receiver's
		x.url(world.shared, "other") + "?key=" + secretToken:                   401,
		x.url(world.shared, secretToken):                                       401, // as a name
		"http://" + world.shared + "/v1/receivers/" + secretToken + "/default": 401, // as a namespace
		url + "/" + secretToken + "/more":                                      404,
		url + "//" + secretToken:                                               404,
		"http://" + world.shared + "/" + secretToken:                           404,
	} {
		r, err := x.tryPost(target, "{", "X", "y")
		if x.Must(err); r.Code != want || strings.Contains(r.Error, secretToken) {
			x.Errorf("%s: %+v, want %d", strings.ReplaceAll(target, secretToken, "TOKEN"), r, want)
		}
	}
	if r, err := x.tryPost(x.url(world.shared, "password"), "{", "Authorization", basic("caller", secretToken)); err != nil || r.Code != 400 {
		x.Errorf("%+v, %v", r, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func signed(body, key string) []string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return []string{"X-Signature", "sha256=" + hex.EncodeToString(mac.Sum(nil))}
}

func TestAnswers(t *testing.T) {
	x := newTenant(t)
	x.receiver("alerts")
	x.receiver("signed", withSignature)
	x.receiver("cluster", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication = nil })
	x.receiver("nosecret", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication.TokenSecretRef.Name = "missing" })
	x.receiver("emptysecret", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication.TokenSecretRef.Name = "empty" })
	x.CreateSecret("empty", map[string]string{"token": "\n"})

	bearer := func(account string) []string { return []string{"Authorization", "Bearer " + x.Token(account)} }
	x.AllowCreate("alertmanager")

	good := firing("Answer")
	tests := map[string]struct {
		receiver string
		body     string
		headers  []string
		want     int
	}{
		"an alert":                      {"alerts", good, nil, 200},
		"fields that are not known":     {"alerts", strings.Replace(good, "{", `{"new":{"a":[1]},`, 1), nil, 200},
		"another version":               {"alerts", strings.Replace(good, `"4"`, `"5"`, 1), nil, 200},
		"no token":                      {"alerts", good, []string{"X", "y"}, 401},
		"another token":                 {"alerts", good, []string{"Authorization", "Bearer guess"}, 401},
		"the token as a password":       {"alerts", good, []string{"Authorization", "Basic " + secretToken}, 401},
		"no JSON":                       {"alerts", "{", nil, 400},
		"no alerts":                     {"alerts", `{"alerts":[]}`, nil, 400},
		"wrong types":                   {"alerts", `{"alerts":{"a":1}}`, nil, 400},
		"nothing":                       {"alerts", "", nil, 400},
		"a body that is too large":      {"alerts", strings.Repeat(" ", 1<<20+1), nil, 413},
		"no such receiver":              {"nobody", good, nil, 401},
		"the cluster's own, no token":   {"cluster", good, nil, 401},
		"the cluster's own":             {"cluster", good, bearer("alertmanager"), 200},
		"the cluster's own, no right":   {"cluster", good, bearer("outsider"), 403},
		"no such receiver, but a right": {"nobody", good, bearer("alertmanager"), 404},
		"a Secret that is not there":    {"nosecret", good, nil, 503},
		"a Secret with nothing in it":   {"emptysecret", good, []string{"Authorization", "Bearer "}, 503},
		"a signature":                   {"signed", `{"message":"hi"}`, signed(`{"message":"hi"}`, secretToken), 200},
		"no signature":                  {"signed", `{"message":"hi"}`, nil, 401},
		"a signature by another key":    {"signed", `{"message":"hi"}`, signed(`{"message":"hi"}`, "guess"), 401},
		"a signature of another body":   {"signed", `{"message":"ho"}`, signed(`{"message":"hi"}`, secretToken), 401},
		"a signature, not hexadecimal":  {"signed", `{"message":"hi"}`, []string{"X-Signature", "sha256=zz"}, 401},
		"a signature, another function": {"signed", `{"message":"hi"}`, []string{"X-Signature", "sha1=" + strings.Repeat("00", 20)}, 401},
		"signed, but no JSON":           {"signed", `{`, signed(`{`, secretToken), 400},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := x.post(x.url(world.shared, tc.receiver), tc.body, tc.headers...)
			if got.Code != tc.want || (tc.want == 200) != (got.Error == "") {
				t.Errorf("%+v, want %d", got, tc.want)
			}
		})
	}
	t.Run("another method", func(t *testing.T) {
		resp, _, err := framework.Ask(t.Context(), http.DefaultClient, http.MethodGet, x.url(world.shared, "alerts"), "")
		x.Must(err)
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" {
			t.Errorf("%s", resp.Status)
		}
	})
	// The three good bodies are one notification; each receiver makes a message of its own.
	if got := x.awaitTexts(x.Alice, 3); x.settled() != 3 {
		t.Errorf("%q", got)
	}
	t.Run("the status", func(t *testing.T) {
		r := x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
			c := r.Status.Counts
			return c.Received == 3 && c.Messages == 1 && c.Duplicates == 2 && c.Refused == 5 && c.Failed == 0 &&
				r.Status.LastReceivedTime != nil && strings.HasPrefix(r.Status.LastMessage, "alerts-") && r.Status.LastError != nil
		})
		// Unauthenticated requests came first: they must not write the status.
		if strings.Contains(r.Status.LastError.Message, "not authenticated") {
			t.Errorf("%+v", r.Status.LastError)
		}
		for _, name := range []string{"nosecret", "emptysecret"} {
			r := x.awaitReceiver(name, func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.ObservedGeneration == r.Generation })
			if r.Status.LastError != nil || r.Status.Counts != (v1alpha1.ReceiverCounts{}) {
				t.Errorf("%s: %+v", name, r.Status)
			}
		}
	})
}

// TestUnauthenticatedWriteNoStatus: a status shows errors of authenticated callers only.
func TestUnauthenticatedWriteNoStatus(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts")
	unknown := []string{"Authorization", "Bearer guess"}
	for _, body := range []string{firing("Answer"), "{", strings.Repeat(" ", 1<<20+1)} {
		if r := x.post(x.url(world.shared, "alerts"), body, unknown...); r.Code != 401 && r.Code != 413 {
			t.Errorf("%+v", r)
		}
	}
	// Statuses are written in the order of requests.
	x.post(x.url(world.shared, "alerts"), strings.Repeat(" ", 1<<20+1))
	r := x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool { return r.Status.LastError != nil })
	if want := (v1alpha1.ReceiverCounts{Refused: 1}); r.Status.Counts != want || !strings.Contains(r.Status.LastError.Message, "max_alerts") {
		t.Errorf("%+v, %+v", r.Status.Counts, r.Status.LastError)
	}
}

// TestOddPaths shows that what is no name is as a receiver that does not exist.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.AllowCreate("alertmanager")
	token := x.Token("alertmanager")
	for _, name := range []string{"a%2Fb", "%2e%2e", "UPPER", "a%00b", "a%3Fb", strings.Repeat("x", 300)} {
		for url, known := range map[string]int{
			"http://" + world.shared + "/v1/receivers/" + x.Namespace + "/" + name: 404,
			"http://" + world.shared + "/v1/receivers/" + name + "/alerts":         403,
		} {
			if r := x.post(url, "{}"); r.Code != 401 {
				t.Errorf("an unauthenticated caller at %.80s: %+v", url, r)
			}
			if r := x.post(url, "{}", "Authorization", "Bearer "+token); r.Code != known {
				t.Errorf("who may, in the tenant's namespace, at %.80s: %+v", url, r)
			}
		}
	}
}

// TestCreatedAgain: a receiver takes what a deleted one of its name took, whose messages go with it.
func TestCreatedAgain(t *testing.T) {
	t.Parallel()
	for _, flood := range []bool{false, true} {
		t.Run(fmt.Sprint("flood control ", flood), func(t *testing.T) {
			x := newTenant(t)
			with := func(r *v1alpha1.TeamTalkReceiver) {
				if withBudget(r); !flood {
					r.Spec.FloodControl = nil
				}
			}
			body := firing("Again")
			before := x.receiver("alerts", with)
			first := x.post(x.url(world.shared, "alerts"), body)
			x.Delete(before)
			now := x.receiver("alerts", with)
			second := x.post(x.url(world.shared, "alerts"), body)
			if len(first.Messages) != 1 || len(second.Messages) != 1 || first.Messages[0] == second.Messages[0] {
				t.Fatalf("%+v, then %+v", first, second)
			}
			if r := x.post(x.url(world.shared, "alerts"), body); r.Duplicates != 1 {
				t.Errorf("%+v", r)
			}
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(second.Messages[0])}
			x.Get(m)
			if !metav1.IsControlledBy(m, now) {
				t.Errorf("%+v", m.OwnerReferences)
			}
		})
	}
}

// TestManyAtOnce: a notification that is posted to two processes at once is one message.
func TestManyAtOnce(t *testing.T) {
	x := newTenant(t)
	x.receiver("alerts")
	second := x.serve()
	const different, same = 10, 8
	var wg sync.WaitGroup
	for i := range different * same {
		wg.Go(func() {
			address := []string{world.shared, second.address}[i/different%2]
			body := firing(fmt.Sprint("Storm", i%different))
			if r, err := x.tryPost(x.url(address, "alerts"), body); err != nil || r.Code != 200 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if n := x.settled(); n != different {
		t.Errorf("%d messages, want %d", n, different)
	}
	x.awaitTexts(x.Alice, different)
	if t.Failed() {
		return
	}
	// Firing again, resolved, and with another alert, they are others.
	for _, body := range []string{
		notification("firing", alert("Storm0", "firing", "2026-11-23T13:00:00Z")),
		notification("resolved", alert("Storm0", "resolved", noon)),
		notification("firing", alert("Storm0", "firing", noon), alert("Storm1", "firing", noon)),
	} {
		if r := x.post(x.url(world.shared, "alerts"), body); len(r.Messages) != 1 {
			t.Errorf("%+v", r)
		}
	}
	x.awaitTexts(x.Alice, different+3)
}

// TestRepeats shows that a repeat within the window is none, and one after it is.
func TestRepeats(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", shortWindow)
	body := firing("Again")
	first := x.post(x.url(world.shared, "alerts"), body)
	if len(first.Messages) != 1 || !strings.HasSuffix(first.Messages[0], "-1") {
		t.Fatalf("%+v", first)
	}
	last := x.awaitMessage(x.url(world.shared, "alerts"), body)
	if last.Messages[0] != strings.TrimSuffix(first.Messages[0], "1")+"2" {
		t.Errorf("%s follows %s", last.Messages[0], first.Messages[0])
	}
	messages := x.Messages()
	if len(messages) != 2 {
		t.Fatalf("%d messages", len(messages))
	}
	apart := messages[0].CreationTimestamp.Sub(messages[1].CreationTimestamp.Time).Abs()
	if apart.Seconds() < 9 {
		t.Errorf("made %s apart, within the window", apart)
	}
	x.awaitTexts(x.Alice, 2)
}

// TestAMessageWithoutLabels: a message without labels does not swallow a repeat.
func TestAMessageWithoutLabels(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", shortWindow)
	body := firing("Bare")
	name := x.post(x.url(world.shared, "alerts"), body).Messages[0]
	x.Patch(&v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(name)}, `{"metadata":{"labels":null}}`)
	if r := x.post(x.url(world.shared, "alerts"), body); r.Duplicates != 1 {
		t.Errorf("%+v", r)
	}
	x.awaitMessage(x.url(world.shared, "alerts"), body)
	x.awaitTexts(x.Alice, 2)
}

func TestRecipientsByLabel(t *testing.T) {
	x := newTenant(t)
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.ToLabel = "teamtalk_user"
		r.Spec.Allow = &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}, Groups: []v1alpha1.GroupID{v1alpha1.GroupID(x.Bot)}}
	})
	r := x.post(x.url(world.shared, "alerts"), notification("firing",
		alert("ToBob", "firing", noon, "teamtalk_user", fmt.Sprint(x.Bob)),
		alert("ToGroup", "firing", noon, "teamtalk_user", fmt.Sprint("group:", x.Bot)),
		alert("ToNobody", "firing", noon),
		alert("ToWhoIsNotAllowed", "firing", noon, "teamtalk_user", fmt.Sprint(x.Bot)),
	))
	if len(r.Messages) != 3 {
		t.Fatalf("%+v", r)
	}
	for to, want := range map[uint32][]string{
		x.Bob: {"ToBob"}, x.Bot: {"ToGroup"}, x.Alice: {"ToNobody", "ToWhoIsNotAllowed"},
	} {
		text := x.awaitTexts(to, 1)[0]
		for _, name := range want {
			if !strings.Contains(text, name+" is wrong") {
				t.Errorf("to %d: %s", to, text)
			}
		}
	}
	x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return r.Status.LastError != nil && strings.Contains(r.Status.LastError.Message, "spec.allow")
	})
}

// TestByTheOperator posts to a replica of the operator that serves receivers, and to a gateway.
func TestByTheOperator(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts")
	s := x.serveByOperator(t)
	body := firing("Replica")
	x.awaitMessage(x.url(s.address, "alerts"), body) // once it may read what it was bound to
	for _, address := range []string{s.address, world.shared} {
		if r := x.post(x.url(address, "alerts"), body); r.Duplicates != 1 {
			t.Errorf("%+v", r)
		}
	}
	x.awaitTexts(x.Alice, 1)
	x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return r.Status.Counts.Messages == 1 && r.Status.Counts.Duplicates == 2
	})
}

func TestTemplateFaultIsSaid(t *testing.T) {
	x := newTenant(t)
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Template = `{{fail "no"}}` })
	if r := x.notify("alerts", "Fault"); len(r.Messages) != 1 {
		t.Fatalf("%+v", r)
	}
	if got := x.awaitTexts(x.Alice, 1); !strings.HasPrefix(got[0], "🔥 FIRING") {
		t.Errorf("%q", got)
	}
	x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return r.Status.Counts.TemplateFaults == 1 && strings.Contains(r.Status.LastError.Message, "built-in template")
	})
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// tenant is a framework.Tenant with what the tests of this package do to it.
type tenant struct{ *framework.Tenant }

// newTenant is a tenant with a server, and with the callers' token in a Secret.
func newTenant(t testing.TB) *tenant {
	t.Helper()
	x := &tenant{world.NewTenant(t, world.TeamTalk)}
	x.GrantOperator()
	x.CreateServer()
	x.CreateSecret("caller", map[string]string{"token": secretToken})
	return x
}

// receiver creates a receiver for Alertmanager to alice, whose callers present the
// tenant's token; edits make it another.
func (x *tenant) receiver(name string, edits ...func(*v1alpha1.TeamTalkReceiver)) *v1alpha1.TeamTalkReceiver {
	x.Helper()
	r := &v1alpha1.TeamTalkReceiver{
		ObjectMeta: x.Named(name),
		Spec: v1alpha1.TeamTalkReceiverSpec{
			Type:           v1alpha1.ReceiverAlertmanager,
			To:             v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}},
			Authentication: &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "caller"}},
		},
	}
	for _, edit := range edits {
		edit(r)
	}
	x.Create(r)
	return r
}

// url is where a receiver is served at an address.
func (x *tenant) url(address, name string) string {
	return fmt.Sprintf("http://%s/v1/receivers/%s/%s", address, x.Namespace, name)
}

// awaitReceiver waits until a receiver is as wanted, and returns it.
func (x *tenant) awaitReceiver(name string, is func(*v1alpha1.TeamTalkReceiver) bool) *v1alpha1.TeamTalkReceiver {
	x.Helper()
	return framework.AwaitObject(x.Tenant, &v1alpha1.TeamTalkReceiver{ObjectMeta: x.Named(name)}, "as wanted", is)
}

// notify posts an alert that fires to a receiver of the shared gateway.
func (x *tenant) notify(receiver, alert string) reply {
	x.Helper()
	return x.post(x.url(world.shared, receiver), firing(alert))
}

// reply is what a caller is told.
type reply struct {
	Code       int
	Messages   []string
	Duplicates int
	Folded     int
	Error      string
}

// post posts a body with the tenant's token, or the headers that are given.
func (x *tenant) post(url, body string, headers ...string) reply {
	x.Helper()
	r, err := x.tryPost(url, body, headers...)
	x.Must(err)
	return r
}

func (x *tenant) tryPost(url, body string, headers ...string) (reply, error) {
	req, err := http.NewRequestWithContext(x.Context(), http.MethodPost, url, bytes.NewBufferString(body))
	if err != nil {
		return reply{}, err
	}
	if len(headers) == 0 {
		headers = []string{"Authorization", "Bearer " + secretToken}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{Code: resp.StatusCode}
	if err := json.Unmarshal(b, &r); err != nil {
		return reply{}, fmt.Errorf("answered with %q: %w", b, err)
	}
	return r, nil
}

// texts returns what the store holds from the tenant's sender to somebody.
func (x *tenant) texts(to uint32) []string {
	x.Helper()
	var texts []string
	for _, m := range x.RowsFrom(x.Bot) {
		if m.To == to {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// awaitTexts waits until somebody has so many texts, and fails if they are more.
func (x *tenant) awaitTexts(to uint32, count int) []string {
	x.Helper()
	var got []string
	x.EventuallySeen(func() string { return fmt.Sprintf("%d texts, want %d: %q", len(got), count, got) }, func() bool {
		got = x.texts(to)
		return len(got) >= count
	})
	if len(got) > count {
		x.Fatalf("%d texts, want %d: %q", len(got), count, got)
	}
	return got
}

// settled waits until all messages have finished, and returns how many there are.
func (x *tenant) settled() int {
	x.Helper()
	var count, left int
	x.EventuallySeen(func() string { return fmt.Sprintf("%d of %d messages have not finished", left, count) }, func() bool {
		count, left = 0, 0
		for _, m := range x.Messages() {
			count++
			if !m.Finished() {
				left++
			}
		}
		return left == 0
	})
	return count
}

// alert is one alert of a notification, as JSON.
func alert(name, status, startsAt string, more ...string) string {
	labels := map[string]string{"alertname": name, "severity": "critical"}
	for i := 0; i+1 < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	b, _ := json.Marshal(map[string]any{ // maps of texts marshal
		"status": status, "labels": labels, "annotations": map[string]string{"summary": name + " is wrong"},
		"startsAt": startsAt, "endsAt": "0001-01-01T00:00:00Z", "fingerprint": name + fmt.Sprint(more),
	})
	return string(b)
}

// notification is what Alertmanager would post, with these alerts.
func notification(status string, alerts ...string) string {
	return fmt.Sprintf(`{"version":"4","groupKey":"{}:{}","status":%q,"receiver":"team","externalURL":"http://am","alerts":[%s]}`,
		status, strings.Join(alerts, ","))
}

// firing is a notification of one alert that fires since noon.
func firing(name string, labels ...string) string {
	return notification("firing", alert(name, "firing", noon, labels...))
}

const noon = "2026-11-23T12:00:00Z"

package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// patience bounds every wait: generous, since a loaded machine is no failure.
const patience = 90 * time.Second

var tenants atomic.Int32

// tenant is one test's namespace, with a TeamTalkServer, a sender and two users.
type tenant struct {
	t               testing.TB
	namespace       string
	bot, alice, bob uint32
}

func newTenant(t testing.TB) *tenant {
	t.Helper()
	n := uint32(tenants.Add(1))
	x := &tenant{t: t, namespace: fmt.Sprintf("tenant-%d", n), bot: 1000*n + 1, alice: 1000*n + 2, bob: 1000*n + 3}
	for _, id := range []uint32{x.bot, x.alice, x.bob} {
		x.must(world.TeamTalk.AddUser(devserver.NewUser(id, fmt.Sprintf("nick%d", id), fmt.Sprintf("user%d", id))))
	}
	x.must(world.TeamTalk.AddGroup(x.bot, "oncall", x.bot, x.alice, x.bob))
	x.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.namespace}})
	x.must(framework.GrantNamespace(t.Context(), world.Admin, framework.OperatorUser, x.namespace))
	x.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "teamtalk", Namespace: x.namespace},
		Data:       map[string][]byte{"aesKey": []byte(devserver.DevelopmentKey)},
	})
	x.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "caller", Namespace: x.namespace},
		Data:       map[string][]byte{"token": []byte(secretToken)},
	})
	x.create(&v1alpha1.TeamTalkServer{
		ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: x.namespace},
		Spec: v1alpha1.TeamTalkServerSpec{
			DBProxy:         v1alpha1.DBProxySpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(world.TeamTalk.DBProxyAddr())}},
			Router:          v1alpha1.RouterSpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(world.TeamTalk.RouterAddr())}},
			AESKeySecretRef: v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"},
			Senders:         v1alpha1.SendersSpec{Default: v1alpha1.UserID(x.bot)},
			SettleSeconds:   1,
		},
	})
	return x
}

func (x *tenant) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *tenant) create(o client.Object) {
	x.t.Helper()
	x.must(world.Admin.Create(x.t.Context(), o))
}

// receiver creates a receiver for Alertmanager to alice, whose callers present the
// tenant's token; edits make it another.
func (x *tenant) receiver(name string, edits ...func(*v1alpha1.TeamTalkReceiver)) *v1alpha1.TeamTalkReceiver {
	x.t.Helper()
	r := &v1alpha1.TeamTalkReceiver{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: x.namespace},
		Spec: v1alpha1.TeamTalkReceiverSpec{
			Type:           v1alpha1.ReceiverAlertmanager,
			To:             v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.alice)}},
			Authentication: &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "caller"}},
		},
	}
	for _, edit := range edits {
		edit(r)
	}
	x.create(r)
	return r
}

// url is where a receiver is served at an address.
func (x *tenant) url(address, name string) string {
	return fmt.Sprintf("http://%s/v1/receivers/%s/%s", address, x.namespace, name)
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
	x.t.Helper()
	r, err := x.tryPost(url, body, headers...)
	x.must(err)
	return r
}

func (x *tenant) tryPost(url, body string, headers ...string) (reply, error) {
	req, err := http.NewRequestWithContext(x.t.Context(), http.MethodPost, url, bytes.NewBufferString(body))
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

// eventually waits for a condition; what says what was last seen.
func (x *tenant) eventually(what func() string, condition func(context.Context) (bool, error)) {
	x.t.Helper()
	if err := wait.PollUntilContextTimeout(x.t.Context(), 50*time.Millisecond, patience, true, condition); err != nil {
		x.t.Fatalf("%v: %s", err, what())
	}
}

// texts returns what the store holds from the tenant's sender to somebody.
func (x *tenant) texts(to uint32) []string {
	x.t.Helper()
	all, err := world.TeamTalk.Messages(x.t.Context())
	x.must(err)
	var texts []string
	for _, m := range all {
		if m.From == x.bot && m.To == to {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// awaitTexts waits until somebody has so many texts, and fails if they are more.
func (x *tenant) awaitTexts(to uint32, count int) []string {
	x.t.Helper()
	var got []string
	x.eventually(func() string { return fmt.Sprintf("%d texts, want %d: %q", len(got), count, got) },
		func(context.Context) (bool, error) {
			got = x.texts(to)
			return len(got) >= count, nil
		})
	if len(got) > count {
		x.t.Fatalf("%d texts, want %d: %q", len(got), count, got)
	}
	return got
}

// messages returns the messages that receivers have made.
func (x *tenant) messages() []v1alpha1.TeamTalkMessage {
	x.t.Helper()
	list := &v1alpha1.TeamTalkMessageList{}
	x.must(world.Admin.List(x.t.Context(), list, client.InNamespace(x.namespace)))
	return list.Items
}

// settled waits until all messages have finished, and returns how many there are.
func (x *tenant) settled() int {
	x.t.Helper()
	var count, left int
	x.eventually(func() string { return fmt.Sprintf("%d of %d messages have not finished", left, count) },
		func(context.Context) (bool, error) {
			count, left = 0, 0
			for _, m := range x.messages() {
				count++
				if !m.Finished() {
					left++
				}
			}
			return left == 0, nil
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
	body := `{"version":"4","groupKey":"{}:{}","status":"` + status + `","receiver":"team","externalURL":"http://am","alerts":[`
	for i, a := range alerts {
		if i > 0 {
			body += ","
		}
		body += a
	}
	return body + `]}`
}

const noon = "2026-11-23T12:00:00Z"

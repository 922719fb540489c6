// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// flooded is a receiver that gives a recipient one message a minute, with a clock of
// its own.
type flooded struct {
	t       *testing.T
	handler *Handler
	client  client.WithWatch
	// fail makes a write fail, if it says so.
	fail     func(client.Object) error
	now      time.Time
	receiver *v1alpha1.TeamTalkReceiver
	// sent are digests as they were sent, by name; see send.
	sent map[string]string
}

func newFlooded(t *testing.T) *flooded {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	x := &flooded{t: t, sent: map[string]string{}, receiver: alertmanager(""), fail: func(client.Object) error { return nil }}
	x.receiver.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60}
	x.receiver.Spec.DedupWindowSeconds = 300
	// The real clock bounds requests, so the test's begins with it, at a window's
	// beginning.
	x.now = time.Unix(windowOf(x.receiver.Spec.FloodControl, time.Now())+60, 0)
	x.client = interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if err := x.fail(o); err != nil {
				return err
			}
			// As the API server does, and the fake does not.
			o.SetCreationTimestamp(metav1.NewTime(x.now))
			return c.Create(ctx, o, opts...)
		},
	})
	x.handler = NewHandler(Options{Client: x.client, Log: logr.Discard()})
	x.handler.now = func() time.Time { return x.now }
	return x
}

// take takes a notification of one alert.
func (x *flooded) take(name string) (outcome, error) {
	x.t.Helper()
	outcomes, err := x.takeAll(Alert{Status: statusFiring, Fingerprint: name, Labels: KV{"alertname": name}})
	if len(outcomes) == 0 {
		outcomes = make([]outcome, 1)
	}
	return outcomes[0], err
}

// takeAll takes a notification.
func (x *flooded) takeAll(alerts ...Alert) ([]outcome, error) {
	x.t.Helper()
	parts, _ := split(x.receiver, &Notification{Status: statusFiring, Alerts: alerts})
	templates, err := ParseTemplates(x.receiver)
	if err != nil {
		x.t.Fatal(err)
	}
	texts := &texts{handler: x.handler, receiver: x.receiver, templates: templates}
	return x.handler.take(x.t.Context(), x.receiver, texts, bounded(parts))
}

// digests returns the texts of all digests, by name.
func (x *flooded) digests() map[string]string {
	x.t.Helper()
	list := &corev1.ConfigMapList{}
	if err := x.client.List(x.t.Context(), list); err != nil {
		x.t.Fatal(err)
	}
	texts := map[string]string{}
	for _, cm := range list.Items {
		if strings.Contains(cm.Name, "-digest-") {
			texts[cm.Name] = cm.Data[digestKey]
		}
	}
	return texts
}

func (x *flooded) want(name string, want outcome) {
	x.t.Helper()
	o, err := x.take(name)
	if want.message != "" && o.message != "" {
		want.message = o.message
	}
	if err != nil || o != want {
		x.t.Errorf("%s at %s: %+v, %v; want %+v", name, x.now.Format(time.TimeOnly), o, err, want)
	}
}

var (
	aMessage   = outcome{message: "some"}
	aDuplicate = outcome{duplicate: true}
	aFold      = outcome{folded: true}
)

func TestBudget(t *testing.T) {
	x := newFlooded(t)
	x.want("A", aMessage)
	x.want("A", aDuplicate)
	x.want("B", aFold)
	x.want("B", aDuplicate)
	x.want("C", aFold)
	x.now = x.now.Add(61 * time.Second)
	x.want("A", aDuplicate)
	x.want("B", aDuplicate)
	x.want("D", aMessage)
	x.now = x.now.Add(300 * time.Second)
	// A real repeat, and one of what was folded.
	x.want("B", aMessage)
	x.want("A", aFold)
	got := x.digests()
	if len(got) != 2 {
		t.Fatalf("%q", got)
	}
	for name, text := range got {
		m := &v1alpha1.TeamTalkMessage{}
		if err := x.client.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, m); err != nil {
			t.Fatal(err)
		}
		if m.Spec.Content.TextFrom.ConfigMapKeyRef.Name != name || m.Spec.SendAfter.Unix()%60 != int64(digestDelay.Seconds()) {
			t.Errorf("%+v", m.Spec)
		}
		if !strings.HasPrefix(text, "📦 2 more within 60 s\n• 🔥 FIRING • B\n• 🔥 FIRING • C") &&
			!strings.HasPrefix(text, "📦 1 more within 60 s\n• 🔥 FIRING • A") {
			t.Errorf("%q", text)
		}
	}
}

// TestFoldedLater crashes between the ledger and the digest: who posts again once
// the digest is closed has it folded into a later one.
func TestFoldedLater(t *testing.T) {
	for name, later := range map[string]time.Duration{"while it is open": 5 * time.Second, "when it is closed": 100 * time.Second} {
		t.Run(name, func(t *testing.T) {
			x := newFlooded(t)
			x.want("A", aMessage)
			x.fail = func(o client.Object) error {
				if strings.Contains(o.GetName(), "-digest-") {
					return fmt.Errorf("crashed")
				}
				return nil
			}
			if o, err := x.take("B"); err == nil || o != aFold {
				t.Fatalf("%+v, %v", o, err)
			}
			if got := x.digests(); len(got) != 0 {
				t.Fatalf("%q", got)
			}
			x.fail = func(client.Object) error { return nil }
			x.now = x.now.Add(later)
			x.want("B", aDuplicate)
			x.want("B", aDuplicate)
			got := x.digests()
			if len(got) != 1 {
				t.Fatalf("%q", got)
			}
			var name string
			for name = range got {
			}
			want := fmt.Sprintf("alerts-digest-%d-", windowOf(x.receiver.Spec.FloodControl, x.now))
			if !strings.HasPrefix(name, want) || !strings.Contains(got[name], "• 🔥 FIRING • B") {
				t.Errorf("%q, want %s", got, want)
			}
			// What is folded there since is beside it.
			x.want("C", map[bool]outcome{true: aMessage, false: aFold}[later > time.Minute])
			x.want("D", aFold)
			if got := x.digests()[name]; !strings.Contains(got, "• B\n") || !strings.Contains(got, "• D") {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestTheMessageOfADigestIsMadeLater crashes between a digest's text and its message.
func TestTheMessageOfADigestIsMadeLater(t *testing.T) {
	x := newFlooded(t)
	x.want("A", aMessage)
	x.fail = func(o client.Object) error {
		if _, ok := o.(*v1alpha1.TeamTalkMessage); ok {
			return fmt.Errorf("crashed")
		}
		return nil
	}
	if _, err := x.take("B"); err == nil {
		t.Fatal("nothing failed")
	}
	x.fail = func(client.Object) error { return nil }
	x.now = x.now.Add(100 * time.Second)
	x.want("B", aDuplicate)
	for name := range x.digests() {
		if err := x.client.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, &v1alpha1.TeamTalkMessage{}); err != nil {
			t.Error(err)
		}
	}
	if got := x.digests(); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

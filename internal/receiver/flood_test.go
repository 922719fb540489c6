// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/digest"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// flooded is a receiver that gives a recipient one message a minute, by its own clock.
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
	x := &flooded{t: t, sent: map[string]string{}, receiver: alertmanager(""), fail: func(client.Object) error { return nil }}
	x.receiver.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60}
	x.receiver.Spec.DedupWindowSeconds = 300
	// The real clock bounds requests, so the test's begins with it, with a window.
	x.now = time.Unix(digest.WindowAt(x.receiver.Spec.FloodControl, time.Now()).Begin+60, 0)
	x.client = interceptor.NewClient(newClient(t), interceptor.Funcs{
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

// newClient is a client of an API that has these objects.
func newClient(t testing.TB, objects ...client.Object) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme))
	must(t, v1alpha1.AddToScheme(scheme))
	return fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.TeamTalkReceiver{}).WithObjects(objects...).Build()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// take takes a notification of one alert.
func (x *flooded) take(name string) (outcome, error) {
	x.t.Helper()
	outcomes, err := x.takeAll(template.Alert{Status: template.StatusFiring, Fingerprint: name, Labels: template.KV{"alertname": name}})
	if len(outcomes) == 0 {
		outcomes = make([]outcome, 1)
	}
	return outcomes[0], err
}

// takeAll takes a notification.
func (x *flooded) takeAll(alerts ...template.Alert) ([]outcome, error) {
	x.t.Helper()
	return x.takeBy(x.handler, alerts...)
}

// takeBy takes a notification in the process of a handler.
func (x *flooded) takeBy(h *Handler, alerts ...template.Alert) ([]outcome, error) {
	messages := messagesOf(x.t, x.receiver, alerts...)
	return h.createAll(x.t.Context(), x.receiver, h.newTexts(x.receiver), messages)
}

// messagesOf are the messages of a notification of alerts.
func messagesOf(t testing.TB, r *v1alpha1.TeamTalkReceiver, alerts ...template.Alert) []notification.Message {
	t.Helper()
	n := template.Notification{Status: template.StatusFiring, Alerts: alerts, CommonLabels: template.KV{}, CommonAnnotations: template.KV{}}
	body, err := json.Marshal(n)
	must(t, err)
	decoded, err := notification.Decode(t.Context(), r, body, "application/json")
	must(t, err)
	return decoded.Messages
}

func (x *flooded) message(name string) *v1alpha1.TeamTalkMessage {
	x.t.Helper()
	m := &v1alpha1.TeamTalkMessage{}
	must(x.t, x.client.Get(x.t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, m))
	return m
}

// digests returns the texts of all digests, by name.
func (x *flooded) digests() map[string]string {
	x.t.Helper()
	list := &corev1.ConfigMapList{}
	must(x.t, x.client.List(x.t.Context(), list))
	texts := map[string]string{}
	for _, cm := range list.Items {
		if strings.Contains(cm.Name, "-digest-") {
			texts[cm.Name] = cm.Data[digest.TextKey]
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
	aMessage     = outcome{message: "some"}
	aDuplicate   = outcome{duplicate: true}
	aSuppression = outcome{suppressed: true}
)

func TestBudget(t *testing.T) {
	x := newFlooded(t)
	x.want("A", aMessage)
	x.want("A", aDuplicate)
	x.want("B", aSuppression)
	x.want("B", aDuplicate)
	x.want("C", aSuppression)
	x.now = x.now.Add(61 * time.Second)
	x.want("A", aDuplicate)
	x.want("B", aDuplicate)
	x.want("D", aMessage)
	x.now = x.now.Add(300 * time.Second)
	// A repeat of a sent notification, and one of a suppressed notification.
	x.want("B", aMessage)
	x.want("A", aSuppression)
	got := x.digests()
	if len(got) != 2 {
		t.Fatalf("%q", got)
	}
	for name, text := range got {
		m := x.message(name)
		if m.Spec.Content.TextFrom.ConfigMapKeyRef.Name != name || m.Spec.SendAfter.Unix()%60 != int64(digest.Delay.Seconds()) {
			t.Errorf("%+v", m.Spec)
		}
		if !strings.HasPrefix(text, "📦 2 more within 60 s\n• 🔥 FIRING • B\n• 🔥 FIRING • C") &&
			!strings.HasPrefix(text, "📦 1 more within 60 s\n• 🔥 FIRING • A") {
			t.Errorf("%q", text)
		}
	}
}

// TestSuppressedLater: a crash between state and digest moves to a later digest if that one is closed.
func TestSuppressedLater(t *testing.T) {
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
			if o, err := x.take("B"); err == nil || o != aSuppression {
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
			want := fmt.Sprintf("alerts-digest-%d-", digest.WindowAt(x.receiver.Spec.FloodControl, x.now).Begin)
			if !strings.HasPrefix(name, want) || !strings.Contains(got[name], "• 🔥 FIRING • B") {
				t.Errorf("%q, want %s", got, want)
			}
			// Notifications that are suppressed since are in addition.
			x.want("C", map[bool]outcome{true: aMessage, false: aSuppression}[later > time.Minute])
			x.want("D", aSuppression)
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
		x.message(name)
	}
	if got := x.digests(); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// TestTheRestIsMoved: of a digest that was published in part, only the rest is moved to a later one.
func TestTheRestIsMoved(t *testing.T) {
	x := newFlooded(t)
	x.want("A", aMessage)
	x.want("B", aSuppression)
	fails := true
	x.client = interceptor.NewClient(x.client, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if fails && strings.Contains(o.GetName(), "-digest-") {
				return fmt.Errorf("crashed")
			}
			return c.Update(ctx, o, opts...)
		},
	})
	restarted := NewHandler(Options{Client: x.client, Log: logr.Discard()})
	restarted.now = x.handler.now
	x.handler = restarted
	if o, err := x.take("C"); err == nil || o != aSuppression {
		t.Fatalf("%+v, %v", o, err)
	}
	fails = false
	x.now = x.now.Add(100 * time.Second)
	x.want("D", aMessage)
	x.want("C", aDuplicate)
	var texts []string
	for _, text := range x.digests() {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	want := []string{"📦 1 more within 60 s\n• 🔥 FIRING • B", "📦 1 more within 60 s\n• 🔥 FIRING • C"}
	if !slices.Equal(texts, want) {
		t.Errorf("%q, want %q", texts, want)
	}
}

// TestReadPolicyOfADigest: it has the receiver's, unless it has too many recipients to be escalated.
func TestReadPolicyOfADigest(t *testing.T) {
	escalateTo := &v1alpha1.NamedRecipients{Groups: []v1alpha1.GroupID{7}}
	for name, tc := range map[string]struct {
		policy        *v1alpha1.ReceiverReadPolicy
		to            int
		wantQuorum    int32 // 0: no readPolicy
		wantEscalated int
	}{
		"none":          {nil, 1, 0, 0},
		"no escalation": {&v1alpha1.ReceiverReadPolicy{Quorum: new(int32(2))}, 1, 1, 0},
		"escalation":    {&v1alpha1.ReceiverReadPolicy{Quorum: new(int32(2)), EscalateTo: escalateTo}, 999, 2, 1},
		"too many":      {&v1alpha1.ReceiverReadPolicy{Quorum: new(int32(2)), EscalateTo: escalateTo}, 1000, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFlooded(t)
			x.receiver.Spec.ReadPolicy, x.receiver.Spec.Language = tc.policy, v1alpha1.LanguageChinese
			to := make([]v1alpha1.Recipient, tc.to)
			for i := range to {
				to[i] = v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: uint32(i + 1)}
			}
			m, err := x.handler.createDigest(t.Context(), x.receiver, "alerts-digest-0-x", to, x.now)
			must(t, err)
			if policy := m.Spec.ReadPolicy; (policy != nil) != (tc.wantQuorum > 0) || policy != nil && *policy.Quorum != tc.wantQuorum {
				t.Errorf("%+v", policy)
			}
			if got := m.EscalateTo(); got.Len() != tc.wantEscalated || (m.Spec.Language != "") != (tc.wantEscalated > 0) {
				t.Errorf("escalated to %+v in %q", got, m.Spec.Language)
			}
		})
	}
}

// timesSent returns how often each name is in a message, or in a digest when it was sent.
func (x *flooded) timesSent() map[string]int {
	x.t.Helper()
	list := &v1alpha1.TeamTalkMessageList{}
	must(x.t, x.client.List(x.t.Context(), list))
	times := map[string]int{}
	count := func(text string) {
		for word := range strings.FieldsSeq(text) {
			if name, ok := strings.CutPrefix(word, "Sent-"); ok {
				times[name]++
			}
		}
	}
	for _, m := range list.Items {
		if m.Spec.Content.Text != nil {
			count(*m.Spec.Content.Text)
		}
	}
	for _, text := range x.sent {
		count(text)
	}
	return times
}

// send freezes what digests say whose time has come, as the operator reads it then.
func (x *flooded) send() {
	x.t.Helper()
	for name, text := range x.digests() {
		m := x.message(name)
		if _, done := x.sent[name]; !done && !x.now.Before(m.Spec.SendAfter.Time) {
			x.sent[name] = text
		}
	}
}

// TestEditsWithinAWindow: nothing is lost or sent twice when the spec changes with digests open.
func TestEditsWithinAWindow(t *testing.T) {
	hour := time.Unix((time.Now().Unix()/3600+1)*3600, 0)
	for name, edit := range map[string]func(*v1alpha1.TeamTalkReceiverSpec){
		"a longer window":  func(s *v1alpha1.TeamTalkReceiverSpec) { s.FloodControl.WindowSeconds = 3600 },
		"a shorter window": func(s *v1alpha1.TeamTalkReceiverSpec) { s.FloodControl.WindowSeconds = 10 },
		"a larger budget":  func(s *v1alpha1.TeamTalkReceiverSpec) { s.FloodControl.Messages = 2 },
		"a longer dedup":   func(s *v1alpha1.TeamTalkReceiverSpec) { s.DedupWindowSeconds = 3600 },
		"another template": func(s *v1alpha1.TeamTalkReceiverSpec) {
			s.Template = "Sent-{{(index .Alerts 0).Labels.alertname}} again"
		},
		"one recipient more": func(s *v1alpha1.TeamTalkReceiverSpec) { s.To.Users = append(s.To.Users, 3) },
		"one recipient less": func(s *v1alpha1.TeamTalkReceiverSpec) { s.To.Users = s.To.Users[:1] },
		"who may be named": func(s *v1alpha1.TeamTalkReceiverSpec) {
			s.ToLabel, s.Allow = "to", &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{2}}
		},
		"a group in addition": func(s *v1alpha1.TeamTalkReceiverSpec) { s.To.Groups = append(s.To.Groups, 7) },
	} {
		for _, later := range []time.Duration{time.Second, 25 * time.Second, 10 * time.Minute} {
			t.Run(fmt.Sprint(name, " after ", later), func(t *testing.T) {
				t.Parallel()
				x := newFlooded(t)
				x.receiver.Spec.FloodControl.WindowSeconds = 20
				x.receiver.Spec.To.Users = []v1alpha1.UserID{2, 5}
				x.receiver.Spec.Template = "Sent-{{(index .Alerts 0).Labels.alertname}} first"
				x.now = hour // a window's beginning, whatever its length
				take := func(names ...string) {
					for _, name := range names {
						x.send()
						if o, err := x.take(name); err != nil || o.message == "" && !o.suppressed {
							t.Errorf("%s: %+v, %v", name, o, err)
						}
						x.now = x.now.Add(time.Second)
					}
				}
				take("A", "B", "C")
				x.now = x.now.Add(later)
				edit(&x.receiver.Spec)
				take("D", "E", "F", "G")
				x.want("G", aDuplicate)
				x.now = x.now.Add(2 * time.Hour)
				x.send()
				got := x.timesSent()
				for _, name := range []string{"A", "B", "C", "D", "E", "F", "G"} {
					// Recipients who do not have the same have it in two.
					if n := got[name]; n == 0 || n > 2 || n > 1 && !slices.Contains([]string{"D", "E", "F", "G"}, name) {
						t.Errorf("%s was sent %d times: %q", name, n, x.sent)
					}
				}
			})
		}
	}
}

// TestTwoProcessesDecide: two processes take a storm at once, each its half and some of the other's.
func TestTwoProcessesDecide(t *testing.T) {
	x := newFlooded(t)
	x.receiver.Spec.GroupBy = []string{"instance"}
	x.receiver.Spec.Template = "Sent-{{(index .Alerts 0).Labels.instance}}"
	second := NewHandler(Options{Client: x.client, Log: logr.Discard()})
	second.now = x.handler.now
	var wg sync.WaitGroup
	var messages, suppressed, duplicates atomic.Int64
	for i := range 12 {
		h := []*Handler{x.handler, second}[i%2]
		wg.Go(func() {
			got, err := x.takeBy(h, instances(i/3*5, 10)...)
			if err != nil {
				t.Error(err)
			}
			m, f, d := sum(got)
			messages.Add(int64(m))
			suppressed.Add(int64(f))
			duplicates.Add(int64(d))
		})
	}
	wg.Wait()
	if messages.Load() != 1 || len(x.digests()) != 1 || messages.Load()+suppressed.Load() != 25 || duplicates.Load() != 120-25 {
		t.Errorf("%d messages, %d suppressed, %d duplicates, %q", messages.Load(), suppressed.Load(), duplicates.Load(), x.digests())
	}
	x.now = x.now.Add(time.Hour)
	x.send()
	for name, n := range x.timesSent() {
		if n != 1 {
			t.Errorf("%s was sent %d times", name, n)
		}
	}
	if len(x.timesSent()) != 25 {
		t.Errorf("%v", x.timesSent())
	}
}

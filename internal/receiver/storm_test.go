// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/digest"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// instances are so many alerts that groupBy makes a part of each.
func instances(from, count int) []template.Alert {
	var alerts []template.Alert
	for i := range count {
		alerts = append(alerts, template.Alert{Status: template.StatusFiring, Fingerprint: fmt.Sprint(from + i), Labels: template.KV{"alertname": "A", "instance": fmt.Sprint(from + i)}})
	}
	return alerts
}

// counted counts the requests to the API server.
func (x *flooded) counted() *atomic.Int64 {
	var n atomic.Int64
	x.client = interceptor.NewClient(x.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			n.Add(1)
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			n.Add(1)
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			n.Add(1)
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			n.Add(1)
			return c.Update(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			n.Add(1)
			return c.Patch(ctx, o, p, opts...)
		},
	})
	x.handler.client, x.handler.index.client = x.client, x.client
	x.handler.digests = x.handler.newDigests(lineTime)
	return &n
}

// sum adds outcomes up.
func sum(outcomes []outcome) (messages, suppressed, duplicates int) {
	for _, o := range outcomes {
		if o.message != "" {
			messages++
		}
		if o.suppressed {
			suppressed++
		}
		if o.duplicate {
			duplicates++
		}
	}
	return messages, suppressed, duplicates
}

// TestAStormIsFewRequests: suppressed alerts cost few requests, for any number of alerts and recipients.
func TestAStormIsFewRequests(t *testing.T) {
	for name, count := range map[string]struct{ alerts, recipients int }{
		"many alerts": {1000, 1}, "many recipients": {10, 1000}, "many of both": {1000, 300}, "many who are named": {10, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFlooded(t)
			x.receiver.Spec.GroupBy = []string{"instance"}
			x.receiver.Spec.FloodControl.Messages = 5
			x.receiver.Spec.To.Users = nil
			for i := range count.recipients {
				x.receiver.Spec.To.Users = append(x.receiver.Spec.To.Users, v1alpha1.UserID(1000+i))
			}
			alerts := instances(0, count.alerts)
			if name == "many who are named" {
				x.receiver.Spec.ToLabel, x.receiver.Spec.Allow = "to", &v1alpha1.NamedRecipients{Users: x.receiver.Spec.To.Users}
				x.receiver.Spec.To.Users = []v1alpha1.UserID{1}
				for _, a := range alerts {
					a.Labels["to"] = strings.Trim(strings.ReplaceAll(fmt.Sprint(x.receiver.Spec.Allow.Users), " ", ","), "[]")
				}
			}
			requests := x.counted()
			got, err := x.takeAll(alerts...)
			if m, f, d := sum(got); err != nil || m != 5 || f != count.alerts-5 || d != 0 {
				t.Errorf("%d messages, %d suppressed, %d duplicates: %v", m, f, d, err)
			}
			// A list, the state read and written, five messages, and the two objects of a digest.
			if n := requests.Swap(0); n > 15 {
				t.Errorf("%d requests", n)
			}
			got, err = x.takeAll(alerts...)
			if m, f, d := sum(got); err != nil || m != 0 || f != 0 || d != count.alerts {
				t.Errorf("again: %d messages, %d suppressed, %d duplicates: %v", m, f, d, err)
			}
			if n := requests.Load(); n > 5 {
				t.Errorf("again: %d requests", n)
			}
			digests := x.digests()
			for name, text := range digests {
				if !strings.HasPrefix(text, fmt.Sprintf("📦 %d more within 60 s\n• 🔥 FIRING · A • A", count.alerts-5)) || len(text) > cipher.MaxTextWithToken {
					t.Errorf("%q", text)
				}
				m := &v1alpha1.TeamTalkMessage{}
				if err := x.client.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, m); err != nil || len(m.Spec.To.Users) != count.recipients {
					t.Errorf("to %d: %v", len(m.Spec.To.Users), err)
				}
			}
			if len(digests) != 1 {
				t.Errorf("%d digests", len(digests))
			}
		})
	}
}

// TestADearTemplate: what was taken is not rendered again, and a digest does not wait for a line.
func TestADearTemplate(t *testing.T) {
	x := newFlooded(t)
	x.receiver.Spec.GroupBy = []string{"instance"}
	x.receiver.Spec.FloodControl.Messages = 3
	x.receiver.Spec.Template = `made of {{(index .Alerts 0).Labels.instance}}`
	x.handler.digests = x.handler.newDigests(0) // as if it took longer than there is time for
	alerts := instances(0, 300)
	got, err := x.takeAll(alerts...)
	if m, f, d := sum(got); err != nil || m != 3 || f != 297 || d != 0 {
		t.Errorf("%d messages, %d suppressed, %d duplicates: %v", m, f, d, err)
	}
	for name, text := range x.digests() {
		if !strings.Contains(text, "\n• firing 1 A\n") || strings.Contains(text, "made of") {
			t.Errorf("%s: %q", name, text)
		}
	}
	messages := messagesOf(t, x.receiver, alerts...)
	texts := &texts{handler: x.handler, receiver: x.receiver} // which would panic
	outcomes, err := x.handler.createAll(t.Context(), x.receiver, texts, messages)
	if m, f, d := sum(outcomes); err != nil || m != 0 || f != 0 || d != 300 {
		t.Errorf("again: %d messages, %d suppressed, %d duplicates: %v", m, f, d, err)
	}
}

// TestTriesComeToAnEnd: each try goes on where the one before failed, and each alert is counted once.
func TestTriesComeToAnEnd(t *testing.T) {
	x := newFlooded(t)
	x.receiver.Spec.GroupBy = []string{"instance"}
	x.receiver.Spec.ToLabel = "to"
	x.receiver.Spec.Allow = &v1alpha1.NamedRecipients{}
	var alerts []template.Alert
	for id := range 40 {
		x.receiver.Spec.Allow.Users = append(x.receiver.Spec.Allow.Users, v1alpha1.UserID(id+1))
		for _, a := range instances(10*id, 3) {
			a.Labels["to"] = fmt.Sprint(id + 1)
			alerts = append(alerts, a)
		}
	}
	// So many creations succeed in a try.
	var left atomic.Int64
	x.fail = func(client.Object) error {
		if left.Add(-1) < 0 {
			return fmt.Errorf("no more of this")
		}
		return nil
	}
	messages, suppressed, tries := 0, 0, 0
	for err := fmt.Errorf("not tried"); err != nil; tries++ {
		left.Store(10)
		var got []outcome
		got, err = x.takeAll(alerts...)
		m, f, _ := sum(got)
		messages, suppressed = messages+m, suppressed+f
		if tries > 20 {
			t.Fatalf("%d messages, %d suppressed after %d tries: %v", messages, suppressed, tries, err)
		}
	}
	// A state, 40 messages, and 40 digests in two objects each.
	if messages != 40 || suppressed != 80 || len(x.digests()) != 40 || tries < 121/10 {
		t.Errorf("%d messages, %d suppressed, %d digests in %d tries", messages, suppressed, len(x.digests()), tries)
	}
	for name, text := range x.digests() {
		if strings.Count(text, "\n• ") != 2 || !strings.HasPrefix(text, "📦 2 more") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// TestTheDigestsOfALostState: without the state, nothing that was suppressed is lost.
func TestTheDigestsOfALostState(t *testing.T) {
	x := newFlooded(t)
	for _, name := range []string{"A", "B", "C"} {
		if _, err := x.take(name); err != nil {
			t.Fatal(err)
		}
	}
	cm := &corev1.ConfigMap{}
	cm.Namespace, cm.Name = "chat", digest.StateName(x.receiver)
	must(t, x.client.Delete(t.Context(), cm))
	x.want("D", aMessage)
	x.want("E", aSuppression)
	var texts []string
	for _, text := range x.digests() {
		texts = append(texts, text)
	}
	if all := strings.Join(texts, "\n"); len(texts) != 2 || !strings.Contains(all, "• B") || !strings.Contains(all, "• C") || !strings.Contains(all, "• E") {
		t.Errorf("%q", texts)
	}
}

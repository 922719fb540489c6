// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/digest"
)

// TestForeignConfigMap shows that nothing of others is overwritten.
func TestForeignConfigMap(t *testing.T) {
	for name, edit := range map[string]func(*corev1.ConfigMap){
		"without an owner": func(*corev1.ConfigMap) {},
		"with the label":   func(cm *corev1.ConfigMap) { cm.Labels = map[string]string{v1alpha1.ReceiverLabel: "alerts"} },
		"of another receiver": func(cm *corev1.ConfigMap) {
			other := alertmanager("")
			other.UID = "another"
			cm.OwnerReferences = []metav1.OwnerReference{other.OwnerReference()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFlooded(t)
			foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: digest.StateName(x.receiver)}, Data: map[string]string{"theirs": "kept"}}
			edit(foreign)
			must(t, x.client.Create(t.Context(), foreign))
			if _, err := x.take("A"); err == nil || !strings.Contains(err.Error(), foreign.Name+" does not belong") {
				t.Errorf("%v", err)
			}
			if err := x.client.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil || foreign.Data["theirs"] != "kept" {
				t.Errorf("%+v, %v", foreign, err)
			}
		})
	}
}

// TestDamagedState: flood control whose ConfigMap was edited refuses nothing, begins to count again, and is reported.
func TestDamagedState(t *testing.T) {
	for name, data := range map[string]map[string]string{
		"not JSON": {"state": "?"}, "no epoch": {"state": "{}"}, "no data": nil,
		"an incomplete digest": {"state": `{"epoch":"e","digests":[null]}`},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFlooded(t)
			x.want("A", aMessage)
			cm := &corev1.ConfigMap{}
			state := client.ObjectKey{Namespace: "chat", Name: digest.StateName(x.receiver)}
			must(t, x.client.Get(t.Context(), state, cm))
			cm.Data = data
			must(t, x.client.Update(t.Context(), cm))
			x.want("B", aMessage)
			x.want("C", aSuppression)
			x.wantReported(state.Name + " was damaged")
		})
	}
}

// wantReported checks the last error of the receiver's status.
func (x *flooded) wantReported(want string) {
	x.t.Helper()
	x.handler.status.mu.Lock()
	defer x.handler.status.mu.Unlock()
	s := x.handler.status.pending[client.ObjectKeyFromObject(x.receiver)]
	if s == nil || s.LastError == nil || !strings.Contains(s.LastError.Message, want) {
		x.t.Errorf("%+v", s)
	}
}

// TestDamagedDigest: a digest whose ConfigMap was edited refuses nothing, loses nothing, and is reported.
func TestDamagedDigest(t *testing.T) {
	edits := map[string]func(*corev1.ConfigMap){
		"not JSON":           func(cm *corev1.ConfigMap) { cm.Data["published"] = "?" },
		"negative":           func(cm *corev1.ConfigMap) { cm.Data["published"] = `{"count":-1,"lines":-1}` },
		"no data":            func(cm *corev1.ConfigMap) { cm.Data = nil },
		"without the labels": func(cm *corev1.ConfigMap) { cm.Labels = nil },
	}
	for name, edit := range edits {
		for when, later := range map[string]time.Duration{"open": time.Second, "closed": 100 * time.Second} {
			t.Run(name+" "+when, func(t *testing.T) {
				x := newFlooded(t)
				x.want("A", aMessage)
				x.want("B", aSuppression)
				var damaged *corev1.ConfigMap
				for name := range x.digests() {
					damaged = &corev1.ConfigMap{}
					must(t, x.client.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, damaged))
				}
				edit(damaged)
				must(t, x.client.Update(t.Context(), damaged))
				// Another process, which does not know the published digests.
				x.handler = NewHandler(Options{Client: x.client, Log: logr.Discard()})
				x.handler.now = func() time.Time { return x.now }
				x.now = x.now.Add(later)
				foreign := damaged.Labels == nil
				if foreign && when == "open" {
					// It is not overwritten, so the alert is refused until the digest is closed.
					if o, err := x.take("C"); err == nil || o != aSuppression || !strings.Contains(err.Error(), damaged.Name) {
						t.Errorf("%+v, %v", o, err)
					}
					x.now = x.now.Add(100 * time.Second)
					x.want("C", aDuplicate)
				} else {
					x.want("C", map[string]outcome{"open": aSuppression, "closed": aMessage}[when])
				}
				all := ""
				for name, text := range x.digests() {
					if name != damaged.Name || when == "open" && !foreign {
						all += text
					}
				}
				if !strings.Contains(all, "• B") || when == "open" && !strings.Contains(all, "• C") {
					t.Errorf("%q", all)
				}
				x.wantReported(damaged.Name)
			})
		}
	}
}

// TestUnreadableDigest: a closed digest that cannot be read refuses its own alerts, and no others, until it can.
func TestUnreadableDigest(t *testing.T) {
	x := newFlooded(t)
	fails := true
	x.client = interceptor.NewClient(x.client, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if fails && strings.Contains(key.Name, "-digest-") {
				return errors.New("it cannot be read")
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	x.handler = NewHandler(Options{Client: x.client, Log: logr.Discard()})
	x.handler.now = func() time.Time { return x.now }
	x.want("A", aMessage)
	if o, err := x.take("B"); err == nil || o != aSuppression {
		t.Errorf("%+v, %v", o, err)
	}
	x.now = x.now.Add(100 * time.Second)
	x.want("C", aMessage)
	if o, err := x.take("B"); err == nil || o != aDuplicate {
		t.Errorf("%+v, %v", o, err)
	}
	fails = false
	x.want("B", aDuplicate)
	got := x.digests()
	for name, text := range got {
		if x.message(name); !strings.Contains(text, "• B") {
			t.Errorf("%q", text)
		}
	}
	if len(got) != 1 {
		t.Errorf("%q", got)
	}
}

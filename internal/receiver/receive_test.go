// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// TestMoreRecipientsThanAMessageHas: all recipients of an alert get it, and each once.
func TestMoreRecipientsThanAMessageHas(t *testing.T) {
	for _, flood := range []bool{false, true} {
		t.Run(fmt.Sprint("flood control ", flood), func(t *testing.T) {
			x := newFlooded(t)
			x.receiver.Spec.ToLabel, x.receiver.Spec.Allow = "to", &v1alpha1.NamedRecipients{}
			if !flood {
				x.receiver.Spec.FloodControl = nil
			}
			var names []string
			for id := range 1000 {
				x.receiver.Spec.Allow.Users = append(x.receiver.Spec.Allow.Users, v1alpha1.UserID(id+1))
				x.receiver.Spec.Allow.Groups = append(x.receiver.Spec.Allow.Groups, v1alpha1.GroupID(id+1))
				names = append(names, fmt.Sprint(id+1), fmt.Sprint("group:", id+1))
			}
			alert := template.Alert{Status: template.StatusFiring, Labels: template.KV{"alertname": "A", "to": strings.Join(names, ",")}}
			body, err := json.Marshal(template.Notification{Status: template.StatusFiring, Alerts: template.Alerts{alert}})
			must(t, err)
			if previews, _, err := PreviewOf(t.Context(), x.receiver, body); err != nil || len(previews) != 2 || previews[0].Name == previews[1].Name {
				t.Errorf("%d previews, %v", len(previews), err)
			}
			got, err := x.takeAll(alert)
			if m, _, _ := sum(got); err != nil || m != 2 {
				t.Fatalf("%+v, %v", got, err)
			}
			again, err := x.takeAll(alert)
			if m, _, d := sum(again); err != nil || m != 0 || d != 2 {
				t.Errorf("again: %+v, %v", again, err)
			}
			users, groups := map[v1alpha1.UserID]bool{}, map[v1alpha1.GroupID]bool{}
			for _, o := range got {
				m := x.message(o.message)
				if n := len(m.Spec.To.Users) + len(m.Spec.To.Groups); n > v1alpha1.MaxRecipients {
					t.Errorf("%d recipients", n)
				}
				for _, id := range m.Spec.To.Users {
					users[id] = true
				}
				for _, id := range m.Spec.To.Groups {
					groups[id] = true
				}
			}
			if len(users) != 1000 || len(groups) != 1000 {
				t.Errorf("%d users, %d groups", len(users), len(groups))
			}
		})
	}
}

// TestOutOfTime shows that no message is made of a text that nobody waited for.
func TestOutOfTime(t *testing.T) {
	x := newFlooded(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := notification.Message{Hash: "hash", To: []v1alpha1.Recipient{{ID: 3}}}
	if made, err := x.handler.create(ctx, x.receiver, p, "", 1, x.now); err == nil || made.message != "" {
		t.Errorf("made %+v, %v", made, err)
	}
}

// TestMessagesOfOthers: only this receiver's own message that stays makes a notification a repeat.
func TestMessagesOfOthers(t *testing.T) {
	for name, edit := range map[string]func(*v1alpha1.TeamTalkMessage){
		"its predecessor's":    func(m *v1alpha1.TeamTalkMessage) { m.OwnerReferences[0].UID = "before" },
		"nobody's":             func(m *v1alpha1.TeamTalkMessage) { m.OwnerReferences = nil },
		"one that is deleted":  func(m *v1alpha1.TeamTalkMessage) { m.Finalizers = []string{"test/kept"} },
		"its own, for control": nil,
	} {
		for _, how := range []string{"", "flood control", "the index is behind"} {
			flood, behind := how == "flood control", how == "the index is behind"
			t.Run(fmt.Sprint(name, " ", how), func(t *testing.T) {
				x := newFlooded(t)
				x.receiver.UID = "now"
				control := x.receiver.Spec.FloodControl
				x.receiver.Spec.FloodControl = nil
				o, err := x.take("A")
				must(t, err)
				m := x.message(o.message)
				if edit != nil {
					edit(m)
					must(t, x.client.Update(t.Context(), m))
				}
				if len(m.Finalizers) > 0 {
					must(t, x.client.Delete(t.Context(), m))
				}
				if flood {
					x.receiver.Spec.FloodControl = control
				}
				if edit == nil {
					x.want("A", aDuplicate)
					return
				}
				// Where it is not in the index yet, its name is found to be taken.
				hash, _ := parseMessage(m)
				other := notification.Message{Hash: hash, To: x.receiver.Spec.To.All()}
				if behind {
					o, err := x.handler.create(t.Context(), x.receiver, other, "text", 1, x.now.Add(-time.Minute))
					if err != nil || o.message != nameOf(x.receiver, hash, 2) {
						t.Errorf("%+v, %v", o, err)
					}
					return
				}
				again, err := x.take("A")
				if err != nil || again.message != strings.TrimSuffix(o.message, "1")+"2" {
					t.Errorf("%+v, %v", again, err)
				}
				x.want("A", aDuplicate)
			})
		}
	}
}

// TestParseMessage checks the data that the index keeps of a message.
func TestParseMessage(t *testing.T) {
	r := alertmanager("")
	r.UID = "uid"
	m := newMessage(r, nameOf(r, "abc", 7), r.Spec.To.All())
	m.Labels[v1alpha1.NotificationLabel] = "abc"
	if hash, n := parseMessage(m); hash != "abc" || n.number != 7 || !n.isOf(r) {
		t.Errorf("%s, %+v", hash, n)
	}
	other := r.DeepCopy()
	other.UID = types.UID("other")
	if _, n := parseMessage(m); n.isOf(other) {
		t.Error("it is another receiver's")
	}
	m.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	if _, n := parseMessage(m); n.isOf(r) {
		t.Error("it is being deleted")
	}
}

// TestForbiddenIndex: a namespace that may not be watched is retried with a backoff, as long as notifications arrive.
func TestForbiddenIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		var permitted atomic.Bool
		c := interceptor.NewClient(newClient(t), interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
				tries.Add(1)
				if !permitted.Load() {
					return apierrors.NewForbidden(schema.GroupResource{Resource: "teamtalkmessages"}, "", nil)
				}
				list.SetResourceVersion("1")
				return nil
			},
		})
		x := newIndex(c, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			x.run(ctx)
			close(ended)
		}()
		synctest.Wait()
		ask := func(want bool) {
			t.Helper()
			if _, known := x.lookup("chat", "hash"); known != want {
				t.Errorf("known: %t, want %t", known, want)
			}
			synctest.Wait()
		}
		ask(false)
		time.Sleep(24 * time.Hour) //nolint:forbidigo // of the test's own clock
		if n := tries.Load(); n < 3 || n > 150 {
			t.Errorf("%d tries in a day with one notification", n)
		}
		ask(false)
		permitted.Store(true)
		time.Sleep(time.Minute) //nolint:forbidigo // of the test's own clock
		ask(true)
		cancel()
		<-ended
		ask(false)
	})
}

// TestContextThatHasEnded: the answer's cause says what there was no time for.
func TestContextThatHasEnded(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for key, want := range map[string]string{
		"":          "there was not enough time to decode the body: context canceled",
		"payload.a": "there was not enough time to evaluate expressions, because those of other requests were evaluated: context canceled",
	} {
		r := generic("")
		r.Spec.DedupKey = key
		a := newPosts(t).handler.receive(ended, r, []byte(`{"a":"b"}`), "application/json")
		if a.code != 503 || a.cause != want {
			t.Errorf("%q: %d %s, want %s", key, a.code, a.cause, want)
		}
	}
}

// TestIsSame: with a key, an alert that was resolved and fires again is another notification. Without one, its hash is
// another.
func TestIsSame(t *testing.T) {
	now := time.Now()
	keyed := notification.Message{Keys: []string{"k"}}
	for name, tc := range map[string]struct {
		age      time.Duration
		resolved bool
		source   notification.Message
		want     bool
	}{
		"repeated":                    {time.Minute, false, keyed, true},
		"long ago":                    {time.Hour, false, keyed, false},
		"fires again":                 {time.Minute, true, keyed, false},
		"late, of another process":    {time.Minute, true, notification.Message{}, true},
		"tells again that it is over": {time.Minute, true, notification.Message{Keys: []string{"k"}, Resolved: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now.Add(-tc.age))}}
			if tc.resolved {
				m.Annotations = map[string]string{v1alpha1.ResolvedAnnotation: "now"}
			}
			if _, info := parseMessage(m); info.isSame(tc.source, now.Add(-30*time.Minute)) != tc.want {
				t.Errorf("%+v", info)
			}
		})
	}
}

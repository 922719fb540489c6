// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"encoding/binary"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func textFrom(name, key string) v1alpha1.Content {
	return v1alpha1.Content{TextFrom: &v1alpha1.TextSource{ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: name, Key: key}}}
}

func toGroups(ids ...uint32) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{}
		for _, id := range ids {
			m.Spec.To.Groups = append(m.Spec.To.Groups, v1alpha1.GroupID(id))
		}
	}
}

func toUsers(ids ...uint32) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{}
		for _, id := range ids {
			m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(id))
		}
	}
}

func withContent(c v1alpha1.Content) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) { m.Spec.Content = c }
}

// TestDelivered sends what users send, and compares what the store holds with
// what they declared.
func TestDelivered(t *testing.T) {
	type wants struct {
		text string
		typ  wire.MsgType
		to   []uint32
	}
	longest := strings.Repeat("x", 3051)
	tests := map[string]struct {
		prepare func(*tenant)
		message func(*tenant) *v1alpha1.TeamTalkMessage
		want    func(*tenant) wants
	}{
		"a single text": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", secretText) },
			want: func(x *tenant) wants {
				return wants{secretText, wire.MsgType_MSG_TYPE_SINGLE_TEXT, []uint32{x.Alice}}
			},
		},
		"a group text": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "to all", toGroups(x.OnCall)) },
			want: func(x *tenant) wants {
				return wants{"to all", wire.MsgType_MSG_TYPE_GROUP_TEXT, []uint32{x.OnCall}}
			},
		},
		"two users": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "both", toUsers(x.Alice, x.Bob)) },
			want: func(x *tenant) wants {
				return wants{"both", wire.MsgType_MSG_TYPE_SINGLE_TEXT, []uint32{x.Alice, x.Bob}}
			},
		},
		"a JSON": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "", withContent(v1alpha1.Content{
					JSON: map[string]v1alpha1.JSONValue{
						"n": {Raw: []byte(`[1, 2]`)}, "html": {Raw: []byte(`"<b>&"`)}, "from": {Raw: []byte(`"2026-12-01"`)},
					},
				}))
			},
			want: func(x *tenant) wants {
				return wants{`{"from":"2026-12-01","html":"<b>&","n":[1,2]}`, wire.MsgType_MSG_TYPE_SINGLE_TEXT, []uint32{x.Alice}}
			},
		},
		"a ConfigMap text": {
			prepare: func(x *tenant) { x.configMap("notice", map[string]string{"body": "from a ConfigMap\n"}, nil) },
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "", withContent(textFrom("notice", "body")))
			},
			want: func(x *tenant) wants {
				return wants{"from a ConfigMap\n", wire.MsgType_MSG_TYPE_SINGLE_TEXT, []uint32{x.Alice}}
			},
		},
		"an image": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "", withContent(v1alpha1.Content{
					Image: &v1alpha1.ImageContent{URL: "https://example.com/plan.png?w=1", Caption: "the plan"},
				}))
			},
			want: func(x *tenant) wants {
				return wants{"&$#@~^@[{:https://example.com/plan.png?w=1:}]&$~@#@the plan", wire.MsgType_MSG_TYPE_SINGLE_TEXT, []uint32{x.Alice}}
			},
		},
		"a 3051-byte text": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", longest) },
			want: func(x *tenant) wants {
				return wants{longest, wire.MsgType_MSG_TYPE_SINGLE_TEXT, []uint32{x.Alice}}
			},
		},
		"Chinese and emoji": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "告警：节点 node-7 内存不足 🚨👩‍💻", toGroups(x.OnCall))
			},
			want: func(x *tenant) wants {
				return wants{"告警：节点 node-7 内存不足 🚨👩‍💻", wire.MsgType_MSG_TYPE_GROUP_TEXT, []uint32{x.OnCall}}
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithServer(t)
			if tc.prepare != nil {
				tc.prepare(x)
			}
			m := tc.message(x)
			x.Create(m)
			got, want := x.AwaitDelivered(m), tc.want(x)
			rows := x.Rows()
			if len(rows) != len(want.to) {
				t.Fatalf("the store holds %d messages, want %d: %+v", len(rows), len(want.to), rows)
			}
			if len(got.Status.Recipients) != len(want.to) {
				t.Fatalf("recipients %+v, want %d", got.Status.Recipients, len(want.to))
			}
			byRecipient := map[uint32]devserver.StoredMessage{}
			for _, r := range rows {
				byRecipient[r.To] = r
			}
			for i, to := range want.to {
				row, status := byRecipient[to], got.Status.Recipients[i]
				if row.Text != want.text || row.Type != want.typ || row.From != x.Bot || row.Routed != 1 {
					t.Errorf("stored for %d: %+v, want %+v", to, row, want)
				}
				if status.State != v1alpha1.StateRouted || status.ID != int64(to) || status.Attempts != 1 ||
					len(status.MessageIDs) != 1 || status.MessageIDs[0] != int64(row.MsgID) {
					t.Errorf("status of %d: %+v, stored as %d", to, status, row.MsgID)
				}
				id := delivery.DeliveryID{Identity: delivery.Identity{UID: got.UID}, Sender: x.Bot, Recipient: v1alpha1.Recipient{Type: status.Type, ID: to}}
				if row.Token != id.Token().String() {
					t.Errorf("token %s, want %s", row.Token, id.Token())
				}
			}
			x.checkDelivered(got)
		})
	}
}

// checkDelivered checks what kstatus and people read of a delivered message.
func (x *tenant) checkDelivered(m *v1alpha1.TeamTalkMessage) {
	x.Helper()
	for _, c := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionDelivered, v1alpha1.ConditionFinished} {
		if got := meta.FindStatusCondition(m.Status.Conditions, c); got == nil || got.Status != metav1.ConditionTrue ||
			got.Reason != v1alpha1.ReasonDelivered || got.ObservedGeneration != m.Generation {
			x.Errorf("condition %s: %+v", c, got)
		}
	}
	for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if got := meta.FindStatusCondition(m.Status.Conditions, c); got != nil {
			x.Errorf("condition %s is present: %+v", c, got)
		}
	}
	if m.Status.SenderID == nil || m.Status.CompletionTime == nil || m.Status.ObservedGeneration != m.Generation {
		x.Errorf("status: %+v", m.Status)
	}
}

// TestAudio sends a voice message, which carries no token: its time is in the
// status before it is sent.
func TestAudio(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	sound := []byte{0, 1, 2, 0xff, 0, 'R', 'I', 'F', 'F'}
	x.configMap("voice", nil, map[string][]byte{"note": sound})
	m := x.Declare("m", "", toGroups(x.OnCall), withContent(v1alpha1.Content{
		Audio: &v1alpha1.AudioContent{Seconds: 4, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "voice", Key: "note"}},
	}))
	got := x.AwaitDelivered(m)
	rows := x.Rows()
	if len(rows) != 1 || rows[0].Type != wire.MsgType_MSG_TYPE_GROUP_AUDIO || rows[0].AudioSeconds != 4 {
		t.Fatalf("stored: %+v", rows)
	}
	if want := append(binary.BigEndian.AppendUint32(nil, 4), sound...); string(rows[0].Raw) != string(want) {
		t.Errorf("stored bytes %x, want %x", rows[0].Raw, want)
	}
	if at := got.Status.Recipients[0].CreateTime; at == nil || at.Unix() != int64(rows[0].CreateTime) {
		t.Errorf("createTime %v, stored with %d", at, rows[0].CreateTime)
	}
}

// TestWithoutToken sends 17 bytes more, and still knows its message again.
func TestWithoutToken(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, func(s *v1alpha1.TeamTalkServer) {
		s.Spec.DeliveryToken = v1alpha1.DeliveryTokenDisabled
	})
	m := x.Declare("m", strings.Repeat("y", 3068))
	got := x.AwaitDelivered(m)
	rows := x.Rows()
	if len(rows) != 1 || rows[0].Token != "" || rows[0].Text != *m.Spec.Content.Text {
		t.Fatalf("stored: %d rows", len(rows))
	}
	if got.Status.Recipients[0].CreateTime == nil {
		t.Errorf("no createTime in %+v", got.Status.Recipients[0])
	}
}

// TestSenders speaks as another of the server's senders, through a server of
// another namespace that permits this one.
func TestSenders(t *testing.T) {
	t.Parallel()
	owner := newTenant(t)
	x := newTenant(t)
	owner.CreateServer(func(s *v1alpha1.TeamTalkServer) {
		s.Spec.Senders.Default, s.Spec.Senders.Allowed = v1alpha1.UserID(x.Bot), []v1alpha1.UserID{v1alpha1.UserID(x.Mate)}
		s.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{
			From: v1alpha1.FromSelector, Selector: selector("kubernetes.io/metadata.name", x.Namespace),
		}
	})
	mate := v1alpha1.UserID(x.Mate)
	m := x.Declare("m", "as the mate", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.SenderID = &mate
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: owner.Namespace}
	})
	x.AwaitDelivered(m)
	if rows := x.Rows(); len(rows) != 1 || rows[0].From != x.Mate {
		t.Errorf("stored: %+v", rows)
	}
}

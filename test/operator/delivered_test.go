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
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func text(s string) v1alpha1.Content { return v1alpha1.Content{Text: &s} }

func textFrom(name, key string) v1alpha1.Content {
	return v1alpha1.Content{TextFrom: &v1alpha1.TextSource{ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: name, Key: key}}}
}

func toGroups(ids ...uint32) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{}
		for _, id := range ids {
			m.Spec.To.Groups = append(m.Spec.To.Groups, v1alpha1.GroupID(id))
		}
	}
}

func toUsers(ids ...uint32) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To = v1alpha1.Recipients{}
		for _, id := range ids {
			m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(id))
		}
	}
}

func withContent(c v1alpha1.Content) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) { m.Spec.Content = c }
}

// TestDelivered compares the store with the declared messages.
func TestDelivered(t *testing.T) {
	t.Parallel()
	const single, group = wire.MsgType_MSG_TYPE_SINGLE_TEXT, wire.MsgType_MSG_TYPE_GROUP_TEXT
	alice := func(x *tenant) []uint32 { return []uint32{x.Alice} }
	onCall := func(x *tenant) []uint32 { return []uint32{x.OnCall} }
	longest, chinese := strings.Repeat("x", 3051), "告警：节点 node-7 内存不足 🚨👩‍💻"
	tests := map[string]struct {
		content  v1alpha1.Content
		to       func(*tenant) []uint32
		wantType wire.MsgType
		want     string
	}{
		"a single text":     {text(secretText), alice, single, secretText},
		"a group text":      {text("to all"), onCall, group, "to all"},
		"two users":         {text("both"), func(x *tenant) []uint32 { return []uint32{x.Alice, x.Bob} }, single, "both"},
		"a ConfigMap text":  {textFrom("notice", "body"), alice, single, "from a ConfigMap\n"},
		"a 3051-byte text":  {text(longest), alice, single, longest},
		"Chinese and emoji": {text(chinese), onCall, group, chinese},
		"a JSON": {v1alpha1.Content{JSON: map[string]v1alpha1.JSONValue{
			"n": {Raw: []byte(`[1, 2]`)}, "html": {Raw: []byte(`"<b>&"`)}, "from": {Raw: []byte(`"2026-12-01"`)},
		}}, alice, single, `{"from":"2026-12-01","html":"<b>&","n":[1,2]}`},
		"an image": {
			v1alpha1.Content{Image: &v1alpha1.ImageContent{URL: "https://example.com/plan.png?w=1", Caption: "the plan"}},
			alice, single, "&$#@~^@[{:https://example.com/plan.png?w=1:}]&$~@#@the plan",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithServer(t)
			x.configMap("notice", map[string]string{"body": "from a ConfigMap\n"}, nil)
			ids := tc.to(x)
			to := toUsers(ids...)
			if tc.wantType == group {
				to = toGroups(ids...)
			}
			got, rows := x.Deliver("m", "", to, withContent(tc.content)), x.Rows()
			if len(rows) != len(ids) || len(got.Status.Recipients) != len(ids) {
				t.Fatalf("the store holds %+v for the recipients %+v, want %d", rows, got.Status.Recipients, len(ids))
			}
			byRecipient := map[uint32]storedMessage{}
			for _, r := range rows {
				byRecipient[r.To] = r
			}
			for i, to := range ids {
				row, status := byRecipient[to], got.Status.Recipients[i]
				if row.Text != tc.want || row.Type != tc.wantType || row.From != x.Bot || row.Routed != 1 {
					t.Errorf("stored for %d: %+v, want %d with %s", to, row, tc.wantType, tc.want)
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
	for _, r := range m.Status.Recipients {
		if r.StoredAt != nil && r.StoredAt.Before(m.Status.StartTime) {
			x.Errorf("stored at %v, before its startTime %v", r.StoredAt, m.Status.StartTime)
		}
	}
}

// TestAudio sends a voice message, which carries no token: the status has its time before it is sent.
func TestAudio(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	sound := []byte{0, 1, 2, 0xff, 0, 'R', 'I', 'F', 'F'}
	x.configMap("voice", nil, map[string][]byte{"note": sound})
	audio := v1alpha1.AudioContent{Seconds: 4, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "voice", Key: "note"}}
	got := x.Deliver("m", "", toGroups(x.OnCall), withContent(v1alpha1.Content{Audio: &audio}))
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

func withoutToken(s *v1alpha1.TeamTalkServer) { s.Spec.DeliveryToken = v1alpha1.DeliveryTokenDisabled }

// TestWithoutToken sends 17 bytes more, and still knows its message again.
func TestWithoutToken(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, withoutToken)
	longest := strings.Repeat("y", 3068)
	got, rows := x.Deliver("m", longest), x.Rows()
	if len(rows) != 1 || rows[0].Token != "" || rows[0].Text != longest {
		t.Fatalf("stored: %d rows", len(rows))
	}
	if got.Status.Recipients[0].CreateTime == nil {
		t.Errorf("no createTime in %+v", got.Status.Recipients[0])
	}
}

// TestSenders sends as another of the senders of a server in another namespace.
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
	x.Deliver("m", "as the mate", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.SenderID = &mate
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: owner.Namespace}
	})
	if rows := x.Rows(); len(rows) != 1 || rows[0].From != x.Mate {
		t.Errorf("stored: %+v", rows)
	}
}

// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// askingDirect is direct for callers with tokens.
func (x *tenant) askingDirect(args ...string) *gateway {
	x.Helper()
	user := x.directUser()
	x.Grant(user, "teamtalk-operator-secrets")
	x.grantCluster(user, "system:auth-delegator")
	return x.gatewayAs(user, append([]string{"--mode", "direct"}, args...)...)
}

// TestNothingIsLearned has a caller without rights post to namespaces of others, with servers in
// whatever state: the answers are those of a namespace that does not exist.
func TestNothingIsLearned(t *testing.T) {
	for mode, start := range map[string]func(*tenant) *gateway{
		"record": func(x *tenant) *gateway { return x.central() },
		"direct": func(x *tenant) *gateway { return x.askingDirect() },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			outsider, ready, closed := newTenant(t), newTenant(t), newTenant(t, framework.Unreachable)
			void := "void-" + mode
			outsider.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: void}})
			outsider.AllowCreate("app") // at home
			token := outsider.Token("app")
			g := start(outsider)
			for endpoint, body := range map[string]string{
				"SendSingleMessage": ready.hello("hi"), "SendGroupMessage": ready.hello("hi"),
				"SendBroadCastMessage": fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d],"msg":"hi"}`, ready.Bot, ready.Alice),
				"CreateGroup":          fmt.Sprintf(`{"req_user_id":%d,"group_name":"x","user_id_list":[%d]}`, ready.Bot, ready.Alice),
				"ChangeMembers":        fmt.Sprintf(`{"req_user_id":%d,"group_id":%d,"modify_type":1,"user_id_list":[%d]}`, ready.Bot, ready.OnCall, ready.Alice),
			} {
				read := map[string]string{}
				for _, namespace := range []string{"nowhere", void, ready.Namespace, closed.Namespace} {
					a := g.post("/namespaces/"+namespace+"/query/"+endpoint, body, "Authorization", "Bearer "+token)
					read[namespace] = strings.ReplaceAll(fmt.Sprint(a.status, *a.Code, a.Text, a.Detail, a.MsgID, a.GroupID, a.Message, a.Results), namespace, "NAMESPACE")
				}
				for namespace, shown := range read {
					if shown != read["nowhere"] || !strings.HasPrefix(shown, "403 ") {
						t.Errorf("%s: of %s it is told %q, of a namespace that does not exist %q", endpoint, namespace, shown, read["nowhere"])
					}
				}
			}
			if rows := ready.Rows(); len(rows) != 0 || len(ready.Messages())+len(closed.Messages()) != 0 {
				t.Errorf("the store holds %+v", rows)
			}
		})
	}
}

// TestSenders: an app key does not let its caller speak as a sender that the server
// does not allow, whatever its entry says; in either mode.
func TestSenders(t *testing.T) {
	for mode, start := range map[string]func(*tenant) *gateway{
		"record": func(x *tenant) *gateway { return x.central("--app-keys-secret", "teamtalk-app-keys") },
		"direct": func(x *tenant) *gateway { return x.askingDirect("--app-keys-secret", "teamtalk-app-keys") },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t)
			x.Create(&corev1.Secret{
				ObjectMeta: x.Named("teamtalk-app-keys"),
				StringData: map[string]string{"shop": fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d, %d]\ngroups: true\n", secretAppKey, x.Namespace, x.Bot, x.Bob)},
			})
			g := start(x)
			for endpoint, body := range map[string]string{
				"SendSingleMessage": `{"app_key":%q,"from_user_id":%d,"session_id":%d,"msg":"hi"}`,
				"SendP2PMessage":    `{"app_key":%q,"req_user_id":%d,"session_id":%d,"msg":"hi"}`,
				"CreateGroup":       `{"app_key":%q,"req_user_id":%d,"group_name":"x","user_id_list":[%d]}`,
			} {
				want := 3
				if endpoint == "CreateGroup" {
					want = 11
				}
				if a := g.post("/query/"+endpoint, fmt.Sprintf(body, secretAppKey, x.Bob, x.Alice)); *a.Code != want {
					t.Errorf("%s: answered %+v, want code %d", endpoint, a, want)
				}
			}
			all, err := x.TeamTalk.Messages(t.Context())
			x.Must(err)
			for _, row := range all {
				if row.From == x.Bob {
					t.Errorf("the store holds %+v", row)
				}
			}
			if a := g.post("/query/SendSingleMessage?wait=8", fmt.Sprintf(`{"app_key":%q,"from_user_id":%d,"session_id":%d,"msg":"hi"}`, secretAppKey, x.Bot, x.Alice)); *a.Code != 0 {
				t.Errorf("the sender that is allowed: %+v", a)
			}
		})
	}
}

// TestObjections: what TeamTalk says of sender and recipients is answered in time, also
// where a replica may be so far behind that it does not count yet.
func TestObjections(t *testing.T) {
	t.Parallel()
	const ghost, later = 1_999_997, 1_999_996
	x := newTenant(t, func(s *v1alpha1.TeamTalkServer) {
		lag := int32(20)
		s.Spec.MaxReplicaLagSeconds = &lag
		s.Spec.Senders.Allowed = []v1alpha1.UserID{ghost}
	})
	g := x.sidecar()
	for name, tc := range map[string]mistake{
		"an unknown user":   {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.Bot, later), 4, "does not exist"},
		"an unknown group":  {"SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.Bot, ghost), 4, "does not exist"},
		"not in the group":  {"SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.Bot, x.Closed), 4, "not a member"},
		"an unknown sender": {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, ghost, x.Alice), 3, "does not exist"},
		"one of several":    {"SendBroadCastMessage", fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d,%d],"msg":"some"}`, x.Bot, x.Alice, ghost), 4, "1 of 2"},
	} {
		if name == "one of several" {
			// Only some time after the operator's start an empty conversation proves that a
			// key was not used before.
			g.post("/query/SendSingleMessage?wait=0", x.hello("some"))
			x.Eventually("a first message is not delivered", func() bool { return len(x.Rows()) == 1 })
		}
		a := g.post("/query/"+tc.endpoint, tc.body)
		if *a.Code != tc.want || a.status != 200 || !strings.Contains(a.Detail, tc.detail) || !strings.Contains(a.Detail, "checks once more") || a.Message == "" {
			t.Errorf("%s: answered %+v, want code %d", name, a, tc.want)
		}
		for _, one := range a.Results {
			if (one.SessionID == int64(x.Alice)) != (one.Code == 0) || one.Code != 0 && one.Code != 4 {
				t.Errorf("%s: %+v", name, one)
			}
		}
	}
	for _, row := range x.Rows() {
		if row.Text != "some" || row.To != x.Alice {
			t.Errorf("the store holds %+v", row)
		}
	}
}

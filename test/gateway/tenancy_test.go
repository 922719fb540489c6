package gateway

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// askingDirect is direct for callers with tokens.
func (x *tenant) askingDirect(args ...string) *gateway {
	x.t.Helper()
	user := x.directUser()
	x.grant(user, "teamtalk-operator-secrets")
	x.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-auth"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
	})
	return x.gatewayAs(user, append([]string{"--mode", "direct"}, args...)...)
}

// TestNothingIsLearned has a stranger post to namespaces of others, with servers in
// whatever state: the answers are those of a namespace that does not exist.
func TestNothingIsLearned(t *testing.T) {
	for mode, start := range map[string]func(*tenant) *gateway{
		"record": func(x *tenant) *gateway { return x.central() },
		"direct": func(x *tenant) *gateway { return x.askingDirect() },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			stranger, ready, closed := newTenant(t), newTenant(t), newTenant(t, unreachable)
			void := "void-" + mode
			stranger.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: void}})
			stranger.mayCreate("app") // at home
			token := stranger.token("app")
			g := start(stranger)
			for endpoint, body := range map[string]string{
				"SendSingleMessage": ready.hello("hi"), "SendGroupMessage": ready.hello("hi"),
				"SendBroadCastMessage": fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d],"msg":"hi"}`, ready.bot, ready.alice),
				"CreateGroup":          fmt.Sprintf(`{"req_user_id":%d,"group_name":"x","user_id_list":[%d]}`, ready.bot, ready.alice),
				"ChangeMembers":        fmt.Sprintf(`{"req_user_id":%d,"group_id":%d,"modify_type":1,"user_id_list":[%d]}`, ready.bot, ready.oncall, ready.alice),
			} {
				read := map[string]string{}
				for _, namespace := range []string{"nowhere", void, ready.namespace, closed.namespace} {
					a := g.post("/namespaces/"+namespace+"/query/"+endpoint, body, "Authorization", "Bearer "+token)
					read[namespace] = strings.ReplaceAll(fmt.Sprint(a.status, *a.Code, a.Text, a.Detail, a.MsgID, a.GroupID, a.Message, a.Results), namespace, "NAMESPACE")
				}
				for namespace, shown := range read {
					if shown != read["nowhere"] || !strings.HasPrefix(shown, "403 ") {
						t.Errorf("%s: of %s it is told %q, of a namespace that does not exist %q", endpoint, namespace, shown, read["nowhere"])
					}
				}
			}
			if rows := ready.rows(); len(rows) != 0 || len(ready.recorded())+len(closed.recorded()) != 0 {
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
			x.create(&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: "teamtalk-app-keys", Namespace: x.namespace},
				StringData: map[string]string{"shop": fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d, %d]\ngroups: true\n", secretAppKey, x.namespace, x.bot, x.bob)},
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
				if a := g.post("/query/"+endpoint, fmt.Sprintf(body, secretAppKey, x.bob, x.alice)); *a.Code != want {
					t.Errorf("%s: answered %+v, want code %d", endpoint, a, want)
				}
			}
			all, err := x.teamtalk.Messages(t.Context())
			x.must(err)
			for _, row := range all {
				if row.From == x.bob {
					t.Errorf("the store holds %+v", row)
				}
			}
			if a := g.post("/query/SendSingleMessage?wait=8", fmt.Sprintf(`{"app_key":%q,"from_user_id":%d,"session_id":%d,"msg":"hi"}`, secretAppKey, x.bot, x.alice)); *a.Code != 0 {
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
		"an unknown user":   {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.bot, later), 4, "does not exist"},
		"an unknown group":  {"SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.bot, ghost), 4, "does not exist"},
		"not in the group":  {"SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.bot, x.closed), 4, "not a member"},
		"an unknown sender": {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, ghost, x.alice), 3, "does not exist"},
		"one of several":    {"SendBroadCastMessage", fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d,%d],"msg":"some"}`, x.bot, x.alice, ghost), 4, "1 of 2"},
	} {
		if name == "one of several" {
			// Only some time after the operator's start an empty conversation proves that a
			// key was not used before.
			g.post("/query/SendSingleMessage?wait=0", x.hello("some"))
			x.eventually("a first message is not delivered", func() bool { return len(x.rows()) == 1 })
		}
		a := g.post("/query/"+tc.endpoint, tc.body)
		if *a.Code != tc.want || a.status != 200 || !strings.Contains(a.Detail, tc.detail) || !strings.Contains(a.Detail, "checks once more") || a.Message == "" {
			t.Errorf("%s: answered %+v, want code %d", name, a, tc.want)
		}
		for _, one := range a.Results {
			if (one.SessionID == int64(x.alice)) != (one.Code == 0) || one.Code != 0 && one.Code != 4 {
				t.Errorf("%s: %+v", name, one)
			}
		}
	}
	for _, row := range x.rows() {
		if row.Text != "some" || row.To != x.alice {
			t.Errorf("the store holds %+v", row)
		}
	}
}

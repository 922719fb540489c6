// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// asByDefault leaves the times of db_proxy at the API's defaults.
func asByDefault(s *v1alpha1.TeamTalkServer) {
	s.Spec.SettleSeconds, s.Spec.MaxReplicaLagSeconds = 0, nil
}

// TestRefused makes the mistakes that people make. Each shows its own reason in the
// conditions, with an event, and with nothing in the store. What waits for a fix goes on
// when it is fixed: nothing but the watches wakes it.
func TestRefused(t *testing.T) {
	t.Parallel()
	notice := withContent(textFrom("notice", "body"))
	tests := map[string]struct {
		// server edits the tenant's server. declare, if set, declares another one, or none.
		server  func(*v1alpha1.TeamTalkServer)
		declare func(*tenant)
		edit    messageEdit
		to      func(*tenant) messageEdit
		want    string
		// fix is what the message waits for; nil: it does not wait.
		fix func(*tenant)
	}{
		"text over the limit": {edit: withContent(text(strings.Repeat("x", 3052))), want: v1alpha1.ReasonContentTooLong},
		"empty text": {
			declare: func(x *tenant) {
				x.CreateServer()
				x.configMap("notice", map[string]string{"body": ""}, nil)
			},
			edit: notice, want: v1alpha1.ReasonContentEmpty,
		},
		"not UTF-8": {
			declare: func(x *tenant) {
				x.CreateServer()
				x.configMap("notice", nil, map[string][]byte{"body": {'a', 0xff, 0xfe}})
			},
			edit: notice, want: v1alpha1.ReasonContentInvalid,
		},
		"a NUL inside": {edit: withContent(text("cut\x00here")), want: v1alpha1.ReasonContentInvalid},
		"sender is the recipient": {
			to: func(x *tenant) messageEdit { return toUsers(x.Bot) }, want: v1alpha1.ReasonSendToSelf,
		},
		"unknown user":  {server: asByDefault, edit: toUsers(1_999_999), want: v1alpha1.ReasonRecipientNotFound},
		"unknown group": {server: asByDefault, edit: toGroups(1_999_999), want: v1alpha1.ReasonGroupNotFound},
		"sender not in the group": {
			server: asByDefault, to: func(x *tenant) messageEdit { return toGroups(x.Closed) }, want: v1alpha1.ReasonSenderNotInGroup,
		},
		"unknown sender": {
			server: func(s *v1alpha1.TeamTalkServer) { s.Spec.Senders.Default = 1_888_888 }, want: v1alpha1.ReasonSenderNotFound,
		},
		"sender not permitted": {
			to: func(x *tenant) messageEdit {
				return func(m *v1alpha1.TeamTalkMessage) {
					toUsers(x.Bob)(m)
					m.Spec.SenderID = ptr.To(v1alpha1.UserID(x.Alice))
				}
			},
			want: v1alpha1.ReasonSenderNotPermitted,
		},
		"recipient not permitted": {
			declare: func(x *tenant) {
				alice := v1alpha1.RecipientIDs{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}}
				x.CreateServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.Recipients = &v1alpha1.RecipientRules{Deny: alice} })
			},
			want: v1alpha1.ReasonRecipientNotPermitted,
		},
		"key missing": {
			declare: func(x *tenant) { x.Create(x.Server()) },
			want:    v1alpha1.ReasonKeyNotFound, fix: func(x *tenant) { x.Create(x.KeySecret(devserver.DevelopmentKey)) },
		},
		"key of 31 bytes": {
			declare: func(x *tenant) { x.createServerWithKey(devserver.DevelopmentKey[:31]) },
			want:    v1alpha1.ReasonKeyInvalid, fix: func(x *tenant) { x.Update(x.KeySecret(devserver.DevelopmentKey)) },
		},
		"key with a line end": {
			declare: func(x *tenant) { x.createServerWithKey(devserver.DevelopmentKey + "\n") },
			want:    v1alpha1.ReasonKeyInvalid, fix: func(x *tenant) { x.Update(x.KeySecret(devserver.DevelopmentKey)) },
		},
		"server missing": {
			declare: func(*tenant) {}, want: v1alpha1.ReasonServerNotFound, fix: func(x *tenant) { x.CreateServer() },
		},
		"namespace not permitted by default": {
			declare: func(x *tenant) { x.useOthersServer() }, to: (*tenant).throughOthersServer, want: v1alpha1.ReasonServerNotFound,
			fix: func(x *tenant) {
				x.owner.editServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.AllowedNamespaces.From = v1alpha1.FromAll })
			},
		},
		"namespace without the label": {
			declare: func(x *tenant) {
				x.useOthersServer(func(s *v1alpha1.TeamTalkServer) {
					s.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.FromSelector, Selector: selector("chat", x.Namespace)}
				})
			},
			to: (*tenant).throughOthersServer, want: v1alpha1.ReasonServerNotFound,
			fix: func(x *tenant) {
				ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.Namespace}}
				x.Patch(ns, `{"metadata":{"labels":{"chat":"`+x.Namespace+`"}}}`)
			},
		},
		"ConfigMap missing": {
			edit: notice, want: v1alpha1.ReasonContentNotFound,
			fix: func(x *tenant) { x.configMap("notice", map[string]string{"body": "hello"}, nil) },
		},
		"TeamTalkGroup missing": {
			edit: toRefs("oncall"), want: v1alpha1.ReasonGroupNotReady,
			fix: func(x *tenant) { x.declareGroup("oncall", ofUsers(x.Alice)) },
		},
		"nothing listens there": {
			server: framework.Unreachable, want: v1alpha1.ReasonServerNotReady,
			fix: func(x *tenant) {
				x.editServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy = x.Server().Spec.DBProxy })
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// One of its own: it must hold nothing at all, from any sender.
			x := newTenantIn(t, world, framework.TeamTalkFor(t))
			edits := slices.DeleteFunc([]messageEdit{tc.edit}, func(e messageEdit) bool { return e == nil })
			switch {
			case tc.declare != nil:
				tc.declare(x)
			case tc.server != nil:
				x.CreateServer(tc.server)
			default:
				x.CreateServer()
			}
			if tc.to != nil {
				edits = append(edits, tc.to(x))
			}
			m := x.Declare("m", "hello", edits...)
			got := x.AwaitMessage(m, "refused with "+tc.want, hasReason(tc.want))
			ready := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady)
			if ready.Status != "False" || ready.Message == "" {
				t.Errorf("Ready: %+v", ready)
			}
			x.AwaitEvent(m.Name, tc.want)
			if tc.fix == nil {
				x.checkFailed(x.AwaitMessage(m, "finished", (*v1alpha1.TeamTalkMessage).Finished), tc.want)
			} else if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReconciling) ||
				meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionStalled) != nil {
				t.Errorf("a message that waits: %+v", got.Status.Conditions)
			}
			if rows, err := x.TeamTalk.Messages(t.Context()); err != nil || len(rows) != 0 {
				t.Errorf("the store holds %+v: %v", rows, err)
			}
			if tc.fix == nil {
				return
			}
			tc.fix(x)
			x.checkDelivered(x.AwaitDelivered(m))
			if rows := x.Rows(); len(rows) != 1 || rows[0].Text != "hello" {
				t.Errorf("the store holds %+v", rows)
			}
		})
	}
}

// TestBesideUnknownGroup: a group has its message before it is certain that another one does not exist.
func TestBesideUnknownGroup(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, asByDefault)
	m := x.AwaitMessage(x.Declare("m", "hello", toGroups(1_999_999, x.OnCall)), "finished", (*v1alpha1.TeamTalkMessage).Finished)
	rows := x.Rows()
	if len(rows) != 1 {
		t.Fatalf("the store holds %+v", rows)
	}
	if before := m.Status.CompletionTime.Sub(rows[0].StoredAt); before < 3*time.Second {
		t.Errorf("stored %v before the end, want the replica lag", before)
	}
}

// checkFailed checks a message to one recipient that failed for a reason.
func (x *tenant) checkFailed(m *v1alpha1.TeamTalkMessage, want string) {
	x.Helper()
	for _, c := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionFinished} {
		if f := meta.FindStatusCondition(m.Status.Conditions, c); f == nil || f.Status != "True" || f.Reason != want {
			x.Errorf("%s: %+v", c, f)
		}
	}
	if r := m.Status.Recipients; len(r) != 1 || r[0].State != v1alpha1.StateFailed || r[0].Reason != want {
		x.Errorf("recipients: %+v", r)
	}
}

func (x *tenant) createServerWithKey(key string) {
	x.Helper()
	x.Create(x.KeySecret(key))
	x.Create(x.Server())
}

// useOthersServer declares a server in another namespace, for the tenant's messages.
func (x *tenant) useOthersServer(edits ...func(*v1alpha1.TeamTalkServer)) {
	x.Helper()
	x.owner = newTenantIn(x.TB, x.Cluster, x.TeamTalk)
	x.owner.CreateServer(edits...)
	x.Bot, x.Mate = x.owner.Bot, x.owner.Mate
}

// throughOthersServer is an edit of a message: through the server of useOthersServer.
func (x *tenant) throughOthersServer() messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: x.owner.Namespace}
	}
}

// editServer changes the tenant's server.
func (x *tenant) editServer(edit func(*v1alpha1.TeamTalkServer)) {
	x.Helper()
	x.Must(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		s := &v1alpha1.TeamTalkServer{ObjectMeta: x.Named(v1alpha1.DefaultServerName)}
		x.Get(s)
		edit(s)
		return world.Admin.Update(x.Context(), s)
	}))
}

// TestAccessByName: the operator goes on as soon as it is granted the very Secret and ConfigMap.
func TestAccessByName(t *testing.T) {
	t.Parallel()
	x := &tenant{Tenant: world.NewTenant(t, world.TeamTalk)}
	x.CreateServer()
	x.AwaitServer("not readable", func(s *v1alpha1.TeamTalkServer) bool {
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionKeyLoaded)
		return c != nil && c.Reason == v1alpha1.ReasonKeyNotFound &&
			strings.Contains(c.Message, "may not read Secret \"teamtalk\" in namespace \""+x.Namespace+"\": grant it get, list and watch")
	})

	x.grant("secrets", "teamtalk")
	x.AwaitServer("ready", serverIsReady)

	x.configMap("notice", map[string]string{"body": "read by name"}, nil)
	m := x.Declare("by-name", "", withContent(textFrom("notice", "body")))
	x.AwaitMessage(m, "waiting for the right to read", func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == v1alpha1.ReasonContentNotFound && strings.Contains(c.Message, "may not read ConfigMap \"notice\"")
	})
	x.grant("configmaps", "notice")
	x.AwaitDelivered(m)
}

// grant lets the operator read one object of the tenant's namespace.
func (x *tenant) grant(resource, name string) {
	x.Helper()
	metadata := x.Named("teamtalk-operator-" + resource)
	x.Create(&rbacv1.Role{ObjectMeta: metadata, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: []string{name}, Verbs: []string{"get", "list", "watch"},
	}}})
	x.Create(&rbacv1.RoleBinding{
		ObjectMeta: metadata, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: metadata.Name},
		Subjects: framework.Users(framework.OperatorUser),
	})
}

// TestNothingIsLearned has a tenant name the servers of others, in whatever state
// they are: all that it reads afterwards is what it reads of a server that does
// not exist.
func TestNothingIsLearned(t *testing.T) {
	t.Parallel()
	outsider := newTenant(t)
	owners := map[string]*tenant{}
	for name, declare := range map[string]func(*tenant){
		"absent": func(*tenant) {},
		"ready":  func(x *tenant) { x.CreateServer() },
		"no-key": func(x *tenant) { x.Create(x.Server()) },
		"closed": func(x *tenant) { x.CreateServer(framework.Unreachable) },
		"for-others": func(x *tenant) {
			x.CreateServer(func(s *v1alpha1.TeamTalkServer) {
				s.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.FromSelector, Selector: selector("friend", "true")}
			})
		},
	} {
		owner := newTenant(t)
		declare(owner)
		if name != "absent" {
			owner.AwaitServer("looked at", func(s *v1alpha1.TeamTalkServer) bool { return len(s.Status.Conditions) > 0 })
		}
		if name == "ready" || name == "for-others" {
			owner.AwaitServer("ready", serverIsReady)
		}
		owners[name] = owner
	}
	read := map[string]string{}
	for name, owner := range owners {
		m := outsider.Declare(name, "hi", func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: owner.Namespace}
			m.Spec.SenderID = ptr.To(v1alpha1.UserID(owner.Bot)) // a sender that the server allows
		})
		m = outsider.AwaitMessage(m, "without a server", hasReason(v1alpha1.ReasonServerNotFound))
		outsider.AwaitEvent(name, v1alpha1.ReasonServerNotFound)
		read[name] = outsider.shown(m, owner)
	}
	for name, shown := range read {
		if shown != read["absent"] {
			t.Errorf("a server that is %q shows as\n%s\nbut one that does not exist as\n%s", name, shown, read["absent"])
		}
	}
	outsider.CheckRows(0)
	for name, owner := range owners {
		if rows := owner.Rows(); len(rows) != 0 {
			t.Errorf("%s: the store holds %+v", name, rows)
		}
	}
}

// timesAndDigests are what differs from message to message without saying anything.
var timesAndDigests = regexp.MustCompile(`"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|[0-9a-f]{64})"`)

// shown returns all that the message and its events show, without times and names.
func (x *tenant) shown(m *v1alpha1.TeamTalkMessage, owner *tenant) string {
	x.Helper()
	status, err := json.MarshalIndent(m.Status, "", "  ")
	x.Must(err)
	var events []string
	for _, e := range x.Events(m.Name) {
		events = append(events, fmt.Sprintf("%s %s %s %s %v", e.Type, e.Reason, e.Action, e.Note, e.Related))
	}
	slices.Sort(events)
	all := fmt.Sprintf("%s\nannotations %v\nevents %s", timesAndDigests.ReplaceAllString(string(status), "VALUE"), m.Annotations, strings.Join(events, "\n"))
	for id, stands := range map[string]string{owner.Namespace: "OWNER", fmt.Sprint(owner.Bot): "SENDER"} {
		all = strings.ReplaceAll(all, id, stands)
	}
	return all
}

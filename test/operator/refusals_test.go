// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// asByDefault leaves what is declared of db_proxy's times to the API's defaults.
func asByDefault(s *v1alpha1.TeamTalkServer) {
	s.Spec.SettleSeconds, s.Spec.MaxReplicaLagSeconds = 0, nil
}

// TestRefused makes the mistakes that people make. Each ends with its own reason
// in the conditions, soon, with an event, and with nothing in the store.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		// server is what the tenant has; nil: the usual one.
		server     func(*tenant)
		prepare    func(*tenant)
		message    func(*tenant) *v1alpha1.TeamTalkMessage
		wantReason string
		// waits: a watch wakes it when the cause is fixed; it does not finish.
		waits bool
	}{
		"text over the limit": {
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", strings.Repeat("x", 3052)) },
			wantReason: v1alpha1.ReasonContentTooLong,
		},
		"empty text": {
			prepare: func(x *tenant) { x.configMap("notice", map[string]string{"body": ""}, nil) },
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "", withContent(textFrom("notice", "body")))
			},
			wantReason: v1alpha1.ReasonContentEmpty,
		},
		"not UTF-8": {
			prepare: func(x *tenant) { x.configMap("notice", nil, map[string][]byte{"body": {'a', 0xff, 0xfe}}) },
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "", withContent(textFrom("notice", "body")))
			},
			wantReason: v1alpha1.ReasonContentInvalid,
		},
		"a NUL inside": {
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "cut\x00here") },
			wantReason: v1alpha1.ReasonContentInvalid,
		},
		"sender is the recipient": {
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi", toUsers(x.Bot)) },
			wantReason: v1alpha1.ReasonSendToSelf,
		},
		"unknown user": {
			server:     func(x *tenant) { x.CreateServer(asByDefault) },
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi", toUsers(1_999_999)) },
			wantReason: v1alpha1.ReasonRecipientNotFound,
		},
		"unknown group": {
			server:     func(x *tenant) { x.CreateServer(asByDefault) },
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi", toGroups(1_999_999)) },
			wantReason: v1alpha1.ReasonGroupNotFound,
		},
		"sender not in the group": {
			server:     func(x *tenant) { x.CreateServer(asByDefault) },
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi", toGroups(x.Closed)) },
			wantReason: v1alpha1.ReasonSenderNotInGroup,
		},
		"unknown sender": {
			server: func(x *tenant) {
				x.CreateServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.Senders.Default = 1_888_888 })
			},
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi") },
			wantReason: v1alpha1.ReasonSenderNotFound,
		},
		"key missing": {
			server:     func(x *tenant) { x.Create(x.Server()) },
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi") },
			wantReason: v1alpha1.ReasonKeyNotFound, waits: true,
		},
		"key of 31 bytes": {
			server: func(x *tenant) {
				x.Create(x.KeySecret(devserver.DevelopmentKey[:31]))
				x.Create(x.Server())
			},
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi") },
			wantReason: v1alpha1.ReasonKeyInvalid, waits: true,
		},
		"server missing": {
			server:     func(*tenant) {},
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi") },
			wantReason: v1alpha1.ReasonServerNotFound, waits: true,
		},
		"namespace not permitted": {
			server: func(x *tenant) {},
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				owner := newTenantIn(x.TB, x.TeamTalk)
				owner.CreateServer()
				return x.Message("m", "hi", func(m *v1alpha1.TeamTalkMessage) {
					m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: owner.Namespace}
				})
			},
			wantReason: v1alpha1.ReasonServerNotFound, waits: true,
		},
		"sender not permitted": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "hi", toUsers(x.Bob), func(m *v1alpha1.TeamTalkMessage) {
					id := v1alpha1.UserID(x.Alice)
					m.Spec.SenderID = &id
				})
			},
			wantReason: v1alpha1.ReasonSenderNotPermitted,
		},
		"recipient not permitted": {
			server: func(x *tenant) {
				x.CreateServer(func(s *v1alpha1.TeamTalkServer) {
					s.Spec.Recipients = &v1alpha1.RecipientRules{Deny: v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}}}
				})
			},
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi") },
			wantReason: v1alpha1.ReasonRecipientNotPermitted,
		},
		"ConfigMap missing": {
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "", withContent(textFrom("absent", "body")))
			},
			wantReason: v1alpha1.ReasonContentNotFound, waits: true,
		},
		"nothing listens there": {
			server: func(x *tenant) {
				x.CreateServer(framework.Unreachable)
			},
			message:    func(x *tenant) *v1alpha1.TeamTalkMessage { return x.Message("m", "hi") },
			wantReason: v1alpha1.ReasonServerNotReady, waits: true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// One of its own: it must hold nothing at all, whoever might be the sender.
			x := newTenantIn(t, framework.TeamTalkFor(t))
			if tc.server == nil {
				x.CreateServer()
			} else {
				tc.server(x)
			}
			if tc.prepare != nil {
				tc.prepare(x)
			}
			m := tc.message(x)
			x.Create(m)
			got := x.AwaitMessage(m, "refused with "+tc.wantReason, hasReason(tc.wantReason))
			ready := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionReady)
			if ready.Status != "False" || ready.Message == "" {
				t.Errorf("Ready: %+v", ready)
			}
			x.AwaitEvent(m.Name, tc.wantReason)
			if tc.waits {
				if !meta.IsStatusConditionTrue(got.Status.Conditions, v1alpha1.ConditionReconciling) ||
					meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionStalled) != nil {
					t.Errorf("a message that waits: %+v", got.Status.Conditions)
				}
			} else {
				got = x.AwaitMessage(m, "finished", (*v1alpha1.TeamTalkMessage).Finished)
				for _, c := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionFinished} {
					if f := meta.FindStatusCondition(got.Status.Conditions, c); f == nil || f.Status != "True" || f.Reason != tc.wantReason {
						t.Errorf("%s: %+v", c, f)
					}
				}
				if r := got.Status.Recipients; len(r) != 1 || r[0].State != v1alpha1.StateFailed || r[0].Reason != tc.wantReason {
					t.Errorf("recipients: %+v", r)
				}
			}
			if rows, err := x.TeamTalk.Messages(t.Context()); err != nil || len(rows) != 0 {
				t.Errorf("the store holds %+v: %v", rows, err)
			}
		})
	}
}

// TestWaitingGoesOn fixes what messages wait for: nothing but the watches wakes them.
func TestWaitingGoesOn(t *testing.T) {
	tests := map[string]struct {
		before, fix func(*tenant)
		message     func(*tenant) *v1alpha1.TeamTalkMessage
		wantReason  string
	}{
		"the server is created": {
			before:     func(x *tenant) { x.Create(x.KeySecret(devserver.DevelopmentKey)) },
			fix:        func(x *tenant) { x.Create(x.Server()) },
			wantReason: v1alpha1.ReasonServerNotFound,
		},
		"the Secret is created": {
			before:     func(x *tenant) { x.Create(x.Server()) },
			fix:        func(x *tenant) { x.Create(x.KeySecret(devserver.DevelopmentKey)) },
			wantReason: v1alpha1.ReasonKeyNotFound,
		},
		"the key is corrected": {
			before: func(x *tenant) {
				x.Create(x.KeySecret(devserver.DevelopmentKey + "\n"))
				x.Create(x.Server())
			},
			fix:        func(x *tenant) { x.Must(world.Admin.Update(x.Context(), x.KeySecret(devserver.DevelopmentKey))) },
			wantReason: v1alpha1.ReasonKeyInvalid,
		},
		"the ConfigMap is created": {
			before: func(x *tenant) { x.CreateServer() },
			fix:    func(x *tenant) { x.configMap("notice", map[string]string{"body": "hello"}, nil) },
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "", withContent(textFrom("notice", "body")))
			},
			wantReason: v1alpha1.ReasonContentNotFound,
		},
		"the endpoint is corrected": {
			before: func(x *tenant) {
				x.CreateServer(framework.Unreachable)
			},
			fix: func(x *tenant) {
				x.editServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy = x.Server().Spec.DBProxy })
			},
			wantReason: v1alpha1.ReasonServerNotReady,
		},
		"the namespace is permitted": {
			before: func(x *tenant) {
				owner := newTenant(x.TB)
				x.Bot, x.Mate = owner.Bot, owner.Mate
				owner.CreateServer(func(s *v1alpha1.TeamTalkServer) {
					s.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.FromSelector, Selector: selector("chat", owner.Namespace)}
				})
				x.owner = owner.Namespace
			},
			fix: func(x *tenant) {
				ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.Namespace}}
				x.Patch(ns, `{"metadata":{"labels":{"chat":"`+x.owner+`"}}}`)
			},
			message: func(x *tenant) *v1alpha1.TeamTalkMessage {
				return x.Message("m", "hello", func(m *v1alpha1.TeamTalkMessage) {
					m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: x.owner}
				})
			},
			wantReason: v1alpha1.ReasonServerNotFound,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t)
			tc.before(x)
			m := x.Message("m", "hello")
			if tc.message != nil {
				m = tc.message(x)
			}
			x.Create(m)
			x.AwaitMessage(m, "waiting for "+tc.wantReason, hasReason(tc.wantReason))
			tc.fix(x)
			x.checkDelivered(x.AwaitDelivered(m))
			if rows := x.Rows(); len(rows) != 1 || rows[0].Text != "hello" {
				t.Errorf("the store holds %+v", rows)
			}
		})
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

// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestAccessByName has the operator in a namespace where it may read nothing: it
// says so, and goes on as soon as it is granted the very Secret and ConfigMap.
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

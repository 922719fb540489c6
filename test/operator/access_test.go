package operator

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestAccessByName has the operator in a namespace where it may read nothing: it
// says so, and goes on as soon as it is granted the very Secret and ConfigMap.
func TestAccessByName(t *testing.T) {
	t.Parallel()
	x := newTenantWithoutAccess(t, world.TeamTalk)
	x.withServer()
	x.awaitServer("not readable", func(s *v1alpha1.TeamTalkServer) bool {
		c := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionKeyLoaded)
		return c != nil && c.Reason == v1alpha1.ReasonKeyNotFound &&
			strings.Contains(c.Message, "may not read Secret \"teamtalk\" in namespace \""+x.namespace+"\": grant it get, list and watch")
	})

	x.grant("secrets", "teamtalk")
	x.awaitServer("ready", func(s *v1alpha1.TeamTalkServer) bool {
		return meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady)
	})

	x.create(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "notice", Namespace: x.namespace}, Data: map[string]string{"body": "read by name"},
	})
	m := x.message("by-name", "", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.Content = v1alpha1.Content{TextFrom: &v1alpha1.TextSource{
			ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "notice", Key: "body"},
		}}
	})
	x.create(m)
	x.await(m, "waiting for the right to read", func(m *v1alpha1.TeamTalkMessage) bool {
		c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == v1alpha1.ReasonContentNotFound && strings.Contains(c.Message, "may not read ConfigMap \"notice\"")
	})
	x.grant("configmaps", "notice")
	x.awaitDelivered(m)
}

// grant lets the operator read one object of the tenant's namespace.
func (x *tenant) grant(resource, name string) {
	x.t.Helper()
	at := metav1.ObjectMeta{Name: "teamtalk-operator-" + resource, Namespace: x.namespace}
	x.create(&rbacv1.Role{ObjectMeta: at, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{resource}, ResourceNames: []string{name}, Verbs: []string{"get", "list", "watch"},
	}}})
	x.create(&rbacv1.RoleBinding{
		ObjectMeta: at, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: at.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: framework.OperatorUser}},
	})
}

// awaitServer waits until the status of the server "default" is as wanted.
func (x *tenant) awaitServer(want string, is func(*v1alpha1.TeamTalkServer) bool) {
	x.t.Helper()
	seen := &v1alpha1.TeamTalkServer{}
	x.eventually(x.limit,
		func() string { return fmt.Sprintf("the server is not %s: %+v", want, seen.Status) },
		func(ctx context.Context) (bool, error) {
			err := world.Admin.Get(ctx, client.ObjectKey{Namespace: x.namespace, Name: v1alpha1.DefaultServerName}, seen)
			return err == nil && is(seen), err
		})
}

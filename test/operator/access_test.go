// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

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
		m = outsider.AwaitMessage(m, "told of no server", hasReason(v1alpha1.ReasonServerNotFound))
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

// times are what differs from message to message without saying anything.
var times = regexp.MustCompile(`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"`)

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
	all := fmt.Sprintf("%s\nannotations %v\nevents %s", times.ReplaceAllString(string(status), "TIME"), m.Annotations, strings.Join(events, "\n"))
	for id, stands := range map[string]string{owner.Namespace: "OWNER", fmt.Sprint(owner.Bot): "SENDER"} {
		all = strings.ReplaceAll(all, id, stands)
	}
	return all
}

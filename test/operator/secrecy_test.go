package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestNothingIsLearned has a stranger name the servers of others, in whatever state
// they are: all that it reads afterwards is what it reads of a server that does
// not exist.
func TestNothingIsLearned(t *testing.T) {
	t.Parallel()
	stranger := newTenant(t)
	owners := map[string]*tenant{}
	for name, declare := range map[string]func(*tenant){
		"absent": func(*tenant) {},
		"ready":  func(x *tenant) { x.withServer() },
		"no-key": func(x *tenant) { x.create(x.server()) },
		"closed": func(x *tenant) {
			x.withServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"127.0.0.1:1"} })
		},
		"for-others": func(x *tenant) {
			x.withServer(func(s *v1alpha1.TeamTalkServer) {
				s.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.FromSelector, Selector: selector("friend", "true")}
			})
		},
	} {
		owner := newTenantOf(t, world.TeamTalk)
		declare(owner)
		if name != "absent" {
			owner.awaitServer("looked at", func(s *v1alpha1.TeamTalkServer) bool { return len(s.Status.Conditions) > 0 })
		}
		if name == "ready" || name == "for-others" {
			owner.awaitServer("ready", func(s *v1alpha1.TeamTalkServer) bool {
				return meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady)
			})
		}
		owners[name] = owner
	}
	read := map[string]string{}
	for name, owner := range owners {
		m := stranger.message(name, "hi", func(m *v1alpha1.TeamTalkMessage) {
			m.Spec.ServerRef = &v1alpha1.ServerReference{Name: "default", Namespace: owner.namespace}
			id := v1alpha1.UserID(owner.bot) // whom the server would let it speak as
			m.Spec.SenderID = &id
		})
		stranger.create(m)
		m = stranger.await(m, "told of no server", func(m *v1alpha1.TeamTalkMessage) bool {
			c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
			return c != nil && c.Reason == v1alpha1.ReasonServerNotFound
		})
		stranger.awaitEvent(name, v1alpha1.ReasonServerNotFound)
		read[name] = stranger.shown(m, owner)
	}
	for name, shown := range read {
		if shown != read["absent"] {
			t.Errorf("a server that is %q shows as\n%s\nbut one that does not exist as\n%s", name, shown, read["absent"])
		}
	}
	if rows := stranger.rows(); len(rows) != 0 {
		t.Errorf("the store holds %+v", rows)
	}
	for name, owner := range owners {
		if rows := owner.rows(); len(rows) != 0 {
			t.Errorf("%s: the store holds %+v", name, rows)
		}
	}
}

// times are what differs from message to message without saying anything.
var times = regexp.MustCompile(`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"`)

// shown returns all that the message and its events show, without times and names.
func (x *tenant) shown(m *v1alpha1.TeamTalkMessage, owner *tenant) string {
	x.t.Helper()
	status, err := json.MarshalIndent(m.Status, "", "  ")
	x.must(err)
	list := &eventsv1.EventList{}
	x.must(world.Admin.List(x.t.Context(), list, client.InNamespace(x.namespace)))
	var events []string
	for _, e := range list.Items {
		if e.Regarding.Name == m.Name {
			events = append(events, fmt.Sprintf("%s %s %s %s %v", e.Type, e.Reason, e.Action, e.Note, e.Related))
		}
	}
	slices.Sort(events)
	all := fmt.Sprintf("%s\nannotations %v\nevents %s", times.ReplaceAllString(string(status), "TIME"), m.Annotations, strings.Join(events, "\n"))
	for id, stands := range map[string]string{owner.namespace: "OWNER", fmt.Sprint(owner.bot): "SENDER"} {
		all = strings.ReplaceAll(all, id, stands)
	}
	return all
}

// leaks looks for keys, and for a text that was sent, wherever the operator writes.
func leaks(ctx context.Context) error {
	written, err := framework.Written(ctx, world.Admin)
	if err != nil {
		return err
	}
	written["log"] = world.log.String()
	return framework.Leaked(written, map[string]string{"the key": devserver.DevelopmentKey, "a message's text": secretText})
}

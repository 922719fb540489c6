// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// namesPatience bounds waits for names that nobody has: all users are read once a minute.
const namesPatience = 4 * time.Minute

// byName are the recipients of messages to one user or group by name.
func byName(m v1alpha1.TeamTalkMessage) (name string) {
	for _, to := range m.Spec.To.All() {
		name += to.Name
	}
	return name
}

// TestRecipientsByName: alerts go to users and groups by name, within allow. A name that nobody has fails the message
// alone: the receiver has done its part.
func TestRecipientsByName(t *testing.T) {
	t.Parallel()
	const nobody = "nobody.at.all"
	x := newTenant(t)
	x.Timeout = namesPatience
	bob := framework.User(x.Bob).Name
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.To = v1alpha1.NamedRecipients{UserNames: []string{framework.User(x.Alice).Name}}
		r.Spec.Allow = &v1alpha1.NamedRecipients{UserNames: []string{bob, nobody}, GroupNames: []string{"oncall"}}
		r.Spec.Recipients = `payload.labels.team == "all" ? [group("oncall")] : payload.labels.owner != "" ? [user(payload.labels.owner)] : []`
		r.Spec.Template = `{{range .Alerts}}{{.Labels.alertname}}{{end}}`
	})
	x.receiver("labels", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.ToLabel, r.Spec.Allow = "owner", &v1alpha1.NamedRecipients{UserNames: []string{bob}}
		r.Spec.Template = `{{range .Alerts}}{{.Labels.alertname}}{{end}}`
	})
	x.awaitReady("alerts", v1alpha1.ReasonReady)
	url := x.url(world.shared, "alerts")
	body := notification("firing",
		alert("Down", "firing", noon), alert("Full", "firing", noon, "team", "all"), alert("Slow", "firing", noon, "owner", bob),
		alert("Lost", "firing", noon, "owner", nobody))
	if r := x.post(url, body); r.Code != 200 || len(r.Messages) != 4 {
		t.Fatalf("%+v", r)
	}
	if r := x.post(x.url(x.serve().address, "alerts"), body); r.Duplicates != 4 || len(r.Messages) != 0 {
		t.Errorf("by another process: %+v", r)
	}
	// One that is not allowed: to gets it.
	if r := x.post(url, firing("Other", "owner", framework.User(x.Mate).Name)); len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	if r := x.post(x.url(world.shared, "labels"), firing("Label", "owner", bob)); len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	for to, want := range map[uint32][]string{x.Alice: {"Down", "Other"}, x.OnCall: {"Full"}, x.Bob: {"Label", "Slow"}} {
		got := x.awaitTexts(to, len(want))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%d has %q, want %q", to, got, want)
		}
	}
	if count := x.settled(); count != 6 {
		t.Errorf("%d messages", count)
	}
	for _, m := range x.Messages() {
		finished, want := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionFinished), v1alpha1.ReasonDelivered
		if byName(m) == nobody {
			want = v1alpha1.ReasonRecipientNotFound
		}
		if finished == nil || finished.Reason != want || m.Status.Recipients[0].Name != byName(m) {
			t.Errorf("%s to %s: %+v", m.Name, byName(m), m.Status)
		}
	}
	r := x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return r.Status.Counts.Messages == 5 && r.Status.Counts.Duplicates == 4 && r.Status.LastError != nil
	})
	if c := r.Status.Counts; c.Failed+c.Refused+c.ExpressionFaults != 0 || !meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReady) ||
		!meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionProcessed) {
		t.Errorf("%+v", r.Status)
	}
}

// TestFloodByName: a name has its own budget, and the digest goes to the name.
func TestFloodByName(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	bob := framework.User(x.Bob).Name
	x.receiver("alerts", x.hourly(1), func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.ToLabel, r.Spec.Allow = "owner", &v1alpha1.NamedRecipients{UserNames: []string{bob}, GroupNames: []string{bob}}
	})
	tell := func(name, owner string) reply {
		return x.post(x.url(world.shared, "alerts"), firing(name, "owner", owner))
	}
	if r := tell("First", bob); len(r.Messages) != 1 {
		t.Errorf("%+v", r)
	}
	for _, try := range []string{"suppressed", "repeated by another process"} {
		address := world.shared
		if try != "suppressed" {
			address = x.serve().address
		}
		if r := x.post(x.url(address, "alerts"), firing("Second", "owner", bob)); len(r.Messages) != 0 || r.Suppressed+r.Duplicates != 1 {
			t.Errorf("%s: %+v", try, r)
		}
	}
	if r := tell("Group", "group:"+bob); len(r.Messages) != 1 {
		t.Errorf("a group of that name has a budget of its own: %+v", r)
	}
	messages, _ := x.digests("alerts")
	if len(messages) != 1 || byName(messages[0]) != bob || len(messages[0].Spec.To.UserNames) != 1 {
		t.Errorf("%+v", messages)
	}
}

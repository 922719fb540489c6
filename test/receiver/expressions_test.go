// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestExpressions: filtered alerts reach nobody. The rest reaches the recipients that the expression names.
func TestExpressions(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) {
		r.Spec.Filter = `payload.labels.severity == "critical" && payload.labels.alertname != "Noise"`
		r.Spec.DedupKey = `payload.labels.alertname`
		r.Spec.Recipients = fmt.Sprintf(`payload.labels.team == "db" ? [user(%d)] : []`, x.Bob)
		r.Spec.Allow = &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Bob)}}
		r.Spec.Template = `{{range .Alerts}}{{.Labels.alertname}} {{end}}`
	})
	x.awaitReady("alerts", v1alpha1.ReasonReady)
	url := x.url(world.shared, "alerts")
	noise := alert("Noise", "firing", noon)
	if r := x.post(url, notification("firing", noise)); r.Code != http.StatusOK || len(r.Messages) != 0 || r.Filtered != 1 {
		t.Errorf("%+v", r)
	}
	mixed := func(startsAt string) string {
		return notification("firing", noise, alert("Slow", "firing", startsAt), alert("Full", "firing", startsAt, "team", "db"))
	}
	if r := x.post(url, mixed(noon)); r.Code != http.StatusOK || len(r.Messages) != 2 || r.Filtered != 1 {
		t.Errorf("%+v", r)
	}
	// It fires again, and is posted by another process.
	if r := x.post(x.url(x.serve().address, "alerts"), mixed("2026-11-23T12:01:00Z")); r.Code != http.StatusOK || r.Duplicates != 2 || len(r.Messages) != 0 {
		t.Errorf("again: %+v", r)
	}
	if got := [][]string{x.awaitTexts(x.Alice, 1), x.awaitTexts(x.Bob, 1)}; !slices.Equal(got[0], []string{"Slow"}) || !slices.Equal(got[1], []string{"Full"}) {
		t.Errorf("%q", got)
	}
	x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return r.Status.Counts.Filtered == 3 && meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionProcessed) &&
			meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionReady)
	})
}

// TestFaultsAreShown: what fails at run time is in a condition, beside what the operator writes, and in kubectl get.
func TestFaultsAreShown(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("alerts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Filter = `int(payload.labels.severity) > 3` })
	x.receiver("texts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Template = `{{ fail "no" }}` })
	for name, want := range map[string]string{
		"alerts": v1alpha1.ReasonExpressionFailed, "texts": v1alpha1.ReasonTemplateFailed,
	} {
		x.awaitReady(name, v1alpha1.ReasonReady)
		if r := x.notify(name, "Down"); len(r.Messages) != 1 {
			t.Errorf("%+v", r)
		}
		x.awaitReceiver(name, func(r *v1alpha1.TeamTalkReceiver) bool {
			c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionProcessed)
			return c != nil && c.Status == metav1.ConditionFalse && c.Reason == want && c.ObservedGeneration == r.Generation &&
				!strings.Contains(c.Message, "critical")
		})
		x.awaitReady(name, v1alpha1.ReasonReady)
		if row := x.columns(name); row["Processed"] != "False" || row["Ready"] != "True" {
			t.Errorf("%v", row)
		}
	}
	x.awaitTexts(x.Alice, 2)
	x.edit("alerts", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Filter = `payload.labels.severity == "critical"` })
	x.awaitReady("alerts", v1alpha1.ReasonReady)
	x.notify("alerts", "Up")
	x.awaitReceiver("alerts", func(r *v1alpha1.TeamTalkReceiver) bool {
		return meta.IsStatusConditionTrue(r.Status.Conditions, v1alpha1.ConditionProcessed)
	})
}

// columns returns what kubectl get shows of a receiver, by column.
func (x *tenant) columns(name string) map[string]string {
	x.Helper()
	cfg := world.Plane.Config()
	caller, err := rest.HTTPClientFor(cfg)
	x.Must(err)
	server, _, err := rest.DefaultServerUrlFor(cfg)
	x.Must(err)
	_, text, err := framework.Ask(x.Context(), caller, http.MethodGet,
		server.JoinPath("apis/teamtalk.io/v1alpha1/namespaces", x.Namespace, "teamtalkreceivers", name).String(), "",
		"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	x.Must(err)
	table, shown := &metav1.Table{}, map[string]string{}
	x.Must(json.Unmarshal([]byte(text), table))
	for i, c := range table.ColumnDefinitions {
		shown[c.Name] = fmt.Sprint(table.Rows[0].Cells[i])
	}
	return shown
}

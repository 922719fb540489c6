// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
)

var chat = types.NamespacedName{Namespace: "chat", Name: "default"}

// operator is what the metrics read from.
type operator struct {
	load    delivery.Load
	servers map[types.NamespacedName]connection.Stats
	leads   bool
}

func (o *operator) metrics() *Metrics {
	return New(Sources{
		Load:    func() delivery.Load { return o.load },
		Servers: func() map[types.NamespacedName]connection.Stats { return o.servers },
		Leads:   func() bool { return o.leads },
	})
}

func full() *operator {
	return &operator{
		leads: true,
		load: delivery.Load{
			Recipients: map[v1alpha1.RecipientState]int{v1alpha1.StateInDoubt: 2}, Conversations: 3, Waiting: 4,
		},
		servers: map[types.NamespacedName]connection.Stats{chat: {
			Health:    connection.Health{DBProxyConnected: 1, DBProxyDesired: 2, RouterConnected: 1, RouterDesired: 1},
			KeyLoaded: true, InFlight: 5,
		}},
	}
}

// samples returns what is not 0 of the metrics: one line each, histograms by their number of observations.
func samples(t *testing.T, m *Metrics) []string {
	t.Helper()
	families := gather(t, m)
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(families)) {
		for _, sample := range families[name].GetMetric() {
			line := strings.TrimPrefix(name, Prefix)
			for _, l := range sample.GetLabel() {
				if l.GetName() != labelNamespace && l.GetName() != labelServer {
					line += " " + l.GetValue()
				} else if l.GetValue() != chat.Namespace && l.GetValue() != chat.Name {
					line += " of:" + l.GetValue()
				}
			}
			value := sample.GetCounter().GetValue() + sample.GetGauge().GetValue() + float64(sample.GetHistogram().GetSampleCount())
			if value != 0 {
				lines = append(lines, fmt.Sprintf("%s = %v", line, value))
			}
		}
	}
	return lines
}

func wantSamples(t *testing.T, m *Metrics, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, samples(t, m)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestGauges(t *testing.T) {
	wantSamples(t, full().metrics(),
		"connections db_proxy = 1", "connections router = 1",
		"connections_desired db_proxy = 2", "connections_desired router = 1",
		"conversations = 3", "conversations_waiting_recipients = 4",
		"key_loaded = 1", "leader = 1", "recipients InDoubt = 2", "requests_in_flight = 5",
	)
	wantSamples(t, (&operator{}).metrics())
}

// newMessage returns a message that was created a minute ago.
func newMessage(delivered metav1.ConditionStatus, reason string) *v1alpha1.TeamTalkMessage {
	m := &v1alpha1.TeamTalkMessage{}
	m.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Minute))
	m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: delivered, Reason: reason}}
	return m
}

func TestEndsAreCounted(t *testing.T) {
	m := (&operator{}).metrics()
	m.Finished(chat, newMessage("True", v1alpha1.ReasonDelivered), time.Now())
	m.Finished(chat, newMessage("True", v1alpha1.ReasonStoredNotRouted), time.Now())
	m.Finished(chat, newMessage("False", v1alpha1.ReasonPartiallyDelivered), time.Now())
	m.Finished(chat, newMessage("False", v1alpha1.ReasonOutcomeUnknown), time.Now())
	m.Finished(types.NamespacedName{}, newMessage("False", v1alpha1.ReasonDeadlineExceeded), time.Now().Add(-time.Hour))
	m.Finished(chat, &v1alpha1.TeamTalkMessage{}, time.Now())
	m.RecipientsEnded(chat, []v1alpha1.RecipientStatus{
		{State: v1alpha1.StateRouted}, {State: v1alpha1.StateRouted, Reason: v1alpha1.ReasonAdopted},
		{State: v1alpha1.StateStored, Reason: v1alpha1.ReasonStoredNotRouted},
		{State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonGroupNotFound},
	})
	wantSamples(t, m,
		"message_duration_seconds Delivered = 2", "message_duration_seconds Failed of: of: = 1", "message_duration_seconds Failed = 1",
		"message_duration_seconds PartiallyDelivered = 1",
		"messages_finished_total Delivered Delivered = 1", "messages_finished_total Delivered StoredNotRouted = 1",
		"messages_finished_total Failed DeadlineExceeded of: of: = 1",
		"messages_finished_total Failed OutcomeUnknown = 1", "messages_finished_total PartiallyDelivered PartiallyDelivered = 1",
		"recipients_finished_total Adopted Routed = 1", "recipients_finished_total Delivered Routed = 1",
		"recipients_finished_total GroupNotFound Failed = 1", "recipients_finished_total StoredNotRouted Stored = 1",
	)
}

func TestDurationCountsFromSendAfter(t *testing.T) {
	now := time.Now()
	message := newMessage("True", v1alpha1.ReasonDelivered)
	message.Spec.SendAfter = &metav1.Time{Time: now.Add(-2 * time.Second)}
	m := (&operator{}).metrics()
	m.Finished(chat, message, now)
	family := gather(t, m)[Prefix+"message_duration_seconds"]
	if sum := family.GetMetric()[0].GetHistogram().GetSampleSum(); sum != 2 {
		t.Errorf("got %v s, want 2", sum)
	}
}

func TestStepsAreMeasured(t *testing.T) {
	now := time.Now()
	m := (&operator{}).metrics()
	step := func(s delivery.Step, before, after v1alpha1.RecipientState) {
		m.Observe(delivery.StepEvent{
			Server: chat, Step: s, Accepted: now.Add(-3 * time.Second), Began: now.Add(-time.Second), Ended: now,
			Before: delivery.Progress{State: before, DoubtSince: now.Add(-time.Minute)}, After: delivery.Progress{State: after, StoredAt: now, RoutedAt: now},
		})
	}
	step(delivery.StepAsk, v1alpha1.StateInDoubt, v1alpha1.StateStored)
	step(delivery.StepExpire, v1alpha1.StatePending, v1alpha1.StateFailed)
	wantSamples(t, m,
		"accepted_to_stored_seconds = 2", "adopted_total = 1", "doubt_duration_seconds found = 1", "step_duration_seconds ask = 1",
	)
}

func TestReads(t *testing.T) {
	m := (&operator{}).metrics()
	m.Read(chat, v1alpha1.RecipientUser, time.Second)
	m.Read(chat, v1alpha1.RecipientUser, 0)
	m.Read(chat, v1alpha1.RecipientGroup, time.Hour)
	m.Expired(chat, readreceipt.ExpiredByLimit)
	m.Expired(chat, readreceipt.ExpiredByAge)
	m.Dropped(chat)
	m.ReadDecided(chat, v1alpha1.ReasonReadDeadlineExceeded)
	m.EscalationFinished(chat, newMessage("True", v1alpha1.ReasonDelivered))
	m.EscalationFinished(chat, newMessage("False", v1alpha1.ReasonGroupNotFound))
	stopped := newMessage("False", v1alpha1.ReasonAlertResolved)
	stopped.Status.Recipients = []v1alpha1.RecipientStatus{{Reason: v1alpha1.ReasonAlertResolved}}
	m.EscalationFinished(chat, stopped)
	both := newMessage("False", v1alpha1.ReasonPartiallyDelivered)
	both.Status.Recipients = append(stopped.Status.Recipients, v1alpha1.RecipientStatus{
		State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonRecipientNotFound,
	})
	m.EscalationFinished(chat, both)
	wantSamples(t, m,
		"escalations_finished_total Delivered = 1", "escalations_finished_total Failed = 1",
		"escalations_finished_total PartiallyDelivered = 1", "escalations_finished_total Stopped = 1",
		"read_policies_decided_total ReadDeadlineExceeded = 1",
		"read_receipts_dropped_total = 1", "read_receipts_expired_total age = 1", "read_receipts_expired_total limit = 1",
		"routed_to_read_seconds group = 1", "routed_to_read_seconds user = 2",
	)
}

// TestServersComeAndGo: counters are 0 before their first event, and those of a deleted server are deleted.
func TestServersComeAndGo(t *testing.T) {
	o := full()
	m := o.metrics()
	families := gather(t, m)
	for _, name := range []string{"silent_drops_total", "adopted_total", "retries_total", "recipients_finished_total",
		"routed_to_read_seconds", "read_receipts_expired_total", "read_receipts_dropped_total", "read_policies_decided_total",
		"escalations_finished_total"} {
		if families[Prefix+name] == nil {
			t.Errorf("%s is not there before it is counted", name)
		}
	}
	m.RecipientsEnded(chat, []v1alpha1.RecipientStatus{{State: v1alpha1.StateRouted}})
	o.servers = nil
	for name, f := range gather(t, m) {
		if strings.Contains(f.String(), chat.Namespace) {
			t.Errorf("%s still has a deleted server", name)
		}
	}
}

// TestFailuresBeginAtZero: the first messages that fail for a reason must show as an increase, for every reason.
func TestFailuresBeginAtZero(t *testing.T) {
	var there []string
	for _, sample := range gather(t, full().metrics())[Prefix+"messages_finished_total"].GetMetric() {
		labels := map[string]string{}
		for _, l := range sample.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["outcome"] == OutcomeFailed {
			there = append(there, labels["reason"])
		}
	}
	source, err := os.ReadFile(filepath.Join("..", "..", "api", "v1alpha1", "conditions.go"))
	if err != nil {
		t.Fatal(err)
	}
	// No message ends for these, or not as one that reached nobody.
	others := []string{
		"Ready", "KeyLoaded", "Connected", "Connecting", "Sending", "RetryScheduled", "Scheduled", "Suspended",
		"Delivered", "PartiallyDelivered", "StoredNotRouted", "Adopted", "Superseded",
		"ServerNotFound", "ServerNotReady", "ManagedByAnother", "EndpointNotPermitted", "ConnectionLimit", "GroupNotAdoptable",
		"KeyNotFound", "KeyInvalid", "ContentNotFound", "GroupNotReady",
		"StoreRejected", "NotStored", "NoAnswer",
		"Read", "Unread", "ReadsMissed", "ReadDeadlineExceeded", "NotRouted",
	}
	reasons := regexp.MustCompile(`(?m)^\tReason[A-Za-z]+ += "([A-Za-z]+)"`).FindAllSubmatch(source, -1)
	for _, reason := range reasons {
		if name := string(reason[1]); slices.Contains(there, name) == slices.Contains(others, name) {
			t.Errorf("%s must be either there as 0 for messages that failed, or no reason for that", name)
		}
	}
	if len(reasons) < len(others)+len(there) {
		t.Errorf("the API has %d reasons, want %d at least", len(reasons), len(others)+len(there))
	}
}

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	list, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, f := range list {
		families[f.GetName()] = f
	}
	return families
}

func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(full().metrics())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestDocumented: docs/how-to/operations.md has all metrics, and no others.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "how-to", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `("+Prefix+"[a-z_]+)`").FindAllSubmatch(page, -1) {
		documented[string(row[1])] = true
	}
	descs := make(chan *prometheus.Desc, 100)
	full().metrics().Describe(descs)
	close(descs)
	for d := range descs {
		name := regexp.MustCompile(`fqName: "([a-z_]+)"`).FindStringSubmatch(d.String())[1]
		if !documented[name] {
			t.Errorf("%s is not in the table of docs/how-to/operations.md", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/how-to/operations.md has %s, which does not exist", name)
	}
}

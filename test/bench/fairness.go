// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// fairnessBulk is how many messages to bulkUsers one tenant sends, from its own namespace.
	fairnessBulk, fairnessNamespace = 10, "fairness"
	// fairnessSamples is how many messages of the other tenant are timed in a round. At least fairnessLeast of them
	// must be timed while the bulk is sent.
	fairnessSamples, fairnessLeast = 100, 30
	// fairnessRounds bounds the rounds: each takes about 45 s.
	fairnessRounds = 3
	// fairnessRate is the rateLimit of a second measurement: a quarter of the rate of a stock db_proxy.
	fairnessRate = 300
	// fairnessPoll is how often the bulk is read. Each read costs the API server about as much as a message.
	fairnessPoll = time.Second
)

// fairness measures how long single messages of one tenant take while another tenant sends to thousands through the
// same server. It divides by how long they take alone. It is measured without a rateLimit, and with one. The
// percentiles are over the messages of all rounds. Of 100 messages, one during a garbage collection of the API server
// would decide.
func fairness(ctx context.Context, w *world, r *report) {
	framework.Must(framework.CreateNamespace(ctx, w.admin, operatorUser, fairnessNamespace))
	before := w.server.Spec.DeepCopy()
	defer func() { w.editServer(ctx, func(s *v1alpha1.TeamTalkServerSpec) { *s = *before.DeepCopy() }) }()
	for _, rate := range []int32{0, fairnessRate} {
		prefix := "fairness"
		if rate > 0 {
			prefix = "fairness_rate"
		}
		w.editServer(ctx, func(s *v1alpha1.TeamTalkServerSpec) {
			s.AllowedNamespaces.From = v1alpha1.FromAll
			s.Senders.Allowed = []v1alpha1.UserID{v1alpha1.UserID(w.fairnessSender())}
			s.RateLimit.MessagesPerSecond = rate
		})
		w.deliverOne(ctx, "warm-"+fmt.Sprint(rate))
		var alone, beside []float64
		for round := range min(w.o.rounds, fairnessRounds) {
			name := fmt.Sprintf("%d-%d", rate, round)
			alone = append(alone, w.deliverSingles(ctx, "alone-"+name, func() bool { return true })...)
			sending, stop := w.sendBulk(ctx, name)
			some := w.deliverSingles(ctx, "beside-"+name, sending)
			stop()
			if len(some) < fairnessLeast {
				framework.Failf("only %d messages were delivered while the bulk was sent, want %d", len(some), fairnessLeast)
			}
			beside = append(beside, some...)
			w.clear(ctx, fairnessNamespace)
		}
		r.add(prefix+"_alone_p99_ms", percentile(alone, 99), 1)
		r.add(prefix+"_p50_ms", percentile(beside, 50), 1)
		r.add(prefix+"_p99_ms", percentile(beside, 99), 1)
		r.add(prefix+"_ratio", percentile(beside, 99)/percentile(alone, 99), 2)
	}
}

// fairnessSender sends the single messages, so that their conversations have no message of the bulk.
func (w *world) fairnessSender() uint32 { return w.o.users[bulkUsers-1] }

// editServer changes the server, and waits until its controller has seen that.
func (w *world) editServer(ctx context.Context, edit func(*v1alpha1.TeamTalkServerSpec)) {
	framework.Must(w.admin.Get(ctx, client.ObjectKeyFromObject(w.server), w.server))
	edit(&w.server.Spec)
	framework.Mustf(w.admin.Update(ctx, w.server), "edit the server")
	until(ctx, "the server is reconciled", func(ctx context.Context) bool {
		framework.Must(w.admin.Get(ctx, client.ObjectKeyFromObject(w.server), w.server))
		return w.server.Status.ObservedGeneration == w.server.Generation
	})
}

// deliverSingles delivers one message after the other while more reports true, and returns how long each took.
func (w *world) deliverSingles(ctx context.Context, prefix string, more func() bool) (took []float64) {
	for n := range fairnessSamples {
		if !more() {
			break
		}
		m := message(namespace, fmt.Sprintf("%s-%d", prefix, n), "Lunch is ready", w.o.users[n])
		m.Spec.SenderID = new(v1alpha1.UserID(w.fairnessSender()))
		began, ended := w.deliver(ctx, m)
		took = append(took, milliseconds(ended.Sub(began)))
	}
	return took
}

// sendBulk creates the messages of the bulk, and returns once some of them are stored. sending reports whether
// messages are left, until stop is called.
func (w *world) sendBulk(ctx context.Context, name string) (sending func() bool, stop func()) {
	for n := range fairnessBulk {
		m := message(fairnessNamespace, fmt.Sprintf("bulk-%s-%d", name, n), "The office is closed", w.o.users[:bulkUsers]...)
		m.Spec.ServerRef = &v1alpha1.ServerReference{Name: w.server.Name, Namespace: w.server.Namespace}
		w.create(ctx, m)
	}
	until(ctx, "the bulk is being sent", func(ctx context.Context) bool {
		list := &v1alpha1.TeamTalkMessageList{}
		framework.Must(w.admin.List(ctx, list, client.InNamespace(fairnessNamespace)))
		return slices.ContainsFunc(list.Items, func(m v1alpha1.TeamTalkMessage) bool {
			return m.Status.Counts != nil && m.Status.Counts.Stored > 0
		})
	})
	ctx, cancel := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() { sent <- framework.AwaitEvery(ctx, fairnessPoll, "the bulk is sent", w.bulkIsSent) }()
	sending = func() bool {
		select {
		case err := <-sent:
			framework.Must(err)
			return false
		default:
			return true
		}
	}
	return sending, cancel
}

// bulkIsSent is the condition that all messages of the bulk have finished.
func (w *world) bulkIsSent(ctx context.Context) (seen string, met bool, err error) {
	finished := &metav1.PartialObjectMetadataList{}
	finished.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
	err = w.admin.List(ctx, finished,
		client.InNamespace(fairnessNamespace), client.MatchingFields{"status.finished": "true"})
	return fmt.Sprint(len(finished.Items), " messages have finished"), len(finished.Items) == fairnessBulk, err
}

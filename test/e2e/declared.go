// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// flux is the field manager of Flux's kustomize-controller.
const flux = client.FieldOwner("kustomize-controller")

// declaredText adds a batch of one message, which something else than declare creates, and returns its text.
func (w *world) declaredText(b *batch) string {
	text := fmt.Sprintf("%s%s #0", w.prefix(), b.name)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.declared[text] = true
	return text
}

// scheduled has a TeamTalkSchedule that is due at the next minute, once.
func (w *world) scheduled(ctx context.Context) (seen string) {
	b := w.batch("scheduled")
	at := time.Now().Add(5 * time.Second).Truncate(time.Minute).Add(time.Minute)
	w.apply(ctx, "schedule.yaml", map[string]string{
		"NAMESPACE": chat, "MINUTE": fmt.Sprint(at.UTC().Minute()), "LABEL": batchLabel, "BATCH": b.name,
		"TEXT": w.declaredText(b),
	})
	w.delivered(ctx, b)
	s := &v1alpha1.TeamTalkSchedule{}
	w.await(ctx, "the schedule has recorded its message", func() (string, bool) {
		framework.Must(w.admin.Get(ctx, client.ObjectKey{Namespace: chat, Name: "standup"}, s))
		last := s.Status.LastScheduleTime
		return fmt.Sprintf("last %v, %d active", last, s.Status.Active),
			last != nil && last.Time.Equal(at) && s.Status.Active == 0 && s.Status.LastSuccessfulTime != nil
	})
	return fmt.Sprintf("delivered %.1f s after its time; %s", s.Status.LastSuccessfulTime.Sub(at).Seconds(), w.count(ctx))
}

// grouped applies a TeamTalkGroup and a message to it, the message first.
func (w *world) grouped(ctx context.Context) (seen string) {
	b := w.batch("grouped")
	w.apply(ctx, "group.yaml", map[string]string{
		"NAMESPACE": chat, "LABEL": batchLabel, "BATCH": b.name, "TEXT": w.declaredText(b),
	})
	w.delivered(ctx, b)
	g, m := &v1alpha1.TeamTalkGroup{}, &v1alpha1.TeamTalkMessage{}
	framework.Must(w.admin.Get(ctx, client.ObjectKey{Namespace: chat, Name: "oncall"}, g))
	framework.Must(w.admin.Get(ctx, client.ObjectKey{Namespace: chat, Name: "to-oncall"}, m))
	id, members := ptr.Deref(g.Status.GroupID, 0), ptr.Deref(g.Status.Members, 0)
	if !meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionReady) || id == 0 || members != 3 {
		framework.Failf("the group is %+v, want 3 members", g.Status)
	}
	if to := m.Status.Recipients; len(to) != 1 || to[0].Type != v1alpha1.RecipientGroup || to[0].ID != int64(id) {
		framework.Failf("the message was sent to %+v, want group %d", to, id)
	}
	return fmt.Sprintf("group %d with %d members; %s", id, members, w.count(ctx))
}

// announced applies an announcement as Flux does, and applies it again with the label of a later revision.
func (w *world) announced(ctx context.Context) (seen string) {
	b := w.batch("announced")
	text := w.declaredText(b)
	rendered := framework.MustGet(framework.Kustomize(filepath.Join(w.Root, "test", "e2e", "manifests", "announcement")))
	reconcile := func(revision string) (message *unstructured.Unstructured) {
		for _, o := range rendered {
			message = o.DeepCopy()
			framework.Must(unstructured.SetNestedField(message.Object, text, "spec", "content", "text"))
			labels := message.GetLabels()
			labels[batchLabel], labels["revision"] = b.name, revision
			message.SetLabels(labels)
			config := client.ApplyConfigurationFromUnstructured(message.DeepCopy())
			framework.Must(w.admin.Apply(ctx, config, flux, client.ForceOwnership))
		}
		framework.Must(w.admin.Get(ctx, client.ObjectKeyFromObject(message), message))
		return message
	}
	first := reconcile("1")
	w.delivered(ctx, b)
	again := reconcile("2")
	if first.GetUID() != again.GetUID() || first.GetGeneration() != again.GetGeneration() {
		framework.Failf("the announcement is another one after it was applied again: generation %d, then %d",
			first.GetGeneration(), again.GetGeneration())
	}
	// A later message to the same user is delivered after what the second revision might have sent.
	later := w.batch("announced-later")
	framework.Must(w.declare(ctx, later, 0))
	w.delivered(ctx, later)
	return w.count(ctx)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// creators is how many messages are created at once where their number matters and their order does not.
const creators = 16

func message(in, name, text string, users ...uint32) *v1alpha1.TeamTalkMessage {
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: in},
		Spec:       v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{Text: &text}},
	}
	for _, id := range users {
		m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(id))
	}
	return m
}

// batch is a number of messages, one user each, to users in turn.
type batch struct {
	namespace, prefix string
	n                 int
	users             []uint32
}

func (b batch) name(i int) string { return fmt.Sprintf("%s-%d", b.prefix, i) }

func (b batch) text(i int) string { return fmt.Sprintf("Deployment %s-%d has finished", b.prefix, i) }

func (b batch) message(i int) *v1alpha1.TeamTalkMessage {
	return message(b.namespace, b.name(i), b.text(i), b.users[i%len(b.users)])
}

func (b batch) names() []string {
	names := make([]string, b.n)
	for i := range names {
		names[i] = b.name(i)
	}
	return names
}

func (b batch) textsOf(user int) []string {
	var texts []string
	for i := user; i < b.n; i += len(b.users) {
		texts = append(texts, b.text(i))
	}
	return texts
}

// create creates the messages and returns them as the API server has them.
func (b batch) create(ctx context.Context, w *world) []*v1alpha1.TeamTalkMessage {
	created := make([]*v1alpha1.TeamTalkMessage, b.n)
	framework.Must(framework.Parallel(ctx, creators, b.n, func(ctx context.Context, i int) {
		created[i] = b.message(i)
		w.create(ctx, created[i])
	}))
	return created
}

func (w *world) create(ctx context.Context, m *v1alpha1.TeamTalkMessage) {
	framework.Mustf(w.admin.Create(ctx, m), "create a message")
}

// deliver creates a message and returns when, and when a watch has shown it Delivered.
func (w *world) deliver(ctx context.Context, m *v1alpha1.TeamTalkMessage) (began, ended time.Time) {
	began = time.Now()
	w.create(ctx, m)
	return began, w.tracker.await(ctx, m.Name)
}

// deliverOne delivers one message, which opens connections and conversations, and returns its status.
func (w *world) deliverOne(ctx context.Context, name string) v1alpha1.TeamTalkMessageStatus {
	m := message(namespace, name, "Good morning", w.o.users[0])
	w.create(ctx, m)
	until(ctx, "message "+name+" is delivered", func(ctx context.Context) bool {
		framework.Must(w.admin.Get(ctx, client.ObjectKeyFromObject(m), m))
		return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered)
	})
	return m.Status
}

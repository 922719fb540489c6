// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// fate is the expected outcome of a message.
type fate int

const (
	// delivered messages are in the store once, and their status says so.
	delivered fate = iota
	// atMostOnce is for messages whose resource was deleted meanwhile.
	atMostOnce
	// expired messages are in the store once, and their resource was deleted by its TTL.
	expired
	// refused messages are not in the store. Their key was used for another text before, or the reason is one of
	// refusal.
	refused
	// posted messages are in the store once, through a gateway that keeps no resource.
	posted
	// superseded messages are in the store at most once, as the record of the revision in the status says.
	superseded
	// undetermined messages are outside of the promise. Their outcome is reported.
	undetermined
)

type message struct {
	number int
	name   string
	// uid is the UID of the object, if several had the name.
	uid  types.UID
	want fate
	// refusal lists the reasons of which a refused message must have one. nil is KeyReused.
	refusal []string
	to      []recipient
	// escalateTo get the message if it is not read. escalated is set if it is not.
	escalateTo []recipient
	escalated  bool
	// segments is into how many segments the text is split. 0 is no split.
	segments int
	key      string
	// notBefore is the time before which nothing of the message may be sent.
	notBefore time.Time
	// waits is set while the message must not finish.
	waits bool
	// again counts how often the resource was recreated under its key. Each may cause one more announcement.
	again int
}

type recipient struct {
	group bool
	id    uint32
}

// reasons returns the reasons of which a refused message must have one.
func (m *message) reasons() []string {
	if m.refusal == nil {
		return []string{v1alpha1.ReasonKeyReused}
	}
	return m.refusal
}

// pieces returns the rows that the store must have for the message.
func (m *message) pieces() []piece {
	var all []piece
	for _, to := range m.to {
		for segment := range max(1, m.segments) {
			all = append(all, piece{number: m.number, segment: segment, to: to})
		}
	}
	for _, to := range m.escalateTo {
		if m.escalated {
			all = append(all, piece{number: m.number, to: to, escalated: true})
		}
	}
	return all
}

// groupEvery makes each n-th message go to a group.
const groupEvery = 4

// recipientsOf assigns message numbers to users and groups.
func (w *world) recipientsOf(number int) []recipient {
	switch {
	case w.fan > 1:
		to := make([]recipient, w.fan)
		for i := range to {
			// Half of them are recipients of the message before.
			to[i] = recipient{false, w.crowd[((number-1)*w.fan/2+i)%len(w.crowd)]}
		}
		return to
	case w.few > 0:
		return []recipient{{false, w.users[number%min(w.few, len(w.users))]}}
	case w.onlyGroups:
		return []recipient{{true, w.groups[number%len(w.groups)]}}
	case number%groupEvery == 0:
		return []recipient{{true, w.groups[number/groupEvery%len(w.groups)]}}
	}
	return []recipient{{false, w.users[(number-number/groupEvery)%len(w.users)]}}
}

func (w *world) object(m *message) *v1alpha1.TeamTalkMessage {
	text := w.text(m.number)
	o := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Namespace: w.namespace},
		Spec:       v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{Text: &text}, IdempotencyKey: m.key},
	}
	o.Spec.To = recipients(m.to)
	if m.segments > 1 {
		o.Spec.LongText = v1alpha1.LongTextSplit
	}
	if !m.notBefore.IsZero() {
		o.Spec.SendAfter = &metav1.Time{Time: m.notBefore}
	}
	if w.shape != nil {
		w.shape(m, o)
	}
	return o
}

// send declares messages with n more pieces.
func (w *world) send(ctx context.Context, n int) {
	each := max(1, w.segments) * max(1, w.fan)
	w.each(ctx, w.more((n+each-1)/each), w.create)
}

// more adds n messages to the scenario, without declaring them.
func (w *world) more(n int) []*message {
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh := make([]*message, n)
	for i := range fresh {
		number := len(w.messages) + 1
		m := &message{number: number, name: fmt.Sprintf("m-%d", number), to: w.recipientsOf(number), segments: w.segments}
		if w.deal != nil {
			w.deal(m)
		}
		w.messages = append(w.messages, m)
		fresh[i] = m
	}
	return fresh
}

func (w *world) create(ctx context.Context, m *message) {
	o := w.object(m)
	if w.misdirect != nil && w.misdirect(m) {
		o.Spec.To.Users = []v1alpha1.UserID{absent}
	}
	framework.Mustf(w.cluster.admin.Create(ctx, o), "declare message %d", m.number)
	m.uid = o.UID
}

// recreate deletes a message's resource, if it exists, and creates another one with its name and key.
func (w *world) recreate(ctx context.Context, m *message) {
	framework.Must(client.IgnoreNotFound(w.cluster.admin.Delete(ctx, w.object(m))))
	m.again++
	w.create(ctx, m)
}

func (w *world) patch(ctx context.Context, m *message, format string, args ...any) {
	framework.Must(w.tryPatch(ctx, m, format, args...))
}

func (w *world) tryPatch(ctx context.Context, m *message, format string, args ...any) error {
	return framework.MergePatch(ctx, w.cluster.admin, w.object(m), format, args...)
}

const creators = 8

// each calls do for every message, for several at a time, or for one at a time if the scenario has an order.
func (w *world) each(ctx context.Context, all []*message, do func(context.Context, *message)) {
	width := creators
	if w.inOrder {
		width = 1
	}
	framework.Must(framework.Parallel(ctx, width, len(all), func(ctx context.Context, i int) { do(ctx, all[i]) }))
}

// objects returns the resources by UID, as reader has them.
func (w *world) objects(ctx context.Context, reader client.Reader) map[types.UID]*v1alpha1.TeamTalkMessage {
	list := &v1alpha1.TeamTalkMessageList{}
	framework.Must(reader.List(ctx, list, client.InNamespace(w.namespace)))
	byUID := map[types.UID]*v1alpha1.TeamTalkMessage{}
	for i := range list.Items {
		byUID[list.Items[i].UID] = &list.Items[i]
	}
	return byUID
}

func (w *world) await(ctx context.Context, what string, met func() (seen string, met bool)) {
	framework.Must(framework.Await(ctx, what, framework.Checked(func(context.Context) (string, bool) { return met() })))
}

// finished waits until the status of every message says that it is finished.
func (w *world) finished(ctx context.Context) {
	w.await(ctx, "every message is finished", func() (string, bool) {
		open, seen := w.open(ctx, w.cluster.seen)
		if open == 0 { // the watch may be stale
			open, seen = w.open(ctx, w.cluster.admin)
		}
		return seen, open == 0
	})
}

// open counts the messages that are not finished, and describes what they wait for.
func (w *world) open(ctx context.Context, reader client.Reader) (open int, seen string) {
	objects := w.objects(ctx, reader)
	states := map[string]int{}
	for _, m := range w.messages {
		o := objects[m.uid]
		switch {
		case m.waits, m.want == atMostOnce, m.want == superseded, m.want == posted, m.want == expired && o == nil,
			m.want != expired && o != nil && o.Finished() && !o.RetryAsked() && m.isEscalated(o):
			continue
		}
		open++
		states[state(o)]++
	}
	return open, fmt.Sprintf("%d of %d open: %v", open, len(w.messages), states)
}

// state describes the status of the first recipient that is not done.
func state(o *v1alpha1.TeamTalkMessage) string {
	if o == nil || len(o.Status.Recipients) == 0 {
		return "not taken up"
	}
	r := o.Status.Recipients[0]
	for _, r = range o.Status.Recipients {
		if r.State != v1alpha1.StateRouted && r.State != v1alpha1.StateFailed {
			break
		}
	}
	if ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady); ready != nil && r.Message == "" {
		return fmt.Sprintf("%s (%s: %s)", r.State, ready.Reason, ready.Message)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s (%s)", r.State, r.Reason, cmp.Or(r.Message, "-")))
}

func (w *world) finishedCount(ctx context.Context) int {
	open, _ := w.open(ctx, w.cluster.seen)
	return len(w.messages) - open
}

func (w *world) sent() (n int) {
	for _, m := range w.messages {
		n += len(m.pieces())
	}
	return n
}

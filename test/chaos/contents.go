// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// content is a kind of message other than a plain text to one recipient.
type content struct {
	name, clause string
	// set makes the messages of the scenario have this content.
	set      func(context.Context, *world)
	boundary func(*world) boundary
	// times multiplies the number of messages. 0 is the same as 1.
	times int
}

var contents = []content{
	{
		name: "keyed", clause: "messages with an idempotencyKey", boundary: halfLost,
		set: func(_ context.Context, w *world) { w.deal = w.giveKey },
	},
	{
		name: "split", clause: "texts of three segments", boundary: halfLost,
		set: func(_ context.Context, w *world) { w.segments = 3 },
	},
	{name: "audio", clause: "voice messages, without tokens", boundary: halfLost, set: sounds},
	{
		name: "fan-out", clause: "messages to many users", boundary: halfSent, times: 2,
		set: func(_ context.Context, w *world) {
			w.gather()
			w.fan = min(5*w.size, len(w.crowd))
		},
	},
}

// contentScenarios test each content with a takeover, and with some of each fault.
func contentScenarios() []scenario {
	var all []scenario
	for _, c := range contents {
		all = append(all, takeovers([]scenario{{
			name: "kill-" + c.name, clause: c.clause + ", partly sent",
			run: func(ctx context.Context, w *world) {
				c.set(ctx, w)
				w.killAt(ctx, c.boundary(w))
			},
		}})...)
		all = append(all, scenario{
			name: c.name, clause: c.clause + ": requests and answers are lost, and false ids are returned",
			short: true, run: func(ctx context.Context, w *world) {
				c.set(ctx, w)
				w.mishaps()
				w.send(ctx, max(1, c.times)*max(w.size, w.fan))
			},
		})
	}
	return all
}

// halfLost lets some messages through. Then it loses every other request, and the answers to the rest.
func halfLost(w *world) boundary {
	lost := w.onDB(faultproxy.Rule{Commands: messages, Skip: w.size / 4, Every: 2, Do: faultproxy.Drop})
	unanswered := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Skip: w.size / 4,
		Do: faultproxy.Drop})
	return boundary{
		await: func(ctx context.Context, n int) error {
			return errors.Join(lost.Await(ctx, (n+1)/2), unanswered.Await(ctx, (n+1)/2))
		},
		release: func() {
			lost.Remove()
			unanswered.Remove()
		},
	}
}

// halfSent answers for half of a message's recipients, so slowly that some are recorded, and then for none.
func halfSent(w *world) boundary {
	unanswered := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Skip: w.fan / 2,
		Do: faultproxy.Drop})
	slow := w.db.Add(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages,
		Do: faultproxy.Delay(400 * time.Millisecond)})
	return boundary{await: unanswered.Await, release: func() {
		unanswered.Remove()
		slow.Remove()
	}}
}

func (w *world) mishaps() {
	for _, r := range []faultproxy.Rule{
		{Every: 11, Do: faultproxy.Drop},
		{Every: 13, Do: faultproxy.Cut},
		{Every: 17, Do: faultproxy.RefuseWith(0)},
		{Every: 19, Do: falseSuccess()},
		{Direction: faultproxy.ToClient, Every: 7, Do: faultproxy.Drop},
		{Direction: faultproxy.ToClient, Every: 23, Do: faultproxy.Cut},
		{Direction: faultproxy.ToClient, Every: 5, Do: faultproxy.AnswerID(wire.MsgIDUnknown)},
	} {
		r.Commands, r.Count = messages, max(1, w.size/25)
		w.onDB(r)
	}
}

// sounds makes voice messages. Each has a different sound, which is in a ConfigMap.
func sounds(ctx context.Context, w *world) {
	const name = "sounds"
	all := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		BinaryData: map[string][]byte{}}
	for number := range 2 * w.size {
		all.BinaryData[strconv.Itoa(number)] = []byte(w.text(number))
	}
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		o.Spec.Content = v1alpha1.Content{Audio: &v1alpha1.AudioContent{
			Seconds: 1, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: name, Key: strconv.Itoa(m.number)},
		}}
	}
	framework.Must(w.cluster.admin.Create(ctx, all))
}

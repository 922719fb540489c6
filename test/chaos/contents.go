// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
)

// content is a kind of message beside the plain text to one.
type content struct {
	name, clause string
	// set has the scenario's messages be of it.
	set func(context.Context, *world) error
	// boundary at which the operator is killed.
	boundary func(*world) boundary
	// times as many messages as elsewhere; 0: as many.
	times int
}

var contents = []content{
	{
		name: "keyed", clause: "messages with an idempotencyKey",
		set: func(_ context.Context, w *world) error {
			w.deal = keyed(w)
			return nil
		},
		boundary: halfLost,
	},
	{
		name: "split", clause: "texts that are split in three",
		set: func(_ context.Context, w *world) error {
			w.segments = 3
			return nil
		},
		boundary: halfLost,
	},
	{
		name: "audio", clause: "voice messages, which have no token", set: sounds, boundary: halfLost,
	},
	{
		name: "fan-out", clause: "messages to many users each",
		set: func(_ context.Context, w *world) error {
			err := w.gather()
			w.fan = min(5*w.size, len(w.crowd))
			return err
		},
		boundary: halfSent, times: 2,
	},
}

// contentScenarios put every kind of content through a takeover, and through some of
// each of the faults that other scenarios have one at a time.
func contentScenarios() []scenario {
	var all []scenario
	for _, c := range contents {
		all = append(all,
			scenario{
				name: "kill-" + c.name, clause: "kill -9 of the operator: " + c.clause + ", sent in part", bound: takeoverBound,
				alone: true, reroutes: true,
				run: func(ctx context.Context, w *world) error {
					if err := c.set(ctx, w); err != nil {
						return err
					}
					return w.killAt(ctx, c.boundary(w))
				},
			},
			scenario{
				name: c.name, clause: c.clause + ", while requests and answers are lost and cut, and ids come to nothing",
				bound: retryBound, short: true,
				run: func(ctx context.Context, w *world) error {
					if err := c.set(ctx, w); err != nil {
						return err
					}
					w.mishaps()
					return w.send(ctx, max(1, c.times)*max(w.size, w.fan))
				},
			})
	}
	return all
}

// halfLost lets some messages be delivered. Then it loses every other request, and
// the answers to the rest.
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

// halfSent answers half of a message's recipients so slowly that some are recorded,
// and then none.
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

// mishaps has some of each go wrong.
func (w *world) mishaps() {
	some := max(1, w.size/25)
	var id atomic.Uint32
	id.Store(1_000_000)
	for _, r := range []faultproxy.Rule{
		{Every: 11, Do: faultproxy.Drop},
		{Every: 13, Do: faultproxy.Cut},
		{Every: 17, Do: faultproxy.RefuseWith(0)},
		{Every: 19, Do: func(c *faultproxy.Conn, f faultproxy.Frame) { faultproxy.RefuseWith(id.Add(1))(c, f) }},
		{Direction: faultproxy.ToClient, Every: 7, Do: faultproxy.Drop},
		{Direction: faultproxy.ToClient, Every: 23, Do: faultproxy.Cut},
		{Direction: faultproxy.ToClient, Every: 5, Do: faultproxy.AnswerID(wire.MsgIDUnknown)},
	} {
		r.Commands, r.Count = messages, some
		w.onDB(r)
	}
}

// soundsOf is the ConfigMap with the sounds.
const soundsOf = "sounds"

// sounds has messages be voice messages, each with a sound of its own.
func sounds(ctx context.Context, w *world) error {
	all := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: soundsOf, Namespace: w.namespace},
		BinaryData: map[string][]byte{}}
	for number := range 2 * w.size {
		all.BinaryData[strconv.Itoa(number)] = []byte(w.text(number))
	}
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		o.Spec.Content = v1alpha1.Content{Audio: &v1alpha1.AudioContent{
			Seconds: 1, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: soundsOf, Key: strconv.Itoa(m.number)},
		}}
	}
	return w.lane.admin.Create(ctx, all)
}

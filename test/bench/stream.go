// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// streamMessages wait for the operator when it starts, in as many
	// conversations as there are users.
	streamMessages, streamUsers = 2000, 500
	// patchers is how many statuses the bare client writes at once.
	patchers = 16
)

// streamRound is what one round has measured, per second.
type streamRound struct {
	delivered, patched, sent float64
	// start is from the start of the process to the moment at which it can act.
	start, cpu time.Duration
}

// ratio compares with what it would take to write all statuses and to send all
// messages, one after the other.
func (s streamRound) ratio() float64 { return s.delivered * (1/s.patched + 1/s.sent) }

// stream measures how fast an operator works off what has been created while there
// was none, after a shutdown that was drained. The bare client does one half of its
// work before the operator's turn and one after it: what else the machine does,
// more at times and less at others, is on both sides. The first round is not counted.
func stream(ctx context.Context, w *world, r *report) error {
	if err := w.lead(ctx); err != nil {
		return err
	}
	t, err := w.track(ctx)
	if err != nil {
		return err
	}
	defer t.stop()
	pattern, err := w.deliverOne(ctx, "stream-pattern")
	if err != nil {
		return err
	}
	if err := w.retire(ctx); err != nil {
		return err
	}
	var rounds []streamRound
	for round := range w.o.rounds + 1 {
		var s streamRound
		var patching, sending time.Duration
		for half := range 2 {
			if half == 1 {
				if err := w.streamOnce(ctx, t, &s, round); err != nil {
					return err
				}
			}
			p, q, err := w.streamBare(ctx, pattern, fmt.Sprintf("bare-%d-%d", round, half))
			if err != nil {
				return err
			}
			patching, sending = patching+p, sending+q
		}
		s.patched, s.sent = perSecond(streamMessages, patching), perSecond(streamMessages, sending)
		say("  round %d: %.0f/s by the operator (%.0f ms of its CPU, %.2f s to start); bare: %.0f patches/s, %.0f sends/s: "+
			"%.3f",
			round, s.delivered, milliseconds(s.cpu), s.start.Seconds(), s.patched, s.sent, s.ratio())
		if round > 0 {
			rounds = append(rounds, s)
		}
	}
	r.add("stream_ratio", medianOf(rounds, streamRound.ratio), 3)
	r.add("stream_per_s", medianOf(rounds, func(s streamRound) float64 { return s.delivered }), 0)
	r.add("stream_bare_patches_per_s", medianOf(rounds, func(s streamRound) float64 { return s.patched }), 0)
	r.add("stream_bare_sends_per_s", medianOf(rounds, func(s streamRound) float64 { return s.sent }), 0)
	r.add("stream_start_s", medianOf(rounds, func(s streamRound) float64 { return s.start.Seconds() }), 2)
	r.add("stream_cpu_ms", medianOf(rounds, func(s streamRound) float64 { return milliseconds(s.cpu) }), 0)
	return nil
}

// streamOnce has an operator that starts find all messages waiting. What it
// delivers counts from the moment at which its term has begun: before that it may
// not send anything.
func (w *world) streamOnce(ctx context.Context, t *tracker, s *streamRound, round int) error {
	b := batch{namespace: namespace, prefix: fmt.Sprintf("stream-%d", round), n: streamMessages,
		users: w.o.users[:streamUsers]}
	if _, err := b.create(ctx, w); err != nil {
		return err
	}
	term, err := w.nextTerm(ctx)
	if err != nil {
		return err
	}
	from, err := w.audit.end()
	if err != nil {
		return err
	}
	if w.operator, err = w.startOperator(); err != nil {
		return err
	}
	began, err := term(ctx, w.operator)
	if err != nil {
		return err
	}
	if n, _, _ := t.count(b.names()); n > 0 {
		return fmt.Errorf("%d messages were delivered before the term was seen to begin", n)
	}
	before, err := w.operator.cpu()
	if err != nil {
		return err
	}
	ended, err := t.await(ctx, b.names()...)
	if err != nil {
		return err
	}
	after, err := w.operator.cpu()
	if err != nil {
		return err
	}
	s.delivered, s.start, s.cpu = perSecond(b.n, ended.Sub(began)), began.Sub(w.operator.started), after-before
	if err := w.loggedStatus(ctx, from, b.names()); err != nil {
		return err
	}
	requests, err := w.audit.since(from)
	if err != nil {
		return err
	}
	say("  round %d: the operator's requests: %s", round, tally(requests))
	if err := w.retire(ctx); err != nil {
		return err
	}
	if err := w.bare.verify(ctx, b.users, 64, b.textsOf); err != nil {
		return err
	}
	return w.clear(ctx, namespace)
}

// streamBare measures how long it takes to write half as many statuses like the
// pattern, and to send half as many messages to the same users.
func (w *world) streamBare(ctx context.Context, pattern v1alpha1.TeamTalkMessageStatus,
	prefix string) (patching, sending time.Duration, err error) {
	if w.operator != nil {
		return 0, 0, errors.New("an operator is running beside the bare client")
	}
	b := batch{namespace: bareNamespace, prefix: prefix, n: streamMessages / 2, users: w.o.users[:streamUsers]}
	created, err := b.create(ctx, w)
	if err != nil {
		return 0, 0, err
	}
	patches := make([]client.Patch, b.n)
	for i, m := range created {
		if patches[i], err = statusPatch(pattern, m.ResourceVersion); err != nil {
			return 0, 0, err
		}
	}
	began := time.Now()
	err = parallel(ctx, patchers, b.n, func(ctx context.Context, i int) error {
		return w.asBare.Status().Patch(ctx, created[i], patches[i])
	})
	if err != nil {
		return 0, 0, fmt.Errorf("the bare client: patch a status: %w", err)
	}
	patching = time.Since(began)
	if !created[b.n-1].Finished() {
		return 0, 0, errors.New("the bare client's patches do not finish a message")
	}
	if sending, err = w.bare.send(ctx, b.users, b.n, b.text); err != nil {
		return 0, 0, err
	}
	return patching, sending, w.clear(ctx, bareNamespace)
}

// statusPatch is what the operator writes for a delivered message: its whole
// status, against the version that it was computed from.
func statusPatch(status v1alpha1.TeamTalkMessageStatus, version string) (client.Patch, error) {
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": version}, "status": status})
	if err != nil {
		return nil, fmt.Errorf("make a status patch: %w", err)
	}
	return client.RawPatch(types.MergePatchType, b), nil
}

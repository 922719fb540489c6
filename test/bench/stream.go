// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// streamMessages wait for the operator when it starts, in as many conversations as there are users.
	streamMessages, streamUsers = 2000, 500
	// patchers is how many statuses the bare client writes at once.
	patchers = 16
)

// streamColumns: the start is from the start of the process to the moment at which the operator can act.
var streamColumns = []column{
	{"stream_ratio", 3}, {"stream_per_s", 0}, {"stream_bare_patches_per_s", 0}, {"stream_bare_sends_per_s", 0},
	{"stream_start_s", 2}, {"stream_cpu_ms", 0},
}

// streamRatio compares with writing all statuses and sending all messages, one after the other.
func streamRatio(delivered, patched, sent float64) float64 { return delivered * (1/patched + 1/sent) }

// stream measures how fast a new operator sends messages that were created while no operator ran. The bare client works
// half before and half after it, so that other load of the machine is on both sides.
func stream(ctx context.Context, w *world, r *report) {
	pattern := w.deliverOne(ctx, "stream-pattern")
	w.retire(ctx)
	r.addMedians(w.rounds(streamColumns, func(round int, s sample) {
		patching, sending := w.streamBare(ctx, pattern, fmt.Sprintf("bare-%d-0", round))
		w.streamOnce(ctx, s, round)
		p, q := w.streamBare(ctx, pattern, fmt.Sprintf("bare-%d-1", round))
		s["stream_bare_patches_per_s"] = perSecond(streamMessages, patching+p)
		s["stream_bare_sends_per_s"] = perSecond(streamMessages, sending+q)
		s["stream_ratio"] = streamRatio(s["stream_per_s"], s["stream_bare_patches_per_s"], s["stream_bare_sends_per_s"])
	}), streamColumns)
}

// streamOnce starts an operator that finds all messages waiting, and counts from the begin of its term.
func (w *world) streamOnce(ctx context.Context, s sample, round int) {
	b := batch{namespace: namespace, prefix: fmt.Sprintf("stream-%d", round), n: streamMessages,
		users: w.o.users[:streamUsers]}
	b.create(ctx, w)
	from := w.audit.end()
	began := w.lead(ctx)
	if n := w.tracker.count(b.names()); n > 0 {
		framework.Failf("%d messages were delivered before the term was seen to begin", n)
	}
	before := w.operator.cpu()
	ended := w.tracker.await(ctx, b.names()...)
	s["stream_cpu_ms"] = milliseconds(w.operator.cpu() - before)
	s["stream_per_s"] = perSecond(b.n, ended.Sub(began))
	s["stream_start_s"] = began.Sub(w.operator.started).Seconds()
	w.loggedStatus(ctx, from, b.names()...)
	say("  round %d: the operator's requests: %s", round, tally(w.audit.since(from)))
	w.retire(ctx)
	w.bare.verify(ctx, b.users, 64, b.textsOf)
	w.clear(ctx, namespace)
}

// streamBare times half as many status writes like the pattern, and half as many messages to the same users.
func (w *world) streamBare(ctx context.Context, pattern v1alpha1.TeamTalkMessageStatus,
	prefix string) (patching, sending time.Duration) {
	if w.operator != nil {
		framework.Failf("an operator is running beside the bare client")
	}
	b := batch{namespace: bareNamespace, prefix: prefix, n: streamMessages / 2, users: w.o.users[:streamUsers]}
	created := b.create(ctx, w)
	patches := make([]client.Patch, b.n)
	for i, m := range created {
		patches[i] = statusPatch(pattern, m.ResourceVersion)
	}
	began := time.Now()
	framework.Mustf(framework.Parallel(ctx, patchers, b.n, func(ctx context.Context, i int) {
		framework.Must(w.asBare.Status().Patch(ctx, created[i], patches[i]))
	}), "the bare client: patch a status")
	patching = time.Since(began)
	if !created[b.n-1].Finished() {
		framework.Failf("the bare client's patches do not finish a message")
	}
	sending = w.bare.send(ctx, b.users, b.n, b.text)
	w.clear(ctx, bareNamespace)
	return patching, sending
}

// statusPatch is the operator's write for a delivered message: the whole status, with its version.
func statusPatch(status v1alpha1.TeamTalkMessageStatus, version string) client.Patch {
	return client.RawPatch(types.MergePatchType, framework.MustGet(
		json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": version}, "status": status})))
}

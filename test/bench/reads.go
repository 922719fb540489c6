// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// waitingReads is how many messages wait to be read.
	waitingReads = 10_000
	// noisePerSecond is how many read notifies come per second that concern none of them, noisePerWrite at a time.
	noisePerSecond, noisePerWrite = 1000, 10
	// noiseUsers is how many users read conversations with as many others. None has the id of a user of the bench.
	noiseUsers, noiseFirstUser = 5000, 500_000
)

// reads measures the memory of messages that wait to be read, and the CPU time that the reads of others take.
func reads(ctx context.Context, w *world, r *report) {
	const pattern = "reads-pattern"
	m := message(namespace, pattern, "Please read", w.o.users[0])
	m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{}
	w.create(ctx, m)
	// So each user has one unread message, which has the id that the copies have.
	w.create(ctx, message(namespace, "reads-others", "Please read", w.o.users[1:]...))
	w.tracker.await(ctx, pattern, "reads-others")
	w.retire(ctx)
	w.startReading(ctx, 1)
	alone := w.operator.memory()
	w.retire(ctx)
	w.multiply(ctx, pattern, copies{
		batch: batch{namespace: namespace, prefix: "reads", n: waitingReads, users: w.o.users},
	})
	took, requests := w.startReading(ctx, 1+waitingReads)
	r.add("reads_waiting_mb", w.operator.memory()-alone, 1)
	r.add("reads_taken_up_s", took.Seconds(), 1)
	r.add("reads_requests", float64(len(requests)), 0)

	rest := w.use(ctx, nil, func() { w.sendNoise(ctx, 0) })
	noise := w.use(ctx, nil, func() { w.sendNoise(ctx, noisePerSecond) })
	say("  requests in %s: %s", scaleWatch, tally(noise.requests))
	r.add("read_rest_cpu", 100*rest.cpu.Seconds()/scaleWatch.Seconds(), 1)
	r.add("read_noise_cpu", 100*(noise.cpu-rest.cpu).Seconds()/scaleWatch.Seconds(), 1)
	// The operator has read all notifies when it has read the last one, which is about the pattern.
	user := w.o.users[0]
	framework.Must(
		framework.ReadConversation(ctx, "http://"+w.teamtalk.inbox, user, framework.ChatOf(w.o.sender, user)))
	until(ctx, "message "+pattern+" is read", func(ctx context.Context) bool {
		framework.Must(w.admin.Get(ctx, client.ObjectKeyFromObject(m), m))
		return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionRead)
	})
}

// missedReads is the log line of the operator once it knows which messages were read while it did not run.
type missedReads struct {
	Unread    int     `json:"unread"`
	MaybeRead int     `json:"maybeRead"`
	Counters  int     `json:"counters"`
	Seconds   float64 `json:"seconds"`
}

// startReading starts an operator, and waits until it has confirmed that so many messages are unread. It returns how
// long that took from the begin of its term, and the requests for messages. None of them writes a status.
func (w *world) startReading(ctx context.Context, n int) (took time.Duration, requests []request) {
	from, logged := w.audit.end(), len(w.log.String())
	began := w.lead(ctx)
	var m missedReads
	until(ctx, fmt.Sprintf("the operator logs that %d messages are unread", n), func(context.Context) bool {
		m = missedReadsIn(w.log.String()[logged:])
		return m.Unread+m.MaybeRead >= n
	})
	took = time.Since(began)
	if m.MaybeRead > 0 {
		framework.Failf("%d messages may have been read, and nobody has read them", m.MaybeRead)
	}
	for _, q := range w.audit.since(from) {
		if q.statusWrite() {
			framework.Failf("the operator has written the status of %s, which has not changed", q.ObjectRef.Name)
		}
		if q.ObjectRef.Resource == messages {
			requests = append(requests, q)
		}
	}
	say("  %d messages are unread by %d counters after %.1f s; requests: %s",
		m.Unread, m.Counters, took.Seconds(), tally(requests))
	return took, requests
}

// missedReadsIn finds the last such line in a log.
func missedReadsIn(log string) (m missedReads) {
	const what = "looked for reads that were missed"
	log = log[:strings.LastIndex(log, "\n")+1]
	if at := strings.LastIndex(log, what); at >= 0 {
		line, _, _ := strings.Cut(log[at+len(what):], "\n")
		framework.Mustf(json.Unmarshal([]byte(line), &m), "read the log about reads that were missed")
	}
	return m
}

// sendNoise is a message server that tells a router for scaleWatch what its users read.
func (w *world) sendNoise(ctx context.Context, perSecond int) {
	ctx, cancel := context.WithTimeout(ctx, scaleWatch)
	defer cancel()
	if perSecond == 0 {
		<-ctx.Done()
		return
	}
	conn := framework.MustGet((&net.Dialer{}).DialContext(ctx, "tcp", w.teamtalk.router))
	defer conn.Close()
	ticker := time.NewTicker(time.Second * noisePerWrite / time.Duration(perSecond))
	defer ticker.Stop()
	for n := uint32(0); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		var frames []byte
		for range noisePerWrite {
			n++
			kind := wire.SessionType_SESSION_TYPE_SINGLE
			if n%2 == 0 {
				kind = wire.SessionType_SESSION_TYPE_GROUP
			}
			p := framework.MustGet(pdu.New(wire.CommandMsgReadNotify, 0, &wire.IMMsgDataReadNotify{
				UserId: proto.Uint32(noiseFirstUser + n%noiseUsers), SessionId: proto.Uint32(noiseFirstUser + n*7%noiseUsers),
				MsgId: &n, SessionType: &kind,
			}))
			frames = p.Append(frames)
		}
		framework.MustGet(conn.Write(frames))
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// groupMessages go to devGroups groups in turn.
	groupMessages = 300
	// groupRounds bounds the rounds: each takes more than a minute.
	groupRounds = 3
	// besideUsers get a message every besidePause while the messages to groups are sent: about 400 messages per second.
	besideUsers = 100
	besidePause = 250 * time.Millisecond
	// groupPace makes a message to a group and its read-back take as long as on a stock db_proxy: 87 ms.
	groupPace = 43 * time.Millisecond
	// rareHang is a probability with which no worker hangs.
	rareHang = 1e-12
)

// groupRace measures 300 messages to groups, beside messages to users, with and without a thread of db_proxy that
// hangs. When two messages to groups overlap, one of 48 threads stops answering.
func groupRace(ctx context.Context, w *world, r *report) {
	var ratios, plain, raced []float64
	for round := range min(w.o.rounds, groupRounds) {
		inTurn(round, func() {
			// The fault slows each message, so it is set on both sides.
			plain = append(plain, w.groupsOnce(ctx, fmt.Sprintf("groups-plain-%d", round), rareHang).Seconds())
		}, func() {
			raced = append(raced, w.groupsOnce(ctx, fmt.Sprintf("groups-raced-%d", round), 1).Seconds())
		})
		ratios = append(ratios, raced[round]/plain[round])
		say("  round %d: groups_race_ratio=%.2f groups_s=%.1f groups_race_s=%.1f", round, ratios[round], plain[round],
			raced[round])
	}
	r.add("groups_race_ratio", median(ratios), 2)
	r.add("groups_s", median(plain), 1)
	r.add("groups_race_s", median(raced), 1)
}

// groupsOnce returns how long the messages to groups take, if one worker hangs with a probability.
func (w *world) groupsOnce(ctx context.Context, prefix string, hang float64) time.Duration {
	w.teamtalk.setFaults(ctx, devserver.Fault{Kind: devserver.HungWorker, Probability: hang, Count: 1})
	var beside []string
	var failed error
	stop, ended := make(chan struct{}), sync.WaitGroup{}
	ended.Go(func() { failed = framework.Try(func() { beside = w.sendBeside(ctx, prefix, stop) }) })
	names := make([]string, groupMessages)
	began := time.Now()
	framework.Must(framework.Parallel(ctx, creators, groupMessages, func(ctx context.Context, i int) {
		names[i] = fmt.Sprintf("%s-%d", prefix, i)
		m := message(namespace, names[i], names[i])
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(w.o.groups[i%len(w.o.groups)])}
		w.create(ctx, m)
	}))
	took := w.tracker.await(ctx, names...).Sub(began)
	close(stop)
	ended.Wait()
	framework.Mustf(failed, "create messages to users")
	w.tracker.await(ctx, beside...)
	w.teamtalk.setFaults(ctx)
	for i, group := range w.o.groups {
		w.verifyGroup(ctx, group, names, i)
	}
	w.clear(ctx, namespace)
	return took
}

// sendBeside creates messages to users until stop is closed, and returns their names.
func (w *world) sendBeside(ctx context.Context, prefix string, stop <-chan struct{}) (names []string) {
	ticker := time.NewTicker(besidePause)
	defer ticker.Stop()
	for n := 0; ; n++ {
		users := make([]uint32, besideUsers)
		for i := range users {
			users[i] = w.o.users[(n*besideUsers+i)%len(w.o.users)]
		}
		names = append(names, fmt.Sprintf("%s-beside-%d", prefix, n))
		w.create(ctx, message(namespace, names[n], names[n], users...))
		select {
		case <-ticker.C:
		case <-stop:
			return names
		}
	}
}

// verifyGroup fails unless the group's newest rows show each of its messages once: every len(groups)-th from first on.
func (w *world) verifyGroup(ctx context.Context, group uint32, names []string, first int) {
	session := dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_GROUP, UserID: w.o.sender, ID: group}
	rows, err := w.bare.client.List(ctx, session, 4*groupMessages)
	framework.Mustf(err, "read the messages of group %d", group)
	count := map[string]int{}
	for _, row := range rows {
		if plain, err := w.bare.key.Decrypt(row.GetMsgData()); err == nil {
			count[string(plain.Text)]++
		}
	}
	for i := first; i < len(names); i += len(w.o.groups) {
		var t framework.Tally
		if t.Add(true, count[names[i]]); t.Sum() > 0 {
			framework.Failf("group %d has %q %d times", group, names[i], count[names[i]])
		}
	}
}

// setFaults replaces teamtalk-dev's faults.
func (t *teamtalk) setFaults(ctx context.Context, faults ...devserver.Fault) {
	if faults == nil {
		faults = []devserver.Fault{}
	}
	body := framework.MustGet(json.Marshal(faults))
	request := framework.MustGet(
		http.NewRequestWithContext(ctx, http.MethodPut, "http://"+t.inbox+"/api/faults", bytes.NewReader(body)))
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	framework.Mustf(err, "set teamtalk-dev's faults")
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		framework.Failf("teamtalk-dev refuses the faults: %s", answer.Status)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// readPolicyScenarios are about messages with a readPolicy. No read is invented, and none is lost silently.
func readPolicyScenarios() []scenario {
	return takeovers([]scenario{{
		name: "kill-reading", needsDev: true, run: killReading,
		clause: "messages with a readPolicy are read right before it, and without a leader",
	}})
}

// killReading reads a third of all conversations right before the kill, and another third before the next term.
func killReading(ctx context.Context, w *world) {
	w.shape = func(_ *message, o *v1alpha1.TeamTalkMessage) { o.Spec.ReadPolicy = &v1alpha1.ReadPolicy{} }
	w.send(ctx, w.size)
	w.finished(ctx)
	all := w.conversations()
	read := all[:2*len(all)/3]
	w.readConversations(ctx, read[:len(read)/2])
	w.kill(w.leader)
	w.readConversations(ctx, read[len(read)/2:])
	w.counts(func() int { return len(read) })
	w.replace(ctx)
	areDecided := w.readsAre(ctx, "each read is recorded, or may be missed, and no other",
		func(to recipient, isRead bool, reason string) bool {
			if slices.Contains(read, to) {
				return isRead || reason == v1alpha1.ReasonReadsMissed
			}
			// No counter shows that the members of a group have not read a message.
			return !isRead && (reason == v1alpha1.ReasonUnread || to.group && reason == v1alpha1.ReasonReadsMissed)
		})
	if !areDecided {
		return
	}
	w.readConversations(ctx, all)
	w.readsAre(ctx, "all are read", func(_ recipient, isRead bool, _ string) bool { return isRead })
}

// readPatience is longer than the operator takes to learn what was read. That is 30 s if no counter is answered, and
// a minute until it asks again.
const readPatience = 2 * time.Minute

// conversations returns the conversations of all messages.
func (w *world) conversations() (all []recipient) {
	for _, m := range w.messages {
		for _, to := range m.to {
			if !slices.Contains(all, to) {
				all = append(all, to)
			}
		}
	}
	return all
}

// readConversations reads the conversations with the sender as their recipients, and those of groups as one member.
func (w *world) readConversations(ctx context.Context, all []recipient) {
	framework.Must(framework.Parallel(ctx, creators, len(all), func(ctx context.Context, i int) {
		user, session := all[i].id, framework.ChatOf(w.sender, all[i].id)
		if all[i].group {
			user, session = w.users[0], fmt.Sprintf("group:%d", all[i].id)
		}
		framework.Must(framework.ReadConversation(ctx, w.dev.InboxURL(), user, session))
	}))
}

// readsAre waits until a condition holds for every recipient. If it does not within readPatience, that is a problem.
func (w *world) readsAre(
	ctx context.Context, what string, met func(to recipient, isRead bool, reason string) bool,
) bool {
	patient, stop := context.WithTimeout(ctx, readPatience)
	defer stop()
	err := framework.Await(patient, what, framework.Checked(func(context.Context) (string, bool) {
		seen := map[string]int{}
		objects := w.objects(ctx, w.cluster.admin)
		for _, m := range w.messages {
			o := objects[m.uid]
			c := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionRead)
			for _, to := range m.to {
				if r := statusOf(o, to); c == nil || r == nil || !met(to, r.ReadBy > 0, c.Reason) {
					seen[fmt.Sprintf("%+v", c)]++
				}
			}
		}
		return fmt.Sprintf("not so: %v", seen), len(seen) == 0
	}))
	if err != nil {
		framework.Must(ctx.Err())
		w.note("%v", err)
	}
	return err == nil
}

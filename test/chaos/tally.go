// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// tally is the result of the count. The announcements are those at the router.
type tally struct {
	framework.Tally
	// misordered counts rows before one of an older message in their conversation, if messages were declared in
	// order.
	misordered int
	// repeated counts announcements that are too many.
	repeated int
	// unknown counts recipients of a message that is in doubt, or ended as OutcomeUnknown.
	unknown  int
	problems []string
	// notes are reported, and fail nothing.
	notes []string
}

// counts returns the counts in the order of the table.
func (t *tally) counts() []int {
	return []int{t.Missing, t.Duplicated, t.Unexpected, t.misordered, t.unknown, t.NotAnnounced, t.repeated}
}

func (t *tally) clean() bool { return t.Sum()+t.misordered+t.unknown+t.repeated+len(t.problems) == 0 }

func (t *tally) problem(format string, args ...any) {
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// count compares the store, the router and the resources with the declared messages.
func (w *world) count(ctx context.Context) *tally {
	framework.Must(errors.Join(w.db.Idle(ctx), w.route.Idle(ctx)))
	rows := w.rows(ctx)
	objects := w.objects(ctx, w.cluster.admin)
	w.mu.Lock()
	t := &tally{Tally: framework.Tally{Unexpected: w.early}, problems: slices.Clone(w.odd)}
	w.mu.Unlock()
	known := map[piece]bool{}
	for _, m := range w.messages {
		for _, p := range m.pieces() {
			known[p] = true
		}
		w.judge(t, m, rows, objects[m.uid])
	}
	for p, there := range rows {
		if !known[p] {
			t.Add(false, len(there))
		}
	}
	if w.inOrder {
		t.misordered = misordered(rows)
	}
	if note := w.undetermined(rows, objects); note != "" {
		t.notes = append(t.notes, note)
	}
	w.countRoutes(ctx, t, rows, func(p piece) bool { return adopted(objects[w.messages[p.number-1].uid], p) },
		w.wire.ended)
	return t
}

// statusOf returns the status of a recipient in a resource, or nil.
func statusOf(o *v1alpha1.TeamTalkMessage, to recipient) *v1alpha1.RecipientStatus {
	if o == nil {
		return nil
	}
	return statusAmong(o.Status.Recipients, to)
}

func statusAmong(all []v1alpha1.RecipientStatus, to recipient) *v1alpha1.RecipientStatus {
	for i := range all {
		r := &all[i]
		if r.ID == int64(to.id) && (r.Type == v1alpha1.RecipientGroup) == to.group {
			return r
		}
	}
	return nil
}

func adopted(o *v1alpha1.TeamTalkMessage, p piece) bool {
	r := statusOf(o, p.to)
	if p.escalated {
		r = escalationOf(o, p.to)
	}
	return r != nil && r.Reason == v1alpha1.ReasonAdopted
}

// undetermined reports the outcomes of messages that the promise does not cover.
func (w *world) undetermined(rows stored, objects map[types.UID]*v1alpha1.TeamTalkMessage) string {
	ends, all := map[string]int{}, 0
	for _, m := range w.messages {
		if m.want != undetermined {
			continue
		}
		all++
		end := "not finished"
		if o := objects[m.uid]; o != nil && o.Finished() && len(o.Status.Recipients) > 0 {
			end = strings.TrimSpace(string(o.Status.Recipients[0].State) + " " + o.Status.Recipients[0].Reason)
		}
		ends[fmt.Sprintf("%s, stored %d times", end, len(rows[m.pieces()[0]]))]++
	}
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%d messages outside of the promise ended as %v", all, ends)
}

func (w *world) judge(t *tally, m *message, rows stored, o *v1alpha1.TeamTalkMessage) {
	if m.want == undetermined {
		return
	}
	for _, p := range m.pieces() {
		w.judgePiece(t, m, rows[p])
	}
	if !slices.Contains(m.refusal, v1alpha1.ReasonOutcomeUnknown) {
		t.unknown += doubts(o)
	}
	switch m.want {
	case atMostOnce, posted:
		return
	case superseded:
		judgeSuperseded(t, m, rows, o)
		return
	case expired:
		if o != nil {
			t.problem("message %d: its resource is still there", m.number)
		}
		return
	}
	switch {
	case o == nil:
		t.problem("message %d: its resource is gone", m.number)
		return
	case !o.Finished() || len(o.Status.Recipients) != len(m.to):
		t.problem("message %d is not finished: %s", m.number, state(o))
		return
	}
	isDelivered := meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionDelivered)
	for _, to := range m.to {
		r := statusOf(o, to)
		if r == nil {
			t.problem("message %d: its resource says nothing of %+v", m.number, to)
			continue
		}
		w.compare(t, m, rows, to, r)
	}
	w.judgeEscalation(t, m, rows, o)
	if c := o.Status.Counts; isDelivered &&
		(c == nil || int(c.Recipients) != len(m.to) || int(c.Stored) != len(m.to) || c.Failed != 0) {
		t.problem("message %d is delivered with counts %+v", m.number, c)
	}
}

// doubts counts the recipients whose message is in doubt, or ended in doubt.
func doubts(o *v1alpha1.TeamTalkMessage) (n int) {
	if o == nil {
		return 0
	}
	all := o.Status.Recipients
	if e := o.Status.Escalation; e != nil {
		all = slices.Concat(all, e.Recipients)
	}
	for _, r := range all {
		if r.State == v1alpha1.StateInDoubt || r.Reason == v1alpha1.ReasonOutcomeUnknown {
			n++
		}
	}
	return n
}

func (w *world) judgePiece(t *tally, m *message, there []row) {
	if m.want == delivered || m.want == expired || m.want == posted || len(there) > 0 {
		t.Add(true, len(there))
	}
	if m.want == refused {
		t.Add(false, len(there))
	}
	for _, r := range there {
		// TeamTalk's times are in seconds.
		if int64(r.at) < m.notBefore.Unix() {
			t.Unexpected++
		}
	}
}

// compare compares the rows of a message for one recipient with the status of its resource.
func (w *world) compare(t *tally, m *message, rows stored, to recipient, r *v1alpha1.RecipientStatus) {
	var ids []int64
	var texts []string
	once := true
	for segment := range max(1, m.segments) {
		there := rows[piece{number: m.number, segment: segment, to: to}]
		once = once && len(there) == 1
		for _, row := range there {
			ids = append(ids, int64(row.id))
			texts = append(texts, row.text)
		}
	}
	if r.State == v1alpha1.StateFailed && r.Reason != v1alpha1.ReasonOutcomeUnknown {
		t.Unexpected += max(0, len(ids)-len(r.MessageIDs))
	}
	done := r.State == v1alpha1.StateRouted || r.Reason == v1alpha1.ReasonStoredNotRouted
	switch {
	case m.want == refused && slices.Contains(m.reasons(), r.Reason):
	case m.want == refused && done:
		t.Missing++ // it says that it is there
	case !done:
		t.problem("message %d ended as %s %s: %s", m.number, r.State, r.Reason, r.Message)
	case !once:
	case !slices.Equal(ids, r.MessageIDs):
		t.problem("message %d is stored as %d, its resource says %v", m.number, ids, r.MessageIDs)
	case strings.Join(texts, "\n") != w.text(m.number):
		t.problem("message %d is stored with another text", m.number)
	}
}

// misordered counts the rows before one of an earlier message. Ids rise in the order of storage.
func misordered(rows stored) (n int) {
	numbers := map[recipient]map[uint32]int{} // by id
	for p, there := range rows {
		if numbers[p.to] == nil {
			numbers[p.to] = map[uint32]int{}
		}
		for _, r := range there {
			numbers[p.to][r.id] = p.number
		}
	}
	for _, byID := range numbers {
		last := undeclared
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			if byID[id] < last {
				n++
			}
			last = byID[id]
		}
	}
	return n
}

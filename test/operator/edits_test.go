// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// ending is what an edit of a finished message leads to.
type ending int

const (
	// sent: it is delivered.
	sent ending = iota
	// deleted: its TTL deletes it.
	deleted
	// kept: the resource stays, although its TTL would have deleted it.
	kept
	// unsent: it has failed, and is not sent again.
	unsent
)

// retryPatch requests a retry of failed recipients.
const retryPatch = `{"metadata":{"annotations":{"teamtalk.io/retry":"1"}}}`

// longTTL is longer than what happens between the end of a message and its edit.
const longTTL = 45

func withTTL(seconds int32) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = ptr.To(seconds) }
}

// finishedEdit is an edit of a message that has finished. Where it has failed, its recipient did not exist,
// and exists from the edit on.
type finishedEdit struct {
	// delivered: it has not failed.
	delivered bool
	declare   messageEdit
	// before are edits after each of which it finishes once more.
	before []string
	// patch is the edit. NAME is the message's name, USER the id of a user who exists.
	patch string
	want  ending
	// wantText is its text in the store, before its name; "": none.
	wantText string
}

var finishedEdits = map[string]finishedEdit{
	"retry":      {patch: retryPatch, wantText: "old"},
	"text":       {patch: `{"spec":{"content":{"text":"new NAME"}}}`, wantText: "new"},
	"recipients": {patch: `{"spec":{"to":{"users":[USER]}}}`, wantText: "old"},
	"policy":     {patch: `{"spec":{"retryLimit":3}}`, want: unsent},
	"suspended":  {patch: `{"spec":{"suspend":true}}`, want: unsent},
	"text-and-retry": {
		patch:    `{"metadata":{"annotations":{"teamtalk.io/retry":"1"}},"spec":{"content":{"text":"new NAME"}}}`,
		wantText: "new",
	},
	"text-after-two-edits": {
		before: []string{`{"spec":{"retryLimit":3}}`, `{"spec":{"content":{"text":"between"}}}`},
		patch:  `{"spec":{"content":{"text":"new NAME"}}}`, wantText: "new",
	},
	"retry-after-two-edits": {
		before: []string{`{"spec":{"retryLimit":3}}`, `{"spec":{"retryLimit":4}}`},
		patch:  retryPatch, wantText: "old",
	},
	"ttl-added": {
		delivered: true, patch: `{"spec":{"ttlSecondsAfterFinished":1}}`, want: deleted, wantText: "old",
	},
	"ttl-added-to-failed": {patch: `{"spec":{"ttlSecondsAfterFinished":1}}`, want: deleted},
	"ttl-shortened": {
		delivered: true, declare: withTTL(86400), patch: `{"spec":{"ttlSecondsAfterFinished":1}}`,
		want: deleted, wantText: "old",
	},
	"ttl-removed": {
		delivered: true, declare: withTTL(longTTL), patch: `{"spec":{"ttlSecondsAfterFinished":null}}`,
		want: kept, wantText: "old",
	},
}

// finishedMessage is one message of an edit.
type finishedMessage struct {
	finishedEdit
	*v1alpha1.TeamTalkMessage
	user uint32
}

// finishAll declares a message for each of finishedEdits at each moment, and waits until all have finished. Those that
// are delivered are the last, because a TTL may run for them.
func (x *tenant) finishAll(moments ...string) (all []*finishedMessage) {
	x.Helper()
	user := uint32(500_000)
	for _, moment := range moments {
		for _, name := range slices.Sorted(maps.Keys(finishedEdits)) {
			edit := finishedEdits[name]
			user++
			if edit.delivered {
				x.Must(x.TeamTalk.AddUser(framework.User(user)))
			}
			edits := []messageEdit{toUsers(user)}
			if edit.declare != nil {
				edits = append(edits, edit.declare)
			}
			name += "-" + moment
			all = append(all, &finishedMessage{edit, x.Message(name, "old "+name, edits...), user})
		}
	}
	finished := func(m *finishedMessage) {
		m.TeamTalkMessage = x.AwaitMessage(m.TeamTalkMessage, "finished", func(now *v1alpha1.TeamTalkMessage) bool {
			return now.Finished() && now.Generation == m.Generation
		})
		if failed := finishedFor(v1alpha1.ReasonRecipientNotFound)(m.TeamTalkMessage); failed == m.delivered {
			x.Fatalf("%s has failed: %t", m.Name, failed)
		}
	}
	for _, delivered := range []bool{false, true} {
		some := slices.DeleteFunc(slices.Clone(all), func(m *finishedMessage) bool { return m.delivered != delivered })
		for _, m := range some {
			x.Create(m.TeamTalkMessage)
		}
		for _, m := range some {
			finished(m)
			for _, patch := range m.before {
				x.Patch(m.TeamTalkMessage, patch)
				m.Generation++
				finished(m)
			}
		}
	}
	return all
}

// editAll edits the messages, without waiting for anything.
func (x *tenant) editAll(all []*finishedMessage) {
	x.Helper()
	for _, m := range all {
		if !m.delivered {
			x.Must(x.TeamTalk.AddUser(framework.User(m.user)))
		}
	}
	for _, m := range all {
		x.Patch(m.TeamTalkMessage, strings.NewReplacer("NAME", m.Name, "USER", fmt.Sprint(x.Bob)).Replace(m.patch))
	}
}

// TestEditsOfFinished edits finished messages right before their operator ends, and while none runs.
func TestEditsOfFinished(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		// around ends the operator between two edits, and sees to it that another one leads.
		around func(x *tenant, right, later func())
		// ends: it ends the leader.
		ends bool
	}{
		"running": {around: func(_ *tenant, right, later func()) {
			right()
			later()
		}},
		"stopped": {ends: true, around: func(x *tenant, right, later func()) {
			right()
			x.StopLeader()
			later()
			x.StartLeader()
		}},
		"killed": {ends: true, around: func(x *tenant, right, later func()) {
			right()
			x.Cluster.Leader.Kill()
			later()
			x.StartLeader()
		}},
		"hand-over": {ends: true, around: func(x *tenant, right, later func()) {
			leader := x.Cluster.Leader
			x.StartLeader() // which waits for the Lease
			right()
			ctx, cancel := context.WithTimeout(x.Context(), framework.Timeout)
			defer cancel()
			x.Must(leader.Stop(ctx))
			later()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := world
			if tc.ends {
				c = newCluster(t)
			}
			x := newTenantOf(t, c)
			x.Timeout = 2 * framework.Timeout
			all := x.finishAll("right-before", "later")
			half := len(all) / 2
			// It has the TTL that was removed from others, and finishes after them.
			canary := x.Deliver("canary", "canary", withTTL(longTTL))
			tc.around(x, func() { x.editAll(all[:half]) }, func() { x.editAll(all[half:]) })
			x.checkEndings(all, canary)
		})
	}
}

// checkEndings waits until the messages have come to their endings, and compares the store with their texts.
func (x *tenant) checkEndings(all []*finishedMessage, canary *v1alpha1.TeamTalkMessage) {
	x.Helper()
	want := map[string]int{"canary": 1}
	for _, m := range all {
		if m.wantText != "" {
			want[m.wantText+" "+m.Name] = 1
		}
		switch m.want {
		case sent:
			x.checkDelivered(x.AwaitMessage(m.TeamTalkMessage, "delivered as edited", func(now *v1alpha1.TeamTalkMessage) bool {
				return readyFor("True", v1alpha1.ReasonDelivered)(now) && now.Finished() && !now.RetryAsked()
			}))
		case deleted:
			x.awaitGone(m.TeamTalkMessage)
		case unsent:
			x.AwaitMessage(m.TeamTalkMessage, "observed as edited", finishedFor(v1alpha1.ReasonRecipientNotFound))
		case kept:
		}
	}
	x.awaitGone(canary)
	for _, m := range all {
		if m.want == kept {
			x.Get(m.TeamTalkMessage)
			x.checkDelivered(m.TeamTalkMessage)
		}
	}
	x.checkRowTexts(want)
}

// checkRowTexts checks how often the store holds each text.
func (x *tenant) checkRowTexts(want map[string]int) {
	x.Helper()
	if got := x.rowTexts(); !maps.Equal(got, want) {
		x.Errorf("the store holds %v, want %v", got, want)
	}
}

// rowTexts counts the rows of each text in the tenant's store.
func (x *tenant) rowTexts() map[string]int {
	x.Helper()
	times := map[string]int{}
	for _, row := range x.Rows() {
		times[row.Text]++
	}
	return times
}

// TestEditAtTheEnd edits messages in the moment in which they finish: no edit is lost, and nothing is sent twice.
func TestEditAtTheEnd(t *testing.T) {
	t.Parallel()
	const messages = 100
	x := newTenantWithServer(t)
	// A message to the sender itself fails at once.
	toSelf := func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Bot)}
	}
	x.Must(framework.Parallel(t.Context(), 8, messages, func(ctx context.Context, i int) {
		m := x.Message(fmt.Sprintf("m-%d", i), "old", toSelf)
		framework.Must(world.Admin.Create(ctx, m))
		if i%2 == 0 { // its retry changes nothing, and must be over before the edit is, or go on after it
			framework.Must(x.TryPatch(m, retryPatch))
		}
		// Permitted from the write on that finishes it.
		edit := fmt.Sprintf(`{"spec":{"to":{"users":[%d]},"content":{"text":"new %d"}}}`, x.Alice, i)
		framework.Must(framework.AwaitEvery(ctx, 20*time.Millisecond, "the edit is permitted", func(context.Context) (string, bool, error) {
			err := x.TryPatch(m, edit)
			if apierrors.IsInvalid(err) {
				return err.Error(), false, nil
			}
			return "", err == nil, err
		}))
		framework.Must(x.TryPatch(m, `{"spec":{"retryLimit":3}}`))
	}))
	want := map[string]int{}
	for i := range messages {
		want[fmt.Sprintf("new %d", i)] = 1
		m := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(fmt.Sprintf("m-%d", i))}
		got := x.AwaitMessage(m, "delivered as edited", func(now *v1alpha1.TeamTalkMessage) bool {
			return now.Generation == 3 && now.Finished()
		})
		x.checkDelivered(got)
	}
	x.checkRowTexts(want)
}

// TestFinishedIsLeftAlone: labels, and a retry that was handled, do nothing to a finished message, now or at a restart.
func TestFinishedIsLeftAlone(t *testing.T) {
	x := newTenantWithTeamTalk(t)
	const newcomer, other = 500_000, 500_001
	all := map[string]*v1alpha1.TeamTalkMessage{
		"delivered":        x.Message("delivered", "delivered"),
		"failed":           x.Message("failed", "never", toUsers(newcomer)),
		"retried":          x.Message("retried", "never", toUsers(newcomer)),
		"edited":           x.Message("edited", "never", toUsers(newcomer)),
		"edited-delivered": x.Message("edited-delivered", "edited", toUsers(newcomer)),
	}
	canaries := map[string]*v1alpha1.TeamTalkMessage{
		"z-1": x.Message("z-1", "first canary", toUsers(other)), "z-2": x.Message("z-2", "second canary", toUsers(other)),
	}
	finishAgain := func(name, patch string) {
		x.Patch(all[name], patch)
		x.AwaitMessage(all[name], "finished once more", func(m *v1alpha1.TeamTalkMessage) bool {
			return m.Finished() && !m.RetryAsked() &&
				(m.Status.LastHandledRetry != "" || m.Generation > 1)
		})
	}
	for _, some := range []map[string]*v1alpha1.TeamTalkMessage{all, canaries} {
		for _, m := range some {
			x.Create(m)
		}
		for name, m := range some {
			some[name] = x.AwaitMessage(m, "finished", (*v1alpha1.TeamTalkMessage).Finished)
		}
	}
	finishAgain("retried", retryPatch)
	finishAgain("edited", `{"spec":{"retryLimit":3}}`)
	finishAgain("edited-delivered", fmt.Sprintf(`{"spec":{"to":{"users":[%d]}}}`, x.Bob))
	for _, id := range []uint32{newcomer, other} {
		x.Must(x.TeamTalk.AddUser(framework.User(id))) // the failed messages could be sent now
	}
	label := func(value string) {
		for _, m := range all {
			x.Patch(m, fmt.Sprintf(`{"metadata":{"labels":{"edit":%q},"annotations":{"note":%[1]q}}}`, value))
			x.Get(m)
		}
	}
	// The canary is edited after them, so what handles it has seen them.
	untouched := func(canary string) {
		x.Helper()
		x.Patch(canaries[canary], retryPatch)
		x.AwaitDelivered(canaries[canary])
		for _, m := range all {
			before := m.ResourceVersion
			if x.Get(m); m.ResourceVersion != before {
				x.Errorf("%s was written: %+v", m.Name, m.Status)
			}
		}
	}
	label("running")
	untouched("z-1")
	x.StopLeader()
	label("stopped")
	x.StartLeader()
	untouched("z-2")
	x.checkRowTexts(map[string]int{"delivered": 1, "edited": 1, "first canary": 1, "second canary": 1})
}

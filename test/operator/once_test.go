// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func withKey(key string) messageEdit {
	return func(m *v1alpha1.TeamTalkMessage) { m.Spec.IdempotencyKey = key }
}

// awaitGone waits until a message does not exist any more, and returns it as it was last seen.
func (x *tenant) awaitGone(m *v1alpha1.TeamTalkMessage) *v1alpha1.TeamTalkMessage {
	x.Helper()
	seen := m
	x.EventuallySeen(func() string { return fmt.Sprintf("not deleted: %+v", seen.Status) }, func() bool {
		now := &v1alpha1.TeamTalkMessage{}
		err := x.Cluster.Admin.Get(x.Context(), client.ObjectKeyFromObject(m), now)
		if apierrors.IsNotFound(err) {
			return true
		}
		x.Must(err)
		seen = now
		return false
	})
	return seen
}

// TestIdempotencyKey sends a text with a key once, whichever resource has the key.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	got := x.Deliver("first", "v1 is out", withKey("v1"))
	x.checkDelivered(got)
	if r := got.Status.Recipients[0]; r.Attempts != 1 || r.Reason != "" {
		t.Errorf("the first one: %+v", r)
	}

	rs := x.Deliver("again", "v1 is out", withKey("v1"), toUsers(x.Alice, x.Bob)).Status.Recipients
	if rs[0].Reason != v1alpha1.ReasonAdopted || rs[0].Attempts != 0 || rs[0].MessageIDs[0] != got.Status.Recipients[0].MessageIDs[0] {
		t.Errorf("alice, who has it: %+v", rs[0])
	}
	if rs[1].Reason != "" || rs[1].Attempts != 1 {
		t.Errorf("bob, who has not: %+v", rs[1])
	}

	reused := x.Declare("reused", "v2 is out", withKey("v1"))
	r := x.AwaitMessage(reused, "refused", finishedFor(v1alpha1.ReasonKeyReused)).Status.Recipients[0]
	if !strings.Contains(r.Message, fmt.Sprintf("message %d ", got.Status.Recipients[0].MessageIDs[0])) {
		t.Errorf("which message has the key? %s", r.Message)
	}
	x.AwaitEvent("reused", v1alpha1.ReasonKeyReused)

	// A text that cannot be sent is no reason to say that nothing was: the store is asked first.
	long := strings.Repeat("x", 3052)
	x.AwaitMessage(x.Declare("too-long-reused", long, withKey("v1")), "refused", finishedFor(v1alpha1.ReasonKeyReused))
	x.AwaitMessage(x.Declare("too-long", long, withKey("v3")), "refused", finishedFor(v1alpha1.ReasonContentTooLong))

	// As after a restore from a backup: the resource comes back without its status.
	x.Delete(got)
	if r := x.Deliver("first", "v1 is out", withKey("v1")).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted {
		t.Errorf("restored: %+v", r)
	}
	x.CheckRows(2)
}

// TestIdempotencyKeyInGroups: a key is looked for in a group's history, too.
func TestIdempotencyKeyInGroups(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	for n := range 3 {
		x.Deliver(fmt.Sprintf("m-%d", n), "v1 is out", withKey("v1"), toGroups(x.OnCall))
	}
	x.CheckRows(1)
}

// TestIdempotencyKeyNeedsToken: where nothing could be found again, nothing is sent.
func TestIdempotencyKeyNeedsToken(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t, withoutToken)
	ttl := func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = ptr.To(int32(3600)) }
	for _, m := range []*v1alpha1.TeamTalkMessage{x.Message("key", "hello", withKey("v1")), x.Message("name", "hello", ttl)} {
		x.Create(m)
		x.AwaitMessage(m, "refused", finishedFor(v1alpha1.ReasonContentInvalid))
	}
	x.CheckRows(0)
}

// TestAskedBeforeRefused: what another resource has sent is found, whatever keeps this one from being sent.
func TestAskedBeforeRefused(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	past := func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.Deadline = ptr.To(metav1.NewTime(time.Now().Add(-time.Hour)))
	}
	fromBob := func(m *v1alpha1.TeamTalkMessage) { m.Spec.SenderID = ptr.To(v1alpha1.UserID(x.Bob)) }
	x.Delete(x.Deliver("m", "v1 is out", withKey("v1")))
	x.Delete(x.Deliver("m", "v1 is out", withKey("v1"), past))
	x.Delete(x.Deliver("n", "v1 is out", withTTL(3600)))
	x.Delete(x.Deliver("n", "v1 is out", withTTL(3600), past))
	x.CheckRows(2)
	for _, m := range []*v1alpha1.TeamTalkMessage{
		x.Declare("late", "v2 is out", withKey("v2"), past), x.Declare("late-by-name", "v2 is out", withTTL(3600), past),
	} {
		x.AwaitMessage(m, "too late", finishedFor(v1alpha1.ReasonDeadlineExceeded))
	}
	refused := x.Declare("refused", "v2 is out", withKey("v2"), fromBob)
	x.AwaitMessage(refused, "refused", finishedFor(v1alpha1.ReasonSenderNotPermitted))
	x.CheckRows(2)
}

func split(m *v1alpha1.TeamTalkMessage) { m.Spec.LongText = v1alpha1.LongTextSplit }

// TestSplit sends a long text in segments, in order, once each.
func TestSplit(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	var long strings.Builder
	for n := range 400 {
		fmt.Fprintf(&long, "line %03d of a long text\n", n)
	}
	got := x.Deliver("m", long.String(), toUsers(x.Alice), split, func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(x.OnCall)}
	})
	texts := map[uint32][]string{}
	for _, row := range x.Rows() {
		texts[row.To] = append(texts[row.To], row.Text)
		if row.Routed != 1 {
			t.Errorf("segment %d was routed %d times", row.MsgID, row.Routed)
		}
	}
	for i, to := range []uint32{x.Alice, x.OnCall} {
		segments := texts[to]
		if len(segments) != 4 || len(got.Status.Recipients[i].MessageIDs) != 4 {
			t.Fatalf("%d segments for %d, ids %v", len(segments), to, got.Status.Recipients[i].MessageIDs)
		}
		var joined []string
		for n, segment := range segments {
			text, ok := strings.CutPrefix(segment, fmt.Sprintf("(%d/4) ", n+1))
			if !ok {
				t.Errorf("segment %d begins with %.10q", n+1, segment)
			}
			joined = append(joined, text)
		}
		if strings.Join(joined, "\n") != long.String() {
			t.Errorf("the segments for %d do not make the text", to)
		}
	}
}

// TestSegmentsOfOneText: nothing is sent of a ConfigMap that changed between two segments of its text.
func TestSegmentsOfOneText(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	notice := func(word string) *corev1.ConfigMap {
		text := strings.TrimSpace(strings.Repeat(word+"\n", 1200))
		return &corev1.ConfigMap{ObjectMeta: x.Named("notice"), Data: map[string]string{"body": text}}
	}
	x.Create(notice("first"))
	// Every segment but the first is refused for now.
	x.AddFault(devserver.Fault{Kind: devserver.IDZero, Command: wire.CommandMsgData, Skip: 1})
	m := x.Declare("m", "", withContent(textFrom("notice", "body")), split)
	x.AwaitMessage(m, "in segments", func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.Text != nil && len(m.Status.Text.SegmentDigests) == 3 && len(m.Status.Recipients) == 1 && len(m.Status.Recipients[0].MessageIDs) == 1
	})
	x.Patch(m, `{"spec":{"suspend":true}}`)
	x.AwaitMessage(m, "suspended", readyFor(metav1.ConditionTrue, v1alpha1.ReasonSuspended))
	x.Update(notice("other"))
	x.TeamTalk.Faults().Clear()
	x.Patch(m, `{"spec":{"suspend":false}}`)
	failed := x.AwaitMessage(m, "refused", finishedFor(v1alpha1.ReasonContentChanged))
	if rows := x.Rows(); len(rows) != 1 || len(failed.Status.Recipients[0].MessageIDs) != 1 {
		t.Errorf("the store holds %+v", rows)
	}
	x.Update(notice("first"))
	x.Patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"1"}}}`)
	x.AwaitDelivered(m)
	rows := x.Rows()
	if len(rows) != 3 {
		t.Fatalf("the store holds %d segments", len(rows))
	}
	for n, row := range rows {
		if !strings.HasPrefix(row.Text, fmt.Sprintf("(%d/3) first", n+1)) || strings.Contains(row.Text, "other") {
			t.Errorf("segment %d begins with %.20q", n+1, row.Text)
		}
	}
}

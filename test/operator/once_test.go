package operator

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func withKey(key string) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) { m.Spec.IdempotencyKey = key }
}

// gone reports whether the message does not exist any more; seen is how it last was.
func gone(m, seen *v1alpha1.TeamTalkMessage) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		now := &v1alpha1.TeamTalkMessage{}
		if err := world.Admin.Get(ctx, client.ObjectKeyFromObject(m), now); err != nil {
			return isGone(err)
		}
		*seen = *now
		return false, nil
	}
}

// TestIdempotencyKey sends what bears a key once, whatever resource bears it.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	first := x.message("first", "v1 is out", withKey("v1"))
	x.create(first)
	got := x.awaitDelivered(first)
	x.checkDelivered(got)
	if r := got.Status.Recipients[0]; r.Attempts != 1 || r.Reason != "" {
		t.Errorf("the first one: %+v", r)
	}

	again := x.message("again", "v1 is out", withKey("v1"), toUsers(x.alice, x.bob))
	x.create(again)
	rs := x.awaitDelivered(again).Status.Recipients
	if rs[0].Reason != v1alpha1.ReasonAdopted || rs[0].Attempts != 0 || rs[0].MessageIDs[0] != got.Status.Recipients[0].MessageIDs[0] {
		t.Errorf("alice, who has it: %+v", rs[0])
	}
	if rs[1].Reason != "" || rs[1].Attempts != 1 {
		t.Errorf("bob, who has not: %+v", rs[1])
	}

	reused := x.message("reused", "v2 is out", withKey("v1"))
	x.create(reused)
	r := x.await(reused, "refused", finishedFor(v1alpha1.ReasonKeyReused)).Status.Recipients[0]
	if !strings.Contains(r.Message, fmt.Sprintf("message %d ", got.Status.Recipients[0].MessageIDs[0])) {
		t.Errorf("which message has the key? %s", r.Message)
	}
	x.awaitEvent("reused", v1alpha1.ReasonKeyReused)

	// As after a restore from a backup: the resource comes back without its status.
	x.must(world.Admin.Delete(t.Context(), first))
	restored := x.message("first", "v1 is out", withKey("v1"))
	x.create(restored)
	if r := x.awaitDelivered(restored).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted {
		t.Errorf("restored: %+v", r)
	}
	if rows := x.rows(); len(rows) != 2 {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestIdempotencyKeyInGroups: a key is looked for in a group's history, too.
func TestIdempotencyKeyInGroups(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	for n := range 3 {
		m := x.message(fmt.Sprintf("m-%d", n), "v1 is out", withKey("v1"), toGroups(x.oncall))
		x.create(m)
		x.awaitDelivered(m)
	}
	if rows := x.rows(); len(rows) != 1 {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestIdempotencyKeyNeedsToken: where nothing could be found again, nothing is sent.
func TestIdempotencyKeyNeedsToken(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer(func(s *v1alpha1.TeamTalkServer) { s.Spec.DeliveryToken = v1alpha1.DeliveryTokenDisabled })
	ttl := func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = ptr.To(int32(3600)) }
	for _, m := range []*v1alpha1.TeamTalkMessage{x.message("key", "hello", withKey("v1")), x.message("name", "hello", ttl)} {
		x.create(m)
		x.await(m, "refused", finishedFor(v1alpha1.ReasonContentInvalid))
	}
	if rows := x.rows(); len(rows) != 0 {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestDeletedMidFlight deletes a resource whose message db_proxy has not answered,
// and creates another with its key: the one that is stored is found.
func TestDeletedMidFlight(t *testing.T) {
	t.Parallel()
	teamtalk, err := framework.StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	x := newTenantOf(t, teamtalk).withServer()
	_, err = teamtalk.Faults().Add(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 1})
	x.must(err)
	for n := range 2 {
		m := x.message("m", "v1 is out", withKey("v1"))
		x.create(m)
		if n == 0 {
			x.eventually(patience, func() string { return "nothing was sent" }, func(context.Context) (bool, error) {
				return len(x.rows()) == 1, nil
			})
			x.must(world.Admin.Delete(t.Context(), m))
			continue
		}
		if r := x.awaitDelivered(m).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted || r.Attempts != 0 {
			t.Errorf("recipient %+v, want it adopted", r)
		}
	}
	if rows := x.rows(); len(rows) != 1 {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestSplit sends a long text in parts, in order, once each.
func TestSplit(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	var long strings.Builder
	for n := range 400 {
		fmt.Fprintf(&long, "line %03d of a long text\n", n)
	}
	m := x.message("m", long.String(), toUsers(x.alice), func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.LongText = v1alpha1.LongTextSplit
		m.Spec.To.Groups = []v1alpha1.GroupID{v1alpha1.GroupID(x.oncall)}
	})
	x.create(m)
	got := x.awaitDelivered(m)
	texts := map[uint32][]string{}
	for _, row := range x.rows() {
		texts[row.To] = append(texts[row.To], row.Text)
		if row.Routed != 1 {
			t.Errorf("part %d was routed %d times", row.MsgID, row.Routed)
		}
	}
	for i, to := range []uint32{x.alice, x.oncall} {
		parts := texts[to]
		if len(parts) != 4 || len(got.Status.Recipients[i].MessageIDs) != 4 {
			t.Fatalf("%d parts for %d, ids %v", len(parts), to, got.Status.Recipients[i].MessageIDs)
		}
		var joined []string
		for n, part := range parts {
			text, ok := strings.CutPrefix(part, fmt.Sprintf("(%d/4) ", n+1))
			if !ok {
				t.Errorf("part %d begins with %.10q", n+1, part)
			}
			joined = append(joined, text)
		}
		if strings.Join(joined, "\n") != long.String() {
			t.Errorf("the parts for %d do not make the text", to)
		}
	}
}

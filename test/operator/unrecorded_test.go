// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// etcdLimit is etcd's default --max-request-bytes.
const etcdLimit = 1536 << 10

// TestStatusTooLarge: a message whose status might not fit into etcd is not sent, and says so. Once it is small, it is
// sent on a retry.
func TestStatusTooLarge(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	const retry = `{"metadata":{"annotations":{"note":null,%q:"1"}}}`
	large := func(m *v1alpha1.TeamTalkMessage) {
		// JSON escapes each byte as six.
		m.Annotations = map[string]string{"note": strings.Repeat("<", 240<<10)}
	}
	thousand := func(m *v1alpha1.TeamTalkMessage) {
		for len(m.Spec.To.Users) < v1alpha1.MaxRecipients {
			m.Spec.To.Users = append(m.Spec.To.Users, v1alpha1.UserID(1_000_000+len(m.Spec.To.Users)))
		}
	}
	many := x.Declare("many", "to many", thousand, large)
	few := x.Declare("few", "to few", toUsers(x.Alice, x.Bob), large)
	for _, m := range []*v1alpha1.TeamTalkMessage{many, few} {
		m := x.AwaitMessage(m, "refused", finishedFor(v1alpha1.ReasonStatusTooLarge))
		if n := m.Status.Counts.Failed; len(m.Status.Recipients) > 0 || int(n) != len(m.Spec.To.Users) {
			t.Errorf("%s: %d failed, %d recipients in the status", m.Name, n, len(m.Status.Recipients))
		}
	}
	x.CheckRows(0)
	x.Patch(few, fmt.Sprintf(retry, v1alpha1.RetryAnnotation))
	x.checkDelivered(x.AwaitDelivered(few))
	x.CheckRows(2)

	// Another resource may have sent one with a key: the store says so, whatever the size.
	keyed := func(key string) messageEdit {
		return func(m *v1alpha1.TeamTalkMessage) { m.Spec.IdempotencyKey = key }
	}
	first := x.Deliver("keyed", "with a key", toUsers(x.Alice, x.Bob), keyed("sent"))
	x.Delete(first)
	x.awaitGone(first)
	again := x.AwaitDelivered(x.Declare("keyed", "with a key", toUsers(x.Alice, x.Bob), keyed("sent"), large))
	for _, r := range again.Status.Recipients {
		if r.Reason != v1alpha1.ReasonAdopted {
			t.Errorf("recipient %d: %+v", r.ID, r)
		}
	}
	x.AwaitMessage(x.Declare("unsent", "with a key", toUsers(x.Alice, x.Bob), keyed("not sent"), large), "refused",
		finishedFor(v1alpha1.ReasonStatusTooLarge))
	x.CheckRows(4)
}

// TestUnrecorded: a message that has become too large to be recorded delays no other at a hand-over. The next operator
// asks the store about this one first, and about no other.
func TestUnrecorded(t *testing.T) {
	x := newTenantIn(t, world, framework.TeamTalkFor(t))
	db, err := faultproxy.Start(t.Context(), x.TeamTalk.DBProxyAddr())
	x.Must(err)
	t.Cleanup(db.Stop)
	x.CreateServer(func(s *v1alpha1.TeamTalkServer) {
		s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint(db.Addr())}
	})
	other := newTenantWithServer(t, func(s *v1alpha1.TeamTalkServer) {
		s.Spec.SettleSeconds = 300 // absence is proved later than the test waits
	})
	other.Deliver("first", "before")

	const recipients = 40
	var ids []uint32
	for i := range uint32(recipients) {
		ids = append(ids, x.Alice+100+i)
		x.Must(x.TeamTalk.AddUser(framework.User(x.Alice + 100 + i)))
	}
	grown, rows := x.growUnanswered(db, ids)
	x.Eventually("its status is not refused", func() bool {
		return strings.Contains(world.Log.String(), "refuses the status of a message") && strings.Contains(world.Log.String(), string(grown.UID))
	})

	x.StopLeader()
	lease := x.lease()
	_, drained := lease.Annotations[leadership.DrainedAnnotation]
	except := lease.Annotations[leadership.DrainedExceptAnnotation]
	if drained || !strings.Contains(except, fmt.Sprintf(`"uids":[%q]`, grown.UID)) {
		t.Fatalf("drained for all: %v; drained except for %q, want %q", drained, except, grown.UID)
	}
	second := other.Declare("second", "meanwhile")
	x.StartLeader()
	other.checkDelivered(other.AwaitDelivered(second))

	// Stored messages are found, and not sent again. It is recorded when that is possible.
	x.Patch(grown, `{"metadata":{"annotations":{"note":null}}}`)
	for _, r := range x.AwaitDelivered(grown).Status.Recipients {
		if r.Reason != v1alpha1.ReasonAdopted {
			t.Errorf("recipient %d: %+v", r.ID, r)
		}
	}
	x.CheckRows(rows)
}

// growUnanswered declares a message that is stored at once, and makes it large while nothing of that is known. It
// returns how many rows there are. On a busy machine, the doubts after 10 s without an answer may be recorded before:
// another message takes its place.
func (x *tenant) growUnanswered(db *faultproxy.Proxy, ids []uint32) (grown *v1alpha1.TeamTalkMessage, rows int) {
	x.Helper()
	for i := range 5 {
		var answers faultproxy.Hold
		db.Add(faultproxy.Rule{
			Direction: faultproxy.ToClient, Match: answers.Keeps, Do: answers.Do,
			Commands: []wire.Command{wire.CommandMsgData, wire.CommandMsgListRsp, wire.CommandMsgByIDRsp, wire.CommandLatestMsgIDRsp},
		})
		rows += len(ids)
		m := x.Declare(fmt.Sprint("grown-", i), "grows", toUsers(ids...))
		x.AwaitRows(rows)
		err := x.grow(m)
		answers.Release()
		if err == nil {
			return m, rows
		}
		x.AwaitDelivered(m)
		x.Logf("%s has not grown in time: %v", m.Name, err)
	}
	x.Fatal("no message grows in time")
	return nil, 0
}

// grow gives a message an annotation with which etcd has no room left for a longer status. The status may grow between
// the read and the patch, so that there is no room for the annotation: then both are done again.
func (x *tenant) grow(m *v1alpha1.TeamTalkMessage) (err error) {
	x.Helper()
	for range 20 {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessage"))
		live.SetName(m.Name)
		live.SetNamespace(m.Namespace)
		x.Get(live)
		text, marshalErr := json.Marshal(live)
		x.Must(marshalErr)
		if strings.Contains(string(text), string(v1alpha1.StateInDoubt)) {
			return errors.New("it is in doubt")
		}
		note := strings.Repeat("<", (etcdLimit-len(text))/6)
		err = x.TryPatch(m, fmt.Sprintf(`{"metadata":{"annotations":{"note":%q}}}`, note))
		if err == nil || !strings.Contains(err.Error(), "too large") {
			return err
		}
	}
	return err
}

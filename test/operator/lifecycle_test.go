package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestRestart shuts the operator down in order. It leaves nothing in doubt, so
// the next one sends at once what was declared meanwhile.
func TestRestart(t *testing.T) {
	x := newTenant(t).withServer()
	first := x.message("first", "before")
	x.create(first)
	x.awaitDelivered(first)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := world.operator.Stop(ctx); err != nil {
		t.Fatalf("the operator's end: %v", err)
	}
	lease := &coordinationv1.Lease{}
	x.must(world.Admin.Get(ctx, client.ObjectKey{Namespace: "default", Name: "teamtalk-operator"}, lease))
	if lease.Annotations[leadership.DrainedAnnotation] == "" {
		t.Fatalf("the Lease is not marked as drained: %+v", lease)
	}

	second := x.message("second", "meanwhile")
	x.create(second)
	began := len(world.log.String())
	x.restart()
	x.checkDelivered(x.awaitDelivered(second))
	if log := world.log.String()[began:]; !strings.Contains(log, `"clean": true`) {
		t.Errorf("the term did not begin clean: %s", log)
	}
	x.must(world.Admin.Get(ctx, client.ObjectKeyFromObject(lease), lease))
	if lease.Annotations[leadership.DrainedAnnotation] != "" {
		t.Errorf("the mark is still on the Lease")
	}
	if rows := x.rows(); len(rows) != 2 {
		t.Errorf("the store holds %+v", rows)
	}
}

func (x *tenant) restart() {
	x.t.Helper()
	var err error
	world.operator, err = startOperator()
	x.must(err)
}

// TestKilled kills the operator while answers are on their way: the next one
// cannot know what was sent, and asks the store before it sends anything.
func TestKilled(t *testing.T) {
	teamtalk, err := framework.StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	x := newTenantOf(t, teamtalk).withServer()
	warm := x.message("warm", "up")
	x.create(warm)
	x.awaitDelivered(warm)

	// Stored at once, answered long after the operator is dead; the others wait
	// behind it for their turn in the conversation, and have not been sent.
	_, err = teamtalk.Faults().Add(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: 5 * time.Minute, Count: 1})
	x.must(err)
	var messages []*v1alpha1.TeamTalkMessage
	for i := range 5 {
		m := x.message(fmt.Sprintf("m-%d", i), fmt.Sprintf("number %d", i))
		x.create(m)
		messages = append(messages, m)
	}
	x.eventually(patience, func() string { return "nothing was sent" }, func(context.Context) (bool, error) {
		return len(x.rows()) == 2, nil
	})
	x.must(world.operator.Signal(syscall.SIGKILL))
	<-world.operator.Ended()
	x.restart()

	adopted := 0
	for _, m := range messages {
		r := x.within(2 * patience).awaitDelivered(m).Status.Recipients[0]
		if r.Reason == v1alpha1.ReasonAdopted {
			adopted++
		}
	}
	if adopted != 1 {
		t.Errorf("%d messages were adopted from the store, want 1", adopted)
	}
	texts := map[string]int{}
	for _, row := range x.rows() {
		texts[row.Text]++
	}
	for i := range messages {
		if n := texts[fmt.Sprintf("number %d", i)]; n != 1 {
			t.Errorf("number %d is in the store %d times, want once", i, n)
		}
	}
}

// TestKeyRotation changes the key: it takes effect without a restart, and what
// was sent under the one before is still known again.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	teamtalk, err := framework.StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	x := newTenantOf(t, teamtalk).withServer()
	// Stored under the old key, and not answered: in doubt when the key changes.
	_, err = teamtalk.Faults().Add(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 1})
	x.must(err)
	before := x.message("before", "old key")
	x.create(before)
	x.eventually(patience, func() string { return "nothing was sent" }, func(context.Context) (bool, error) {
		return len(x.rows()) == 1, nil
	})
	const other = "abcdefghijklmnopqrstuvwxyz012345"
	secret := x.secret(other)
	secret.Data["aesKey"+v1alpha1.PreviousKeySuffix] = []byte(devserver.DevelopmentKey)
	x.must(world.Admin.Update(t.Context(), secret))
	if r := x.awaitDelivered(before).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted || r.Attempts != 1 {
		t.Errorf("recipient %+v, want it adopted", r)
	}

	after := x.message("after", "new key", toUsers(x.bob))
	x.create(after)
	x.awaitDelivered(after)
	key, err := cipher.New([]byte(other))
	x.must(err)
	rows := x.rows()
	if len(rows) != 2 {
		t.Fatalf("the store holds %+v", rows)
	}
	if plain, err := key.Decrypt(rows[1].Raw); err != nil || string(plain.Text) != "new key" {
		t.Errorf("the second is not under the new key: %v", err)
	}
}

// TestEditedAgain edits a message that failed, and again while it begins anew:
// however often, it is sent once.
func TestEditedAgain(t *testing.T) {
	t.Parallel()
	x := newTenant(t).withServer()
	for n := range 5 {
		m := x.message(fmt.Sprintf("m-%d", n), fmt.Sprintf("number %d", n), toUsers(1_999_999))
		x.create(m)
		x.await(m, "finished", (*v1alpha1.TeamTalkMessage).Finished)
		patch := func(patch string) {
			x.must(world.Admin.Patch(t.Context(), m.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch))))
		}
		patch(fmt.Sprintf(`{"spec":{"to":{"users":[%d]}}}`, x.bob))
		for limit := range 8 {
			patch(fmt.Sprintf(`{"spec":{"retryLimit":%d}}`, limit))
		}
		x.await(m, "delivered as edited", func(m *v1alpha1.TeamTalkMessage) bool { return m.Finished() && m.Generation == 10 })
	}
	texts := map[string]int{}
	for _, row := range x.rows() {
		texts[row.Text]++
	}
	for n := range 5 {
		if got := texts[fmt.Sprintf("number %d", n)]; got != 1 {
			t.Errorf("number %d is in the store %d times, want once", n, got)
		}
	}
}

// TestOneWrite delivers with one write to the resource, where nothing holds the
// message up: of several, on a busy machine, at least one takes no more.
func TestOneWrite(t *testing.T) {
	x := newTenant(t).withServer()
	warm := x.message("warm", "up")
	x.create(warm)
	x.awaitDelivered(warm)
	w, err := world.Admin.Watch(t.Context(), &v1alpha1.TeamTalkMessageList{}, client.InNamespace(x.namespace))
	x.must(err)
	defer w.Stop()
	var writes []int
	for n := range 5 {
		m := x.message(fmt.Sprintf("m-%d", n), "hello")
		x.create(m)
		writes = append(writes, x.writesUntilFinished(w, m.Name))
	}
	if slices.Min(writes) != 1 {
		t.Errorf("writes %v, want 1", writes)
	}
}

func (x *tenant) writesUntilFinished(w watch.Interface, name string) (writes int) {
	x.t.Helper()
	for e := range w.ResultChan() {
		m, ok := e.Object.(*v1alpha1.TeamTalkMessage)
		if !ok || m.Name != name || e.Type == watch.Added {
			continue
		}
		if writes++; m.Finished() {
			return writes
		}
	}
	x.t.Fatal("the watch has ended")
	return 0
}

// TestDeleted deletes a message that waits, and makes another of its name: each
// object is a message of its own.
func TestDeleted(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	m := x.message("m", "never sent")
	x.create(m)
	x.await(m, "waiting", func(m *v1alpha1.TeamTalkMessage) bool { return len(m.Status.Conditions) > 0 })
	x.must(world.Admin.Delete(t.Context(), m))
	x.withServer()
	again := x.message("m", "sent")
	x.create(again)
	x.awaitDelivered(again)
	if rows := x.rows(); len(rows) != 1 || rows[0].Text != "sent" {
		t.Errorf("the store holds %+v", rows)
	}
}

// TestManyRecipients sends one message to all that one resource may name.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	teamtalk, err := framework.StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	x := newTenantOf(t, teamtalk).withServer()
	var ids []uint32
	for i := range uint32(v1alpha1.MaxRecipients) {
		id := 500_000 + i
		x.must(teamtalk.AddUser(devserver.NewUser(id, fmt.Sprint("n", id), fmt.Sprint("u", id))))
		ids = append(ids, id)
	}
	m := x.message("m", "to everybody", toUsers(ids...))
	x.create(m)
	got := x.awaitDelivered(m)
	if c := got.Status.Counts; c.Routed != v1alpha1.MaxRecipients || c.Failed != 0 || got.Status.RecipientsSummary != "1000/1000" {
		t.Errorf("counts %+v, summary %s", c, got.Status.RecipientsSummary)
	}
	if rows := x.rows(); len(rows) != v1alpha1.MaxRecipients {
		t.Errorf("the store holds %d messages, want %d", len(rows), v1alpha1.MaxRecipients)
	}
}

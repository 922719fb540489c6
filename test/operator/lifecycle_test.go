// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// TestRestart: an orderly shutdown leaves nothing in doubt, so the next operator sends at once.
func TestRestart(t *testing.T) {
	x := newTenantWithServer(t)
	x.Deliver("first", "before")

	x.StopLeader()
	if lease := x.lease(); lease.Annotations[leadership.DrainedAnnotation] == "" {
		t.Fatalf("the Lease is not marked as drained: %+v", lease)
	}

	second := x.Declare("second", "meanwhile")
	began := len(world.Log.String())
	x.StartLeader()
	x.checkDelivered(x.AwaitDelivered(second))
	x.Eventually("the term did not begin clean", func() bool { return strings.Contains(world.Log.String()[began:], `"clean": true`) })
	if x.lease().Annotations[leadership.DrainedAnnotation] != "" {
		t.Errorf("the mark is still on the Lease")
	}
	x.CheckRows(2)
}

// unanswered: after a kill, the next operator searches the store for sent messages before it sends.
func unanswered(t *testing.T, c *framework.Cluster) (whileDown, check func()) {
	x := newTenantOf(t, c)
	x.Timeout = 2 * framework.Timeout
	x.Deliver("warm", "up")

	// Stored at once, answered long after the operator is dead, and not found before; the others wait behind it for their
	// turn in the conversation, and have not been sent.
	x.AddFault(devserver.Fault{Kind: devserver.Late, Command: wire.CommandMsgData, Delay: 5 * time.Minute, Count: 1})
	for _, read := range []wire.Command{wire.CommandMsgListReq, wire.CommandLatestMsgIDReq} {
		x.AddFault(devserver.Fault{Kind: devserver.Drop, Command: read})
	}
	var texts []string
	var messages []*v1alpha1.TeamTalkMessage
	for i := range 5 {
		texts = append(texts, fmt.Sprintf("number %d", i))
		messages = append(messages, x.Declare(fmt.Sprintf("m-%d", i), texts[i]))
	}
	x.AwaitRows(2)
	return x.TeamTalk.Faults().Clear, func() {
		adopted := 0
		for _, m := range messages {
			r := x.AwaitDelivered(m).Status.Recipients[0]
			if r.Reason == v1alpha1.ReasonAdopted {
				adopted++
			}
		}
		if adopted != 1 {
			t.Errorf("%d messages were adopted from the store, want 1", adopted)
		}
		x.checkOnce(texts...)
	}
}

// TestLost: operators are lost with messages whose status does not show their sends. One loss is for all, as a takeover
// takes its time.
func TestLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	var meanwhile, checks []func()
	for _, prepare := range []func(*testing.T, *framework.Cluster) (whileDown, check func()){
		unanswered, edited, replaced, staged, revised,
	} {
		whileDown, check := prepare(t, c)
		meanwhile, checks = append(meanwhile, whileDown), append(checks, check)
	}
	c.Leader.Kill()
	for _, whileDown := range meanwhile {
		whileDown()
	}
	if err := c.StartLeader(); err != nil {
		t.Fatal(err)
	}
	for _, check := range checks {
		check()
	}
}

// edited: the text of a ConfigMap is stored, its operator is lost before it records that, and the ConfigMap is edited.
// The message has not met another one with its key.
func edited(t *testing.T, c *framework.Cluster) (whileDown, check func()) {
	x := newTenantOf(t, c)
	x.Timeout = 2 * framework.Timeout
	x.configMap("notice", map[string]string{"body": "as it was"}, nil)
	x.Deliver("warm", "up")
	x.AddFault(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 3})
	var messages []*v1alpha1.TeamTalkMessage
	for to, edits := range map[uint32][]messageEdit{
		x.Alice: {withKey("v1")}, x.Bob: {withTTL(3600)}, x.Mate: {withKey("v2"), split},
	} {
		edits = append(edits, withContent(textFrom("notice", "body")), toUsers(to))
		messages = append(messages, x.Declare(fmt.Sprintf("m-%d", to), "", edits...))
	}
	x.AwaitRows(4)
	whileDown = func() {
		x.Update(&corev1.ConfigMap{ObjectMeta: x.Named("notice"), Data: map[string]string{"body": "as it is now"}})
	}
	return whileDown, func() {
		for _, m := range messages {
			if r := x.AwaitDelivered(m).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted {
				t.Errorf("%s: %+v", m.Name, r)
			}
		}
		x.CheckRows(4)
	}
}

// replaced: the text of a ConfigMap is recorded, and its operator is lost before anything is stored. The text that has
// replaced it is sent, once the recorded one is proved absent.
func replaced(t *testing.T, c *framework.Cluster) (whileDown, check func()) {
	x := newTenantOf(t, c)
	x.Timeout = 2 * framework.Timeout
	x.configMap("notice", map[string]string{"body": "as it was"}, nil)
	x.AddFault(devserver.Fault{Kind: devserver.Drop, Command: wire.CommandMsgData, Count: 2})
	var messages []*v1alpha1.TeamTalkMessage
	for to, edit := range map[uint32]messageEdit{x.Alice: withKey("v1"), x.Bob: withTTL(3600)} {
		m := x.Declare(fmt.Sprintf("m-%d", to), "", edit, withContent(textFrom("notice", "body")), toUsers(to))
		messages = append(messages, x.AwaitMessage(m, "recorded", func(m *v1alpha1.TeamTalkMessage) bool { return m.Status.Text != nil }))
	}
	whileDown = func() {
		x.Update(&corev1.ConfigMap{ObjectMeta: x.Named("notice"), Data: map[string]string{"body": "as it is now"}})
	}
	return whileDown, func() {
		for _, m := range messages {
			before := m.Status.Text.Digest
			if got := x.AwaitDelivered(m); got.Status.Text.Digest == before || got.Status.Recipients[0].Reason != "" {
				t.Errorf("%s: %+v", m.Name, got.Status)
			}
		}
		x.checkRowTexts(map[string]int{"as it is now": 2})
	}
}

// staged: messages without a token that were created while no operator ran are sent once each. No row of one passes for
// another, and what was not staged was not sent.
func staged(t *testing.T, c *framework.Cluster) (whileDown, check func()) {
	x := newTenantOf(t, c, withoutToken)
	x.Timeout = 2 * framework.Timeout
	x.Deliver("warm", "up")
	x.configMap("voice", nil, map[string][]byte{"0": []byte("one"), "1": []byte("two"), "2": []byte("three")})
	var messages []*v1alpha1.TeamTalkMessage
	whileDown = func() {
		for n := range 3 {
			audio := v1alpha1.AudioContent{Seconds: 4, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "voice", Key: fmt.Sprint(n)}}
			messages = append(messages,
				x.Declare(fmt.Sprintf("audio-%d", n), "", withContent(v1alpha1.Content{Audio: &audio})),
				x.Declare(fmt.Sprintf("text-%d", n), fmt.Sprintf("number %d", n)))
		}
	}
	return whileDown, func() {
		for _, m := range messages {
			r := x.AwaitDelivered(m).Status.Recipients[0]
			if r.Reason != "" || r.Attempts != 1 {
				t.Errorf("%s: %+v", m.Name, r)
			}
		}
		x.CheckRows(7)
	}
}

// TestKeyRotation: a key takes effect without a restart, and messages under the previous key are found.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	// Stored under the old key, and not answered: in doubt when the key changes.
	x.AddFault(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 1})
	before := x.Declare("before", "old key")
	x.AwaitRows(1)
	const other = "abcdefghijklmnopqrstuvwxyz012345"
	secret := x.KeySecret(other)
	secret.Data["aesKey"+v1alpha1.PreviousKeySuffix] = []byte(devserver.DevelopmentKey)
	x.Update(secret)
	if r := x.AwaitDelivered(before).Status.Recipients[0]; r.Reason != v1alpha1.ReasonAdopted || r.Attempts != 1 {
		t.Errorf("recipient %+v, want it adopted", r)
	}

	// When the operator takes up the new key is not seen from outside: its record in the status comes a moment earlier.
	key, err := cipher.New([]byte(other))
	x.Must(err)
	sent := 0
	x.Eventually("nothing is sent under the new key", func() bool {
		sent++
		x.Deliver(fmt.Sprintf("after-%d", sent), "new key", toUsers(x.Bob))
		rows := x.Rows()
		if len(rows) != 1+sent {
			t.Fatalf("the store holds %+v", rows)
		}
		plain, err := key.Decrypt(rows[sent].Raw)
		return err == nil && string(plain.Text) == "new key"
	})
	server := x.Server()
	x.Get(server)
	if record := server.Status.KeysInUse; len(record) != 2 || record[1].ResourceVersion != secret.ResourceVersion {
		t.Errorf("the record of keys is %+v", record)
	}
}

// TestEditedAgain edits a failed message, and again while it is retried: it is sent once.
func TestEditedAgain(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	var texts []string
	for n := range 5 {
		texts = append(texts, fmt.Sprintf("number %d", n))
		m := x.Declare(fmt.Sprintf("m-%d", n), texts[n], toUsers(1_999_999))
		x.AwaitMessage(m, "finished", (*v1alpha1.TeamTalkMessage).Finished)
		x.Patch(m, fmt.Sprintf(`{"spec":{"to":{"users":[%d]}}}`, x.Bob))
		for limit := range 8 {
			x.Patch(m, fmt.Sprintf(`{"spec":{"retryLimit":%d}}`, limit))
		}
		x.AwaitMessage(m, "delivered as edited", func(m *v1alpha1.TeamTalkMessage) bool { return m.Finished() && m.Generation == 10 })
	}
	x.checkOnce(texts...)
}

// TestWrites: a delivery is one write to the resource, and two where its text must be recorded before it is sent. On a
// busy machine, at least one of several is.
func TestWrites(t *testing.T) {
	x := newTenantWithServer(t)
	x.configMap("notice", map[string]string{"body": "hello"}, nil)
	x.Deliver("warm", "up")
	w, err := world.Admin.Watch(t.Context(), &v1alpha1.TeamTalkMessageList{}, client.InNamespace(x.Namespace))
	x.Must(err)
	defer w.Stop()
	key := func(m *v1alpha1.TeamTalkMessage) { m.Spec.IdempotencyKey = m.Name }
	from := withContent(textFrom("notice", "body"))
	for name, tc := range map[string]struct {
		edits []messageEdit
		want  int
	}{
		"text":          {nil, 1},
		"text-by-key":   {[]messageEdit{key}, 1},
		"text-by-name":  {[]messageEdit{withTTL(3600)}, 1},
		"of-configmap":  {[]messageEdit{from}, 1},
		"of-it-by-key":  {[]messageEdit{from, key}, 2},
		"of-it-by-name": {[]messageEdit{from, withTTL(3600)}, 2},
	} {
		var writes []int
		for n := range 5 {
			m := x.Declare(fmt.Sprintf("%s-%d", name, n), "hello", tc.edits...)
			writes = append(writes, x.writesUntilFinished(w, m.Name))
		}
		if slices.Min(writes) != tc.want {
			t.Errorf("%s: writes %v, want %d", name, writes, tc.want)
		}
	}
}

func (x *tenant) writesUntilFinished(w watch.Interface, name string) (writes int) {
	x.Helper()
	for e := range w.ResultChan() {
		m, ok := e.Object.(*v1alpha1.TeamTalkMessage)
		if !ok || m.Name != name || e.Type == watch.Added {
			continue
		}
		if writes++; m.Finished() {
			return writes
		}
	}
	x.Fatal("the watch has ended")
	return 0
}

// TestManyRecipients sends one message to all that one resource may name.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	var ids []uint32
	for i := range uint32(v1alpha1.MaxRecipients) {
		id := 500_000 + i
		x.Must(x.TeamTalk.AddUser(framework.User(id)))
		ids = append(ids, id)
	}
	got := x.Deliver("m", "to everybody", toUsers(ids...))
	if c := got.Status.Counts; c.Routed != v1alpha1.MaxRecipients || c.Failed != 0 || got.Status.RecipientsSummary != "1000/1000" {
		t.Errorf("counts %+v, summary %s", c, got.Status.RecipientsSummary)
	}
	x.CheckRows(v1alpha1.MaxRecipients)
}

// TestStaleLeader stops the operator past its Lease, and tells it to end when it is
// woken. By then the Lease is another's, which sends: to mark it as drained, or to
// release it, would let a third one send the same again.
func TestStaleLeader(t *testing.T) {
	t.Parallel()
	x := newTenantOf(t, newCluster(t))
	x.Timeout = 2 * framework.Timeout
	x.Deliver("first", "is first")
	before, stale := x.lease(), x.Cluster.Leader
	t.Cleanup(stale.Kill)

	x.Must(stale.Signal(syscall.SIGSTOP))
	x.StartLeader()
	x.Eventually("nobody takes the Lease over", func() bool { return holder(x.lease()) != holder(before) })
	x.Deliver("second", "is second") // the new term has begun
	taken := x.lease()
	x.Must(stale.Signal(syscall.SIGTERM))
	x.Must(stale.Signal(syscall.SIGCONT))
	<-stale.Ended()

	x.Deliver("third", "is third")
	after := x.lease()
	if holder(after) != holder(taken) || *after.Spec.LeaseTransitions != *taken.Spec.LeaseTransitions {
		t.Errorf("the Lease of %q has passed to %q, %d transitions later", holder(taken), holder(after),
			*after.Spec.LeaseTransitions-*taken.Spec.LeaseTransitions)
	}
	for _, name := range []string{leadership.DrainedAnnotation, leadership.DrainedExceptAnnotation} {
		if mark, marked := after.Annotations[name]; marked {
			t.Errorf("the Lease of a leader that sends is marked as drained: %s", mark)
		}
	}
}

// lease returns the Lease that the operators share.
func (x *tenant) lease() *coordinationv1.Lease {
	x.Helper()
	l := &coordinationv1.Lease{}
	l.Namespace, l.Name = framework.LeaseNamespace, "teamtalk-operator"
	x.Get(l)
	return l
}

func holder(l *coordinationv1.Lease) string { return ptr.Deref(l.Spec.HolderIdentity, "") }

// TestWithoutCRDs: the operator without its CRDs says what to do, and ends.
func TestWithoutCRDs(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Log: t.Logf})
	x.Must(err)
	t.Cleanup(func() { _ = plane.Stop() })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	x.Must(plane.WriteKubeconfig(kubeconfig))
	var log framework.Log
	operator, err := framework.Start(world.Binary, &log, framework.OperatorArgs(kubeconfig, framework.LeaseNamespace)...)
	x.Must(err)
	if err := operator.AwaitEnd(t); err == nil || !strings.Contains(log.String(), "kubectl apply -k config/crd") {
		t.Errorf("ended with %v and said: %s", err, log.String())
	}
}

// TestStopWithoutRights: an operator that waits for its rights still shuts down in order.
func TestStopWithoutRights(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	kubeconfig, err := world.KubeconfigOf("nobody")
	x.Must(err)
	var log framework.Log
	operator, err := world.StartOperatorWith(nil, &log, "--kubeconfig", kubeconfig)
	x.Must(err)
	t.Cleanup(operator.Kill)
	x.EventuallySeen(func() string { return "it misses no right: " + log.String() }, func() bool {
		return strings.Contains(log.String(), "forbidden")
	})
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	if err := operator.Stop(ctx); err != nil {
		t.Errorf("%v; it said: %s", err, log.String())
	}
}

// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

// tenants counts the tenants of this process: each has ids of its own.
var tenants atomic.Int32

// Tenant is a namespace of one test, with users and groups of its own in a TeamTalk.
type Tenant struct {
	testing.TB
	Cluster   *Cluster
	TeamTalk  *devserver.Server
	Namespace string
	// Bot is the default sender of the tenant's server, Mate another allowed sender.
	Bot, Mate uint32
	// Alice and Bob receive. OnCall has Bot, Alice and Bob as members, Closed has Alice and Bob.
	Alice, Bob, OnCall, Closed uint32
	// Timeout bounds the tenant's waits.
	Timeout time.Duration
}

// NewTenant creates a tenant whose users are in a TeamTalk. Its namespace has no
// TeamTalkServer yet, and the operator may not read Secrets and ConfigMaps there.
func (c *Cluster) NewTenant(t testing.TB, teamtalk *devserver.Server) *Tenant {
	t.Helper()
	n := uint32(tenants.Add(1))
	base := 1000 * n
	x := &Tenant{
		TB: t, Cluster: c, TeamTalk: teamtalk, Namespace: fmt.Sprintf("tenant-%d", n), Timeout: Timeout,
		Bot: base + 1, Mate: base + 2, Alice: base + 3, Bob: base + 4, OnCall: base + 1, Closed: base + 2,
	}
	for _, id := range []uint32{x.Bot, x.Mate, x.Alice, x.Bob} {
		x.Must(teamtalk.AddUser(User(id)))
	}
	x.Must(teamtalk.AddGroup(x.OnCall, "oncall", x.Bot, x.Alice, x.Bob))
	x.Must(teamtalk.AddGroup(x.Closed, "closed", x.Alice, x.Bob))
	x.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.Namespace}})
	x.Must(readSources())
	return x
}

// TeamTalkFor starts a teamtalk-dev for one test, whose faults affect no other test.
func TeamTalkFor(t testing.TB) *devserver.Server {
	t.Helper()
	teamtalk, err := StartTeamTalk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(teamtalk.Stop)
	return teamtalk
}

// GrantOperator lets the operator read the Secrets and ConfigMaps of the tenant.
func (x *Tenant) GrantOperator() {
	x.Helper()
	x.Must(GrantNamespace(x.Context(), x.Cluster.Admin, OperatorUser, x.Namespace))
}

// Grant binds a ClusterRole to a user in the tenant's namespace.
func (x *Tenant) Grant(user, role string) {
	x.Helper()
	x.Create(&rbacv1.RoleBinding{
		ObjectMeta: x.Named(user + "-" + strings.ReplaceAll(role, ":", "-")), Subjects: Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	})
}

// Token returns a token of a service account of the tenant, which it creates if there
// is none.
func (x *Tenant) Token(account string, audiences ...string) string {
	x.Helper()
	token, err := Token(x.Context(), x.Cluster.Admin, x.Namespace, account, audiences...)
	x.Must(err)
	return token
}

// AllowCreate lets a service account create messages in the tenant's namespace.
func (x *Tenant) AllowCreate(account string) {
	x.Helper()
	x.Must(LetCreateMessages(x.Context(), x.Cluster.Admin, x.Namespace, account))
}

// StartLeader starts the operator that the tests of the cluster share.
func (x *Tenant) StartLeader() {
	x.Helper()
	x.Must(x.Cluster.StartLeader())
}

// StopLeader shuts the operator that all tests share down in order.
func (x *Tenant) StopLeader() {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), Timeout)
	defer cancel()
	x.Must(x.Cluster.Leader.Stop(ctx))
}

// Must fails the test on an error.
func (x *Tenant) Must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

// Named is the metadata of an object in the tenant's namespace.
func (x *Tenant) Named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: x.Namespace}
}

// Create creates an object.
func (x *Tenant) Create(o client.Object) {
	x.Helper()
	x.Must(x.Cluster.Admin.Create(x.Context(), o))
}

// Update updates an object.
func (x *Tenant) Update(o client.Object) {
	x.Helper()
	x.Must(x.Cluster.Admin.Update(x.Context(), o))
}

// Delete deletes an object.
func (x *Tenant) Delete(o client.Object) {
	x.Helper()
	x.Must(x.Cluster.Admin.Delete(x.Context(), o))
}

// Get reads an object by its name and namespace.
func (x *Tenant) Get(o client.Object) {
	x.Helper()
	x.Must(x.Cluster.Admin.Get(x.Context(), client.ObjectKeyFromObject(o), o))
}

// List lists objects of the tenant's namespace.
func (x *Tenant) List(list client.ObjectList, options ...client.ListOption) {
	x.Helper()
	x.Must(x.Cluster.Admin.List(x.Context(), list, append(options, client.InNamespace(x.Namespace))...))
}

// Patch applies a merge patch, as `kubectl patch --type=merge` does.
func (x *Tenant) Patch(o client.Object, patch string) {
	x.Helper()
	x.Must(x.TryPatch(o, patch))
}

// TryPatch is Patch where the API server may refuse it. It leaves o as it is.
func (x *Tenant) TryPatch(o client.Object, patch string) error {
	return MergePatch(x.Context(), x.Cluster.Admin, o, "%s", patch)
}

// CreateSecret creates a Secret of the tenant.
func (x *Tenant) CreateSecret(name string, data map[string]string) {
	x.Helper()
	x.Create(&corev1.Secret{ObjectMeta: x.Named(name), StringData: data})
}

// KeySecret is the Secret with the AES key of the tenant's server.
func (x *Tenant) KeySecret(key string) *corev1.Secret {
	return KeySecret(x.Namespace, []byte(key))
}

// KeySecret is the Secret that Server refers to.
func KeySecret(namespace string, key []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "teamtalk", Namespace: namespace}, Data: map[string][]byte{"aesKey": key},
	}
}

// Server is a TeamTalkServer "default", whose key is in KeySecret.
func Server(namespace, dbProxy, router string, sender uint32) *v1alpha1.TeamTalkServer {
	return &v1alpha1.TeamTalkServer{
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DefaultServerName, Namespace: namespace},
		Spec: v1alpha1.TeamTalkServerSpec{
			DBProxy:         v1alpha1.DBProxySpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(dbProxy)}},
			Router:          v1alpha1.RouterSpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(router)}},
			AESKeySecretRef: v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"},
			Senders:         v1alpha1.SendersSpec{Default: v1alpha1.UserID(sender)},
		},
	}
}

// Server is a TeamTalkServer for the tenant's TeamTalk, with times of one second, for fast tests.
func (x *Tenant) Server(edits ...func(*v1alpha1.TeamTalkServer)) *v1alpha1.TeamTalkServer {
	s := Server(x.Namespace, x.TeamTalk.DBProxyAddr(), x.TeamTalk.RouterAddr(), x.Bot)
	lag := int32(1)
	s.Spec.SettleSeconds, s.Spec.MaxReplicaLagSeconds = 1, &lag
	s.Spec.Senders.Allowed = []v1alpha1.UserID{v1alpha1.UserID(x.Mate)}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

// CreateServer creates the tenant's Server and its key.
func (x *Tenant) CreateServer(edits ...func(*v1alpha1.TeamTalkServer)) {
	x.Helper()
	x.Create(x.KeySecret(devserver.DevelopmentKey))
	x.Create(x.Server(edits...))
}

// Unreachable is an edit of a server: nothing listens where its db_proxy should be.
func Unreachable(s *v1alpha1.TeamTalkServer) {
	s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"127.0.0.1:1"}
}

// Message is a message of a text to Alice; edits change it.
func (x *Tenant) Message(name, text string, edits ...func(*v1alpha1.TeamTalkMessage)) *v1alpha1.TeamTalkMessage {
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: x.Named(name),
		Spec: v1alpha1.TeamTalkMessageSpec{
			To:      v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}},
			Content: v1alpha1.Content{Text: &text},
		},
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

// Declare creates a Message, and returns it.
func (x *Tenant) Declare(name, text string, edits ...func(*v1alpha1.TeamTalkMessage)) *v1alpha1.TeamTalkMessage {
	x.Helper()
	m := x.Message(name, text, edits...)
	x.Create(m)
	return m
}

// Deliver creates a Message and waits until it is delivered.
func (x *Tenant) Deliver(name, text string, edits ...func(*v1alpha1.TeamTalkMessage)) *v1alpha1.TeamTalkMessage {
	x.Helper()
	return x.AwaitDelivered(x.Declare(name, text, edits...))
}

// Eventually waits until a condition holds; problem says what is wrong otherwise.
func (x *Tenant) Eventually(problem string, holds func() bool) {
	x.Helper()
	x.EventuallySeen(func() string { return problem }, holds)
}

// EventuallySeen is Eventually with a problem that depends on what was seen last.
func (x *Tenant) EventuallySeen(problem func() string, holds func() bool) {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), x.Timeout)
	defer cancel()
	if err := Await(ctx, "", func(context.Context) (string, bool, error) { return "", holds(), nil }); err != nil {
		x.Fatalf("after %s: %s", x.Timeout, problem())
	}
}

// AwaitObject waits until an object is as wanted, and returns it as it is then.
func AwaitObject[T client.Object](x *Tenant, o T, want string, is func(T) bool) T {
	x.Helper()
	var seen T
	x.EventuallySeen(func() string { return fmt.Sprintf("%s is not %s: %+v", o.GetName(), want, seen) }, func() bool {
		seen = reflect.New(reflect.TypeOf(o).Elem()).Interface().(T)
		x.Must(x.Cluster.Admin.Get(x.Context(), client.ObjectKeyFromObject(o), seen))
		return is(seen)
	})
	return seen
}

// AwaitMessage waits until a message is as wanted, and returns it.
func (x *Tenant) AwaitMessage(
	m *v1alpha1.TeamTalkMessage, want string, is func(*v1alpha1.TeamTalkMessage) bool,
) *v1alpha1.TeamTalkMessage {
	x.Helper()
	return AwaitObject(x, m, want, is)
}

// AwaitDelivered waits until a message is Delivered, and returns it.
func (x *Tenant) AwaitDelivered(m *v1alpha1.TeamTalkMessage) *v1alpha1.TeamTalkMessage {
	x.Helper()
	return x.AwaitMessage(m, "Delivered", func(m *v1alpha1.TeamTalkMessage) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered)
	})
}

// AwaitServer waits until the tenant's server is as wanted.
func (x *Tenant) AwaitServer(want string, is func(*v1alpha1.TeamTalkServer) bool) {
	x.Helper()
	AwaitObject(x, x.Server(), want, is)
}

// Messages returns the messages of the tenant's namespace.
func (x *Tenant) Messages() []v1alpha1.TeamTalkMessage {
	x.Helper()
	list := &v1alpha1.TeamTalkMessageList{}
	x.List(list)
	return list.Items
}

// Rows returns what the store holds from the tenant's senders.
func (x *Tenant) Rows() []devserver.StoredMessage {
	x.Helper()
	return x.RowsFrom(x.Bot, x.Mate)
}

// RowsFrom returns what the store holds from some users.
func (x *Tenant) RowsFrom(senders ...uint32) []devserver.StoredMessage {
	x.Helper()
	all, err := x.TeamTalk.Messages(x.Context())
	x.Must(err)
	return slices.DeleteFunc(all, func(m devserver.StoredMessage) bool { return !slices.Contains(senders, m.From) })
}

// AwaitRows waits until the store holds n messages from the tenant's senders.
func (x *Tenant) AwaitRows(n int) {
	x.Helper()
	x.Eventually(fmt.Sprintf("the store does not hold %d messages", n), func() bool { return len(x.Rows()) == n })
}

// CheckRows checks how many messages the store holds from the tenant's senders, and returns them.
func (x *Tenant) CheckRows(n int) []devserver.StoredMessage {
	x.Helper()
	rows := x.Rows()
	if len(rows) != n {
		x.Errorf("the store holds %d messages, want %d: %+v", len(rows), n, rows)
	}
	return rows
}

// AddFault has the tenant's TeamTalk do something wrong.
func (x *Tenant) AddFault(f devserver.Fault) {
	x.Helper()
	_, err := x.TeamTalk.Faults().Add(f)
	x.Must(err)
}

// Events returns the events about an object of the tenant.
func (x *Tenant) Events(name string) []eventsv1.Event {
	x.Helper()
	list := &eventsv1.EventList{}
	x.List(list)
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.Name != name })
}

// AwaitEvent waits for an event about an object with a reason.
func (x *Tenant) AwaitEvent(name, reason string) {
	x.Helper()
	var seen []eventsv1.Event
	problem := func() string { return fmt.Sprintf("no event %s about %s, only %v", reason, name, seen) }
	x.EventuallySeen(problem, func() bool {
		seen = x.Events(name)
		return slices.ContainsFunc(seen, func(e eventsv1.Event) bool { return e.Reason == reason })
	})
}

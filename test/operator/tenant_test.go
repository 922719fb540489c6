package operator

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// patience bounds every wait: generous, since a loaded machine is no failure.
const patience = 60 * time.Second

var tenants atomic.Int32

// tenant is one test's namespace, with a server that goes to the shared
// teamtalk-dev, and users of its own so that tests do not see each other's messages.
type tenant struct {
	t         testing.TB
	teamtalk  *devserver.Server
	namespace string
	// bot is the default sender, mate another; both are allowed senders.
	bot, mate uint32
	// alice and bob receive; oncall has bot, alice and bob as members, closed has
	// alice and bob alone.
	alice, bob     uint32
	oncall, closed uint32
	// limit is how long this tenant waits for anything.
	limit time.Duration
	// owner is the namespace of a server that this tenant has none of its own.
	owner string
}

func selector(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func newTenant(t testing.TB) *tenant {
	t.Helper()
	return newTenantOf(t, world.TeamTalk)
}

// newTenantOf is newTenant with a TeamTalk of its own, whose faults are no one else's.
func newTenantOf(t testing.TB, teamtalk *devserver.Server) *tenant {
	t.Helper()
	x := newTenantWithoutAccess(t, teamtalk)
	x.must(framework.GrantNamespace(t.Context(), world.Admin, framework.OperatorUser, x.namespace))
	return x
}

// newTenantWithoutAccess is a tenant whose namespace the operator may not read.
func newTenantWithoutAccess(t testing.TB, teamtalk *devserver.Server) *tenant {
	t.Helper()
	n := uint32(tenants.Add(1))
	base := 1000 * n
	x := &tenant{
		t: t, teamtalk: teamtalk, limit: patience, namespace: fmt.Sprintf("tenant-%d", n),
		bot: base + 1, mate: base + 2, alice: base + 3, bob: base + 4, oncall: base + 1, closed: base + 2,
	}
	for _, id := range []uint32{x.bot, x.mate, x.alice, x.bob} {
		x.must(teamtalk.AddUser(devserver.NewUser(id, fmt.Sprintf("nick%d", id), fmt.Sprintf("user%d", id))))
	}
	x.must(teamtalk.AddGroup(x.oncall, "oncall", x.bot, x.alice, x.bob))
	x.must(teamtalk.AddGroup(x.closed, "closed", x.alice, x.bob))
	x.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.namespace}})
	return x
}

// within returns the tenant with another limit.
func (x *tenant) within(limit time.Duration) *tenant {
	y := *x
	y.limit = limit
	return &y
}

// withServer adds the key's Secret and the server "default".
func (x *tenant) withServer(edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	x.t.Helper()
	x.create(x.secret(devserver.DevelopmentKey))
	x.create(x.server(edits...))
	return x
}

func (x *tenant) secret(key string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "teamtalk", Namespace: x.namespace},
		Data:       map[string][]byte{"aesKey": []byte(key)},
	}
}

func (x *tenant) server(edits ...func(*v1alpha1.TeamTalkServer)) *v1alpha1.TeamTalkServer {
	lag := int32(1)
	s := &v1alpha1.TeamTalkServer{
		ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: x.namespace},
		Spec: v1alpha1.TeamTalkServerSpec{
			DBProxy:         v1alpha1.DBProxySpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(x.teamtalk.DBProxyAddr())}},
			Router:          v1alpha1.RouterSpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(x.teamtalk.RouterAddr())}},
			AESKeySecretRef: v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"},
			Senders: v1alpha1.SendersSpec{
				Default: v1alpha1.UserID(x.bot), Allowed: []v1alpha1.UserID{v1alpha1.UserID(x.mate)},
			},
			SettleSeconds: 1, MaxReplicaLagSeconds: &lag,
		},
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

// message returns a message of a text to users; edits make it another.
func (x *tenant) message(name, text string, edits ...func(*v1alpha1.TeamTalkMessage)) *v1alpha1.TeamTalkMessage {
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: x.namespace},
		Spec: v1alpha1.TeamTalkMessageSpec{
			To:      v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.alice)}},
			Content: v1alpha1.Content{Text: &text},
		},
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

func (x *tenant) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *tenant) create(o client.Object) {
	x.t.Helper()
	x.must(world.Admin.Create(x.t.Context(), o))
}

// eventually waits for a condition; what says what was last seen.
func (x *tenant) eventually(within time.Duration, what func() string, condition func(context.Context) (bool, error)) {
	x.t.Helper()
	if err := wait.PollUntilContextTimeout(x.t.Context(), 20*time.Millisecond, within, true, condition); err != nil {
		x.t.Fatalf("%v after %s: %s", err, within, what())
	}
}

// await waits until the message's status is as wanted, and returns it.
func (x *tenant) await(m *v1alpha1.TeamTalkMessage, want string, is func(*v1alpha1.TeamTalkMessage) bool) *v1alpha1.TeamTalkMessage {
	x.t.Helper()
	seen := &v1alpha1.TeamTalkMessage{}
	x.eventually(x.limit,
		func() string { return fmt.Sprintf("%s is not %s: %+v", m.Name, want, seen.Status) },
		func(ctx context.Context) (bool, error) {
			err := world.Admin.Get(ctx, client.ObjectKeyFromObject(m), seen)
			return err == nil && is(seen), err
		})
	return seen
}

func (x *tenant) awaitDelivered(m *v1alpha1.TeamTalkMessage) *v1alpha1.TeamTalkMessage {
	x.t.Helper()
	return x.await(m, "Delivered", func(m *v1alpha1.TeamTalkMessage) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered)
	})
}

// rows returns what the store holds from this tenant's senders.
func (x *tenant) rows() []devserver.StoredMessage {
	x.t.Helper()
	all, err := x.teamtalk.Messages(x.t.Context())
	x.must(err)
	var own []devserver.StoredMessage
	for _, m := range all {
		if m.From == x.bot || m.From == x.mate {
			own = append(own, m)
		}
	}
	return own
}

// awaitEvent waits for an event about the object with the reason.
func (x *tenant) awaitEvent(name, reason string) {
	x.t.Helper()
	var seen []string
	x.eventually(patience,
		func() string {
			return fmt.Sprintf("no event %s about %s, only %s", reason, name, strings.Join(seen, ", "))
		},
		func(ctx context.Context) (bool, error) {
			list := &eventsv1.EventList{}
			if err := world.Admin.List(ctx, list, client.InNamespace(x.namespace)); err != nil {
				return false, err
			}
			seen = nil
			for _, e := range list.Items {
				if e.Regarding.Name == name {
					seen = append(seen, e.Reason)
					if e.Reason == reason {
						return true, nil
					}
				}
			}
			return false, nil
		})
}

type storedMessage = devserver.StoredMessage

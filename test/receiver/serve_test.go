package receiver

import (
	"context"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// serving is a process of a test's own that serves receivers.
type serving struct {
	x       *tenant
	address string
	args    []string
	process *framework.Process
}

// serve starts one, which ends with the test.
func (x *tenant) serve(args ...string) *serving {
	x.t.Helper()
	address, err := freeAddress()
	x.must(err)
	s := &serving{x: x, address: address, args: args}
	s.start()
	if c, ok := x.t.(interface{ Cleanup(func()) }); ok {
		c.Cleanup(func() { s.process.Kill() })
	}
	return s
}

// start starts it, again at the same address, and waits until it listens.
func (s *serving) start() {
	s.x.t.Helper()
	var err error
	s.process, err = startGateway(s.address, s.args...)
	s.x.must(err)
	s.x.must(listening(s.x.t.Context(), s.process, s.address))
}

// throughProxy starts one behind an API server that fails on demand.
func (x *tenant) throughProxy(t testing.TB, args ...string) (*serving, *apiproxy.Proxy) {
	t.Helper()
	cfg, err := world.Plane.User(gatewayUser)
	x.must(err)
	api, err := apiproxy.Start(t.Context(), cfg)
	x.must(err)
	t.Cleanup(api.Stop)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	x.must(framework.WriteKubeconfig(file, api.Config()))
	return x.serve(append(args, "--kubeconfig", file)...), api
}

// serveByOperator starts a replica of the operator that serves receivers, with the
// operator's rights and those that it is bound to in the tenant's namespace.
func (x *tenant) serveByOperator(t *testing.T) *serving {
	t.Helper()
	for _, role := range []string{"teamtalk-gateway", "teamtalk-operator-receiver"} {
		x.create(&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role, Namespace: x.namespace},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: framework.OperatorUser}},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		})
	}
	address, err := freeAddress()
	x.must(err)
	s := &serving{x: x, address: address}
	s.process, err = startOperator("--gateway-bind-address", address, "--gateway-namespace", x.namespace)
	x.must(err)
	t.Cleanup(s.process.Kill)
	x.must(listening(t.Context(), s.process, address))
	return s
}

// until makes a condition of a function.
func (x *tenant) until(is func() bool) func(context.Context) (bool, error) {
	return func(context.Context) (bool, error) { return is(), nil }
}

// reads makes a condition that reads a receiver first.
func (x *tenant) reads(r *v1alpha1.TeamTalkReceiver, is func() bool) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		// Read into an empty one: what is absent would stay.
		fresh := &v1alpha1.TeamTalkReceiver{}
		if err := world.Admin.Get(ctx, client.ObjectKeyFromObject(r), fresh); err != nil {
			return false, err
		}
		*r = *fresh
		return is(), nil
	}
}

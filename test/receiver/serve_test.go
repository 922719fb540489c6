// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"path/filepath"
	"testing"

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
	x.Helper()
	address := x.freeAddress()
	s := &serving{x: x, address: address, args: args}
	s.start()
	x.Cleanup(func() { s.process.Kill() })
	return s
}

// start starts it, again at the same address, and waits until it listens.
func (s *serving) start() {
	s.x.Helper()
	var err error
	s.process, err = startGateway(s.address, s.args...)
	s.x.Must(err)
	s.x.Must(s.process.AwaitListening(s.x.Context(), s.address))
}

// throughProxy starts one behind an API server that fails on demand.
func (x *tenant) throughProxy(t testing.TB, args ...string) (*serving, *apiproxy.Proxy) {
	t.Helper()
	cfg, err := world.Plane.User(gatewayUser)
	x.Must(err)
	api, err := apiproxy.Start(t.Context(), cfg)
	x.Must(err)
	t.Cleanup(api.Stop)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	x.Must(framework.WriteKubeconfig(file, api.Config()))
	return x.serve(append(args, "--kubeconfig", file)...), api
}

// serveByOperator starts a replica of the operator that serves receivers, with the
// operator's rights and those that it is bound to in the tenant's namespace.
func (x *tenant) serveByOperator(t *testing.T) *serving {
	t.Helper()
	for _, role := range []string{"teamtalk-gateway", "teamtalk-operator-receiver"} {
		x.Grant(framework.OperatorUser, role)
	}
	address := x.freeAddress()
	s := &serving{x: x, address: address}
	var err error
	s.process, err = world.StartOperator("--gateway-bind-address", address, "--gateway-namespace", x.Namespace)
	x.Must(err)
	t.Cleanup(s.process.Kill)
	x.Must(s.process.AwaitListening(t.Context(), address))
	return s
}

func (x *tenant) freeAddress() string {
	x.Helper()
	addresses, err := framework.FreeAddresses(1)
	x.Must(err)
	return addresses[0]
}

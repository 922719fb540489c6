// SPDX-License-Identifier: Apache-2.0

// Package observability tests the metrics of the operator, without fakes. A real Prometheus scrapes real operators and
// a gateway with TLS and a token, and its values are compared with the deliveries.
package observability

import (
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/otlp"
)

// namespace is where the TeamTalkServer and its messages are.
const namespace = "chat"

// chat is the tenant that all tests share.
func chat(t testing.TB) *framework.Tenant {
	return &framework.Tenant{TB: t, Cluster: world.Cluster, TeamTalk: world.TeamTalk, Namespace: namespace, Timeout: framework.Timeout}
}

// world is what all tests share.
var world struct {
	*framework.Cluster
	// certs holds tls.crt and tls.key of /metrics. client trusts them.
	certs  string
	client *http.Client
	// scraper and outsider are tokens; only the first may read /metrics.
	scraper, outsider string
	leader, standby   *operator
	gateway           *gateway
	collector         *otlp.Receiver
}

// operator is a running operator process.
type operator struct {
	*framework.Process
	metrics, health, pprof string
}

func TestMain(m *testing.M) {
	framework.Suite{Setup: func(ctx context.Context, c *framework.Cluster) error {
		return framework.Try(func() { setup(ctx, c) })
	}}.RunTests(m)
}

func setup(ctx context.Context, c *framework.Cluster) {
	world.Cluster = c
	createAccounts(ctx)
	createCertificate()
	world.collector = otlp.Start()
	c.Cleanup(world.collector.Stop)
	createServer(ctx)
	for _, o := range []**operator{&world.leader, &world.standby} {
		*o = startOperator(ctx)
	}
	world.gateway = startGateway(ctx)
}

// startOperator starts an operator and waits until it is ready: the first one leads.
func startOperator(ctx context.Context) *operator {
	addresses := framework.MustGet(framework.FreeAddresses(3))
	o := &operator{metrics: addresses[0], health: addresses[1], pprof: addresses[2]}
	exportDelay := []string{"OTEL_BSP_SCHEDULE_DELAY=100"} // milliseconds
	o.Process = framework.MustGet(world.StartOperatorWith(exportDelay, &world.Log, "--log-format", "json", "--log-level", "info",
		"--health-probe-bind-address", o.health, "--pprof-bind-address", o.pprof,
		"--metrics-bind-address", o.metrics, "--metrics-cert-path", world.certs,
		"--otlp-endpoint", world.collector.URL()))
	world.Cleanup(o.Kill)
	framework.Must(o.AwaitOK(ctx, "http://"+o.health+"/readyz"))
	framework.Must(o.AwaitListening(ctx, o.pprof))
	ctx, cancel := context.WithTimeout(ctx, framework.Timeout)
	defer cancel()
	framework.Must(framework.Await(ctx, "the first operator alone leads", func(ctx context.Context) (string, bool, error) {
		return "", (world.leader == nil) == leads(ctx, o), nil
	}))
	return o
}

// leads reports whether an operator says that it does.
func leads(ctx context.Context, o *operator) bool {
	_, body, err := get(ctx, "https://"+o.metrics+"/metrics", world.scraper)
	return err == nil && strings.Contains(body, "teamtalk_operator_leader 1\n")
}

// createAccounts creates two service accounts, one of which may read /metrics.
func createAccounts(ctx context.Context) {
	framework.Must(framework.ApplyRoles(ctx, world.Admin, "", "metrics_reader_role.yaml"))
	framework.Must(world.Admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}}))
	world.scraper = framework.MustGet(framework.Token(ctx, world.Admin, "monitoring", "prometheus"))
	world.outsider = framework.MustGet(framework.Token(ctx, world.Admin, "monitoring", "outsider"))
	framework.Must(world.Admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "monitoring", Name: "prometheus"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "teamtalk-operator-metrics-reader"},
	}))
}

// createCertificate creates a certificate for loopback, and a client that trusts it.
func createCertificate() {
	world.certs = filepath.Join(world.Dir, "certs")
	framework.Must(os.Mkdir(world.certs, 0o700))
	trusted := framework.MustGet(framework.WriteCertificate(world.certs, "127.0.0.1"))
	world.client = &http.Client{Timeout: framework.Timeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
}

// get asks for a page, with a bearer token if there is one.
func get(ctx context.Context, address, token string) (status int, body string, err error) {
	var headers []string
	if token != "" {
		headers = []string{"Authorization", "Bearer " + token}
	}
	answer, body, err := framework.Ask(ctx, world.client, http.MethodGet, address, "", headers...)
	if err != nil {
		return 0, "", err
	}
	return answer.StatusCode, body, nil
}

// createServer creates the TeamTalkServer.
func createServer(ctx context.Context) {
	framework.Must(framework.CreateNamespace(ctx, world.Admin, framework.OperatorUser, namespace))
	server := framework.Server(namespace, world.TeamTalk.DBProxyAddr(), world.TeamTalk.RouterAddr(), 1)
	server.Spec.SettleSeconds, server.Spec.MaxReplicaLagSeconds = 1, new(int32(1))
	framework.Must(world.Admin.Create(ctx, framework.KeySecret(namespace, []byte(devserver.DevelopmentKey))))
	framework.Must(world.Admin.Create(ctx, server))
}

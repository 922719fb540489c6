// Package observability tests what shows the operator from outside, with nothing
// faked: a real Prometheus scrapes real operators and a gateway with TLS and a token,
// and what it knows is compared with what was delivered.
package observability

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/otlp"
)

// patience bounds every wait: generous, since a loaded machine is no failure.
const patience = 90 * time.Second

// namespace is where the TeamTalkServer and its messages are.
const namespace = "chat"

// world is what all tests share.
var world struct {
	*framework.Cluster
	// certs holds tls.crt and tls.key of /metrics; ca verifies them.
	certs, ca string
	// scraper and outsider are tokens; only the first may read /metrics.
	scraper, outsider string
	leader, standby   *operator
	gateway           *gateway
	log               framework.Log
	collector         *otlp.Receiver
}

// operator is a running operator process.
type operator struct {
	*framework.Process
	metrics, health, pprof string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "the operators' log:\n%s", world.log.String())
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	if world.Cluster, err = framework.StartCluster(ctx); err != nil {
		return 1, err
	}
	defer world.Stop()
	if err := accounts(ctx); err != nil {
		return 1, err
	}
	if err := certificate(); err != nil {
		return 1, err
	}
	if world.collector, err = otlp.Start(ctx); err != nil {
		return 1, err
	}
	defer world.collector.Stop()
	if err := connect(ctx); err != nil {
		return 1, err
	}
	for _, o := range []**operator{&world.leader, &world.standby} {
		if *o, err = start(ctx); err != nil {
			return 1, err
		}
		defer (*o).Kill()
	}
	if world.gateway, err = startGateway(ctx); err != nil {
		return 1, err
	}
	defer world.gateway.Kill()
	return m.Run(), nil
}

// start starts an operator and waits until it is ready: the first one leads.
func start(ctx context.Context) (*operator, error) {
	addresses, err := framework.FreeAddresses(3)
	if err != nil {
		return nil, err
	}
	o := &operator{metrics: addresses[0], health: addresses[1], pprof: addresses[2]}
	soon := []string{"OTEL_BSP_SCHEDULE_DELAY=100"} // milliseconds
	o.Process, err = world.StartOperatorWith(soon, &world.log, "--log-format", "json",
		"--health-probe-bind-address", o.health, "--pprof-bind-address", o.pprof,
		"--metrics-bind-address", o.metrics, "--metrics-cert-path", world.certs,
		"--otlp-endpoint", world.collector.URL())
	if err != nil {
		return nil, err
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		select {
		case <-o.Ended():
			return false, fmt.Errorf("an operator has ended: %w", o.Err())
		default:
		}
		status, _, err := get(ctx, "http://"+o.health+"/readyz", "")
		return err == nil && status == 200 && (world.leader == nil) == leads(ctx, o), nil
	})
	if err != nil {
		o.Kill()
		return nil, fmt.Errorf("wait until an operator is ready: %w", err)
	}
	return o, nil
}

// leads reports whether an operator says that it does.
func leads(ctx context.Context, o *operator) bool {
	_, body, err := get(ctx, "https://"+o.metrics+"/metrics", world.scraper)
	return err == nil && strings.Contains(body, "teamtalk_operator_leader 1\n")
}

// accounts makes two service accounts, one of which may read /metrics.
func accounts(ctx context.Context) error {
	roles, err := framework.Read(filepath.Join(world.Root, "config", "rbac", "metrics_reader_role.yaml"))
	if err != nil {
		return err
	}
	if err := framework.Apply(ctx, world.Admin, roles...); err != nil {
		return err
	}
	if err := world.Admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "monitoring"}}); err != nil {
		return err
	}
	for name, token := range map[string]*string{"prometheus": &world.scraper, "outsider": &world.outsider} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "monitoring"}}
		if err := world.Admin.Create(ctx, account); err != nil {
			return err
		}
		request := &authenticationv1.TokenRequest{}
		if err := world.Admin.SubResource("token").Create(ctx, account, request); err != nil {
			return fmt.Errorf("ask for a token: %w", err)
		}
		*token = request.Status.Token
	}
	return world.Admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "monitoring", Name: "prometheus"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: roles[0].GetName()},
	})
}

// certificate makes one for loopback, which verifies itself.
func certificate() error {
	cert, key, err := certutil.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		return err
	}
	world.certs = filepath.Join(world.Dir, "certs")
	world.ca = filepath.Join(world.certs, "tls.crt")
	if err := os.Mkdir(world.certs, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(world.ca, cert, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(world.certs, "tls.key"), key, 0o600)
}

// connect makes the TeamTalkServer.
func connect(ctx context.Context) error {
	lag := int32(1)
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "teamtalk", Namespace: namespace},
			Data:       map[string][]byte{"aesKey": []byte(devserver.DevelopmentKey)},
		},
		&v1alpha1.TeamTalkServer{
			ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: namespace},
			Spec: v1alpha1.TeamTalkServerSpec{
				DBProxy:         v1alpha1.DBProxySpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(world.TeamTalk.DBProxyAddr())}},
				Router:          v1alpha1.RouterSpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(world.TeamTalk.RouterAddr())}},
				AESKeySecretRef: v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"},
				Senders:         v1alpha1.SendersSpec{Default: 1},
				SettleSeconds:   1, MaxReplicaLagSeconds: &lag,
			},
		},
	} {
		if err := world.Admin.Create(ctx, o); err != nil {
			return err
		}
	}
	return framework.GrantNamespace(ctx, world.Admin, framework.OperatorUser, namespace)
}

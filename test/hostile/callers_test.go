// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	appKeysSecret = "teamtalk-app-keys"
	appKey        = "an-app-key-of-some-length"
	// hostileAddresses is how many addresses a hostile caller has.
	hostileAddresses = 8
	// largestBody is the limit of a body.
	largestBody = 1 << 20
)

// TestCallersWithoutCredentials has callers that nobody knows fill the gateway with connections and bodies, from one
// address and from several. Others are served meanwhile, and the process stays below its limit of memory.
func TestCallersWithoutCredentials(t *testing.T) {
	gatewayLimit, err := framework.MemoryLimit("gateway")
	if err != nil {
		t.Fatal(err)
	}
	operatorLimit, err := framework.MemoryLimit()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		start func(testing.TB, *framework.Tenant) (*framework.Process, string)
		limit int64
	}{
		"in pods of its own":        {startGateway, gatewayLimit},
		"in the operator's process": {startServingOperator, operatorLimit},
		"as a sidecar":              {startSidecar, sidecarLimit(t)},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTenant(t, world.TeamTalk)
			x.CreateServer()
			x.CreateSecret(appKeysSecret, map[string]string{
				"app": fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d]\n", appKey, x.Namespace, x.Bot),
			})
			process, address := tc.start(t, x)
			for _, a := range attacks(x.Namespace) {
				release := a.begin(t, address)
				began := time.Now()
				for _, from := range []string{"127.0.0.1", hostileAddress(0)} {
					if err := send(t.Context(), x, address, from); err != nil {
						t.Errorf("%s: a caller at %s: %v", a.name, from, err)
					}
				}
				took := time.Since(began)
				release()
				memory, err := process.Memory()
				x.Must(err)
				t.Logf("%s: others are answered within %s, memory: %s", a.name, took, memory)
			}
			memory, err := process.Memory()
			x.Must(err)
			if memory.Peak > tc.limit {
				t.Errorf("it has held %s, want at most %d MiB", memory, tc.limit>>20)
			}
		})
	}
}

// attack is what a hostile caller does on many connections at once.
type attack struct {
	name                   string
	connections, addresses int
	request                string
}

func attacks(namespace string) []attack {
	post := func(path, headers, body string, announced int) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", path, headers, announced, body)
	}
	const message = "/query/SendSingleMessage"
	alerts := "/v1/receivers/" + namespace + "/alerts"
	signature := "X-Signature: sha256=" + strings.Repeat("0", 64) + "\r\n"
	fields := `{"app_key":"unknown-key-of-some-length"` + strings.Repeat(`,"abcd":1`, largestBody/9-8)
	almost := fields + strings.Repeat(" ", largestBody-1-len(fields))
	return []attack{
		{"silent connections", 4096, 1, ""},
		{"idle connections", 4096, 1, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{"slow headers", 2048, hostileAddresses, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 60<<10)},
		{"slow small bodies", 2048, hostileAddresses, post(message, "", "{", 4096)},
		{"slow bodies", 400, hostileAddresses, post(message, "", almost, largestBody)},
		{"slow bodies to a receiver", 400, hostileAddresses, post(alerts, "", almost, largestBody)},
		{"slow signed bodies to a receiver", 400, hostileAddresses, post(alerts, signature, almost, largestBody)},
		{"bodies of many fields", 400, hostileAddresses, post(message, "", almost+"}", largestBody)},
	}
}

// stalled is how long nothing more of an attack is read before it counts as begun.
const stalled = time.Second

// begin opens the connections and sends what the attack does on each, until all of it is sent or no more is read.
// release closes them.
func (a *attack) begin(t testing.TB, address string) (release func()) {
	t.Helper()
	var mu sync.Mutex
	var all []net.Conn
	var sending sync.WaitGroup
	var sent atomic.Int64
	request := []byte(a.request)
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	err := framework.Parallel(ctx, 64, a.connections, func(ctx context.Context, i int) {
		c, err := dialFrom(ctx, hostileAddress(i%a.addresses), address)
		if err != nil {
			return // it may be over a limit
		}
		mu.Lock()
		all = append(all, c)
		mu.Unlock()
		sending.Go(func() {
			for rest := range slices.Chunk(request, 64<<10) {
				n, err := c.Write(rest)
				if sent.Add(int64(n)); err != nil {
					return // it may be closed meanwhile
				}
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		sending.Wait()
		close(done)
	}()
	for before := int64(-1); before != sent.Load(); {
		before = sent.Load()
		select {
		case <-done:
		case <-time.After(stalled):
		}
	}
	return func() {
		for _, c := range all {
			_ = c.Close()
		}
		<-done
	}
}

// hostileAddress is one of a hostile caller's.
func hostileAddress(i int) string { return fmt.Sprint("127.0.0.", 2+i) }

func dialFrom(ctx context.Context, from, address string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: framework.Timeout}
	return d.DialContext(ctx, "tcp", address)
}

// send sends a message as a caller with an app key, from an address, and returns an error unless it is recorded.
func send(ctx context.Context, x *framework.Tenant, address, from string) error {
	ctx, cancel := context.WithTimeout(ctx, framework.Timeout)
	defer cancel()
	c, err := dialFrom(ctx, from, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(framework.Timeout))
	body := fmt.Sprintf(`{"app_key":%q,"from_user_id":%d,"session_id":%d,"msg":"hello"}`, appKey, x.Bot, x.Alice)
	_, err = fmt.Fprintf(c, "POST /query/SendSingleMessage?wait=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s",
		len(body), body)
	if err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("status %d: %s", response.StatusCode, text)
	}
	return err
}

// startGateway starts a gateway in record mode that accepts app keys, with the rights of its roles.
func startGateway(t testing.TB, x *framework.Tenant) (process *framework.Process, address string) {
	t.Helper()
	user := "gateway-" + x.Namespace
	grantGateway(x, user)
	kubeconfig, err := world.KubeconfigOf(user)
	x.Must(err)
	addresses, err := framework.FreeAddresses(1)
	x.Must(err)
	process, err = framework.Start(world.Binary, &world.Log, "gateway", "--kubeconfig", kubeconfig, "--namespace", x.Namespace,
		"--app-keys-secret", appKeysSecret, "--bind-address", addresses[0], "--health-probe-bind-address", "0")
	x.Must(err)
	t.Cleanup(process.Kill)
	x.Must(process.AwaitOK(t.Context(), "http://"+addresses[0]+"/readyz"))
	return process, addresses[0]
}

// sidecarSample returns the container of the sample of a sidecar.
func sidecarSample(t testing.TB) corev1.Container {
	t.Helper()
	root, err := framework.Root()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := framework.Read(filepath.Join(root, "config", "samples", "gateway", "sidecar.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		d := &appsv1.Deployment{}
		if o.GetKind() != "Deployment" {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, d); err != nil {
			t.Fatal(err)
		}
		return d.Spec.Template.Spec.InitContainers[0]
	}
	t.Fatal("the sample has no Deployment")
	return corev1.Container{}
}

func sidecarLimit(t testing.TB) int64 {
	t.Helper()
	limit := sidecarSample(t).Resources.Limits[corev1.ResourceMemory]
	return limit.Value()
}

// startSidecar starts a gateway as the sample of a sidecar does, with the rights that it has there. It admits everybody.
func startSidecar(t testing.TB, x *framework.Tenant) (process *framework.Process, address string) {
	t.Helper()
	user := "sidecar-" + x.Namespace
	x.Must(framework.ApplyRoles(x.Context(), world.Admin, x.Namespace, "gateway_role.yaml"))
	x.Grant(user, "teamtalk-gateway")
	kubeconfig, err := world.KubeconfigOf(user)
	x.Must(err)
	addresses, err := framework.FreeAddresses(1)
	x.Must(err)
	args := append(sidecarSample(t).Args, "--kubeconfig", kubeconfig, "--namespace", x.Namespace,
		"--bind-address", addresses[0], "--health-probe-bind-address", "0")
	process, err = framework.Start(world.Binary, &world.Log, args...)
	x.Must(err)
	t.Cleanup(process.Kill)
	x.Must(process.AwaitOK(t.Context(), "http://"+addresses[0]+"/readyz"))
	return process, addresses[0]
}

// startServingOperator starts an operator that serves the gateway.
func startServingOperator(t testing.TB, x *framework.Tenant) (process *framework.Process, address string) {
	t.Helper()
	grantGateway(x, framework.OperatorUser)
	x.GrantOperator()
	addresses, err := framework.FreeAddresses(1)
	x.Must(err)
	process = startOperator(t, "--gateway-bind-address", addresses[0], "--gateway-namespace", x.Namespace,
		"--gateway-app-keys-secret", appKeysSecret)
	x.Must(process.AwaitOK(t.Context(), "http://"+addresses[0]+"/readyz"))
	return process, addresses[0]
}

// grantGateway gives a user the rights of a gateway with app keys and receivers in the tenant's namespace.
func grantGateway(x *framework.Tenant, user string) {
	x.Helper()
	x.Must(framework.ApplyRoles(x.Context(), world.Admin, x.Namespace, "gateway_role.yaml", "receiver_role.yaml"))
	x.Grant(user, "teamtalk-gateway")
	x.Grant(user, "teamtalk-operator-receiver")
	x.Create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-callers-" + x.Namespace}, Subjects: framework.Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
	})
	x.Create(&rbacv1.RoleBinding{
		ObjectMeta: x.Named(user + "-app-keys"), Subjects: framework.Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "teamtalk-gateway-app-keys"},
	})
	receiver := &v1alpha1.TeamTalkReceiver{ObjectMeta: x.Named("alerts")}
	receiver.Spec.Type = v1alpha1.ReceiverGeneric
	receiver.Spec.To.Users = []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}
	receiver.Spec.Authentication = &v1alpha1.ReceiverAuthentication{
		HMACSecretRef: &v1alpha1.HMACSecretRef{TokenSecretRef: v1alpha1.TokenSecretRef{Name: "signature", Key: "token"}},
	}
	x.CreateSecret("signature", map[string]string{"token": "a-secret-token"})
	x.Create(receiver)
}

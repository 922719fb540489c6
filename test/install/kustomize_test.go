// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestDefault applies config/default and config/gateway to an empty cluster, and runs the
// programs as their Deployments would.
func TestDefault(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	objects := kustomize(t, "default")
	// In the order of "kubectl apply".
	must(t, framework.Apply(t.Context(), c.admin, objects...))
	must(t, framework.InstallCRDs(t.Context(), c.admin, filepath.Join(shared.root, "config", "crd", "bases")))
	must(t, framework.Apply(t.Context(), c.admin, kustomize(t, "gateway")...))
	operator, gateway := &appsv1.Deployment{}, &appsv1.Deployment{}
	must(t, c.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, operator))
	must(t, c.admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "teamtalk-gateway"}, gateway))
	dir := t.TempDir()
	binary, err := framework.Build(t.Context(), name, dir, framework.RaceFlags...)
	must(t, err)

	t.Run("its pods pass restricted Pod Security", func(t *testing.T) { c.checkPodSecurity(t, operator, gateway) })
	t.Run("it may do what it must and no more", func(t *testing.T) { c.checkRights(t) })
	t.Run("it delivers", func(t *testing.T) { c.checkDelivers(t, binary, operator) })
	t.Run("the gateway becomes ready", func(t *testing.T) { c.checkGateway(t, binary, gateway) })
	t.Run("it serves receivers where it is bound", func(t *testing.T) { c.checkReceivers(t, binary, gateway) })

	must(t, framework.Apply(t.Context(), c.admin, kustomize(t, "gateway-direct")...))
	must(t, c.admin.Get(t.Context(), client.ObjectKeyFromObject(gateway), gateway))
	t.Run("in direct mode it passes restricted Pod Security", func(t *testing.T) { c.checkPodSecurity(t, gateway) })
	t.Run("in direct mode it reads keys where it is bound", func(t *testing.T) {
		c.checkAllowed(t, map[string]access{
			"a key of its namespace": {gatewayAccount, "get", "", "secrets", namespace, "teamtalk", true},
			"servers":                {gatewayAccount, "list", "teamtalk.io", "teamtalkservers", "", "", true},
			"a key elsewhere":        {gatewayAccount, "get", "", "secrets", "chat", "teamtalk", false},
			"all Secrets":            {gatewayAccount, "list", "", "secrets", "", "", false},
			"to write a Secret":      {gatewayAccount, "update", "", "secrets", namespace, "teamtalk", false},
			"to write a server":      {gatewayAccount, "update", "teamtalk.io", "teamtalkservers", namespace, "default", false},
		})
	})
	t.Run("in direct mode it becomes ready", func(t *testing.T) { c.checkGateway(t, binary, gateway) })
}

// TestSamples applies the samples to a cluster with the CRDs.
func TestSamples(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	must(t, c.InstallCRDs(filepath.Join(shared.root, "config", "crd", "bases")))
	must(t, framework.Apply(t.Context(), c.admin, kustomize(t, "samples")...))
}

func kustomize(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := framework.Kustomize(filepath.Join(shared.root, "config", folder))
	must(t, err)
	return objects
}

func (c *cluster) checkPodSecurity(t *testing.T, deployments ...*appsv1.Deployment) {
	for _, deployment := range deployments {
		create := func(edit func(*corev1.PodSpec)) error {
			template := deployment.Spec.Template
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "try-", Namespace: namespace, Labels: template.Labels},
				Spec:       *template.Spec.DeepCopy(),
			}
			edit(&pod.Spec)
			return c.admin.Create(t.Context(), pod, client.DryRunAll)
		}
		if err := create(func(*corev1.PodSpec) {}); err != nil {
			t.Error(err)
		}
		err := create(func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.AllowPrivilegeEscalation = ptr.To(true) })
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodSecurity") {
			t.Errorf("a pod with privileges is not refused: %v", err)
		}
	}
}

// gatewayAccount is the gateway's user.
const gatewayAccount = "system:serviceaccount:" + namespace + ":teamtalk-gateway"

// access is a request that a user may or may not make.
type access struct {
	user, verb, group, resource, namespace, name string
	want                                         bool
}

func (c *cluster) checkRights(t *testing.T) {
	const operator, gateway = "system:serviceaccount:" + namespace + ":" + name, gatewayAccount
	must(t, c.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "chat"}}))
	for _, role := range []string{"viewer", "editor"} {
		must(t, framework.Apply(t.Context(), c.admin, binding("chat", name+"-teamtalkmessage-"+role, role)))
	}
	c.checkAllowed(t, map[string]access{
		"a Secret of its namespace":         {operator, "get", "", "secrets", namespace, "teamtalk", true},
		"a Secret elsewhere":                {operator, "get", "", "secrets", "chat", "teamtalk", false},
		"all Secrets":                       {operator, "list", "", "secrets", "", "", false},
		"to watch all Secrets":              {operator, "watch", "", "secrets", "", "", false},
		"to write Secrets":                  {operator, "update", "", "secrets", namespace, "teamtalk", false},
		"a ConfigMap of its namespace":      {operator, "get", "", "configmaps", namespace, "notice", true},
		"a ConfigMap elsewhere":             {operator, "get", "", "configmaps", "chat", "notice", false},
		"messages":                          {operator, "list", "teamtalk.io", "teamtalkmessages", "", "", true},
		"to write messages":                 {operator, "create", "teamtalk.io", "teamtalkmessages", "chat", "", false},
		"to write statuses":                 {operator, "update", "teamtalk.io", "teamtalkmessages/status", "chat", "m", true},
		"to write servers":                  {operator, "update", "teamtalk.io", "teamtalkservers", "chat", "default", false},
		"its Lease":                         {operator, "update", "coordination.k8s.io", "leases", namespace, name, true},
		"another's Lease":                   {operator, "update", "coordination.k8s.io", "leases", namespace, "other", false},
		"pods":                              {operator, "list", "", "pods", namespace, "", false},
		"roles":                             {operator, "create", "rbac.authorization.k8s.io", "roles", namespace, "", false},
		"the gateway writes messages":       {gateway, "create", "teamtalk.io", "teamtalkmessages", namespace, "", true},
		"the gateway, elsewhere":            {gateway, "create", "teamtalk.io", "teamtalkmessages", "chat", "", false},
		"the gateway reads no key":          {gateway, "get", "", "secrets", namespace, "teamtalk", false},
		"the gateway reads no server":       {gateway, "get", "teamtalk.io", "teamtalkservers", namespace, "default", false},
		"the gateway asks about tokens":     {gateway, "create", "authentication.k8s.io", "tokenreviews", "", "", true},
		"a viewer sees messages":            {"viewer", "list", "teamtalk.io", "teamtalkmessages", "chat", "", true},
		"a viewer writes none":              {"viewer", "create", "teamtalk.io", "teamtalkmessages", "chat", "", false},
		"an editor writes messages":         {"editor", "create", "teamtalk.io", "teamtalkmessages", "chat", "", true},
		"an editor writes no statuses":      {"editor", "update", "teamtalk.io", "teamtalkmessages/status", "chat", "m", false},
		"an editor of messages, no servers": {"editor", "create", "teamtalk.io", "teamtalkservers", "chat", "", false},
		"an editor, in its namespace alone": {"editor", "create", "teamtalk.io", "teamtalkmessages", "default", "", false},
	})
}

// checkAllowed asks the API server's own authorizer.
func (c *cluster) checkAllowed(t *testing.T, tests map[string]access) {
	t.Helper()
	for what, tc := range tests {
		resource, sub, _ := strings.Cut(tc.resource, "/")
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: tc.user,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: tc.verb, Group: tc.group, Resource: resource, Subresource: sub, Namespace: tc.namespace, Name: tc.name,
			},
		}}
		// The authorizer's caches lag behind the bindings.
		err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
			fresh := review.DeepCopy()
			if err := c.admin.Create(ctx, fresh); err != nil {
				return false, err
			}
			return fresh.Status.Allowed == tc.want, nil
		})
		if err != nil {
			t.Errorf("%s: allowed is not %t", what, tc.want)
		}
	}
}

// timeout bounds what takes well below a second on an idle machine.
const timeout = 60 * time.Second

func binding(namespace, role, user string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
		"metadata": map[string]any{"name": user, "namespace": namespace},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}},
	}}
}

// start runs a Deployment's program with its service account's token and its flags, and with
// flags that replace what only a pod has.
func (c *cluster) start(t *testing.T, binary string, deployment *appsv1.Deployment, flags ...string) *framework.Process {
	t.Helper()
	spec := deployment.Spec.Template.Spec
	token := &authenticationv1.TokenRequest{}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: spec.ServiceAccountName, Namespace: namespace}}
	must(t, c.admin.SubResource("token").Create(t.Context(), account, token))
	cfg := &rest.Config{Host: c.Config().Host, BearerToken: token.Status.Token}
	cfg.CAData = c.Config().CAData
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, framework.WriteKubeconfig(kubeconfig, cfg))
	args := slices.Concat(spec.Containers[0].Args,
		[]string{"--kubeconfig=" + kubeconfig, "--health-probe-bind-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0"}, flags)
	var log framework.Log
	process, err := framework.Start(binary, &log, args...)
	must(t, err)
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", deployment.Name, log.String())
		}
	})
	return process
}

// checkGateway runs the gateway until it is ready, for which it must be allowed to watch the
// messages of its namespace.
func (c *cluster) checkGateway(t *testing.T, binary string, deployment *appsv1.Deployment) {
	addresses, err := framework.FreeAddresses(2)
	must(t, err)
	address, metrics := addresses[0], addresses[1]
	// With a certificate for metrics, as the chart configures it.
	certs, trusted := certificate(t, "teamtalk-gateway."+namespace+".svc")
	gateway := c.start(t, binary, deployment, "--namespace="+namespace, "--bind-address="+address,
		"--metrics-bind-address="+metrics, "--metrics-cert-path="+certs)
	waitReady(t, address)
	// Metrics are served a moment after the gateway is ready.
	must(t, gateway.AwaitListening(t.Context(), metrics))
	// A client can verify the certificate, and needs a token.
	trust := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: trusted, ServerName: "teamtalk-gateway." + namespace + ".svc", MinVersion: tls.VersionTLS12,
	}, DisableKeepAlives: true}}
	answer, err := trust.Get("https://" + metrics + "/metrics")
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a request for metrics without a token: %s", answer.Status)
	}
	must(t, gateway.Stop(t.Context()))
}

// waitReady waits until a gateway is ready.
func waitReady(t *testing.T, address string) {
	t.Helper()
	last := "nothing"
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return false, err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			last = err.Error()
			return false, nil
		}
		defer answer.Body.Close()
		last = answer.Status
		return answer.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		t.Fatalf("%v: %s", err, last)
	}
}

// certificate creates a folder with tls.crt and tls.key of a host, and a pool that trusts it.
func certificate(t *testing.T, host string) (dir string, trusted *x509.CertPool) {
	t.Helper()
	crt, key, err := certutil.GenerateSelfSignedCertKey(host, nil, nil)
	must(t, err)
	dir = t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "tls.crt"), crt, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600))
	trusted = x509.NewCertPool()
	trusted.AppendCertsFromPEM(crt)
	return dir, trusted
}

// checkDelivers has the operator deliver a message of its own namespace.
func (c *cluster) checkDelivers(t *testing.T, binary string, deployment *appsv1.Deployment) {
	ctx := t.Context()
	teamtalk, err := devserver.Start(ctx, devserver.Options{
		DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0",
	})
	must(t, err)
	t.Cleanup(teamtalk.Stop)
	operator := c.start(t, binary, deployment, "--leader-election-namespace="+namespace)

	text := "installed"
	message := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: "first", Namespace: namespace},
		Spec: v1alpha1.TeamTalkMessageSpec{
			To: v1alpha1.Recipients{Users: []v1alpha1.UserID{3}}, Content: v1alpha1.Content{Text: &text},
		},
	}
	for _, o := range []client.Object{
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "teamtalk", Namespace: namespace},
			Data:       map[string][]byte{"aesKey": []byte(devserver.DevelopmentKey)},
		},
		&v1alpha1.TeamTalkServer{
			ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: namespace},
			Spec: v1alpha1.TeamTalkServerSpec{
				DBProxy:         v1alpha1.DBProxySpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(teamtalk.DBProxyAddr())}},
				Router:          v1alpha1.RouterSpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(teamtalk.RouterAddr())}},
				AESKeySecretRef: v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"},
				Senders:         v1alpha1.SendersSpec{Default: 1},
			},
		},
		message,
	} {
		must(t, c.admin.Create(ctx, o))
	}
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		err := c.admin.Get(ctx, client.ObjectKeyFromObject(message), message)
		return err == nil && meta.IsStatusConditionTrue(message.Status.Conditions, v1alpha1.ConditionDelivered), err
	})
	if err != nil {
		t.Fatalf("%v: %+v", err, message.Status)
	}
	must(t, operator.Stop(ctx))
}

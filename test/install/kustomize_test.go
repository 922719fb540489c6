// SPDX-License-Identifier: Apache-2.0

package install

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestDefault applies config/default and config/gateway, and runs the programs of their Deployments.
func TestDefault(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.apply(kustomize(t, "default")...)
	c.Must(framework.InstallCRDs(t.Context(), c.Cluster.Admin, filepath.Join(shared.root, "config", "crd", "bases")))
	c.apply(kustomize(t, "gateway")...)
	operator := &appsv1.Deployment{ObjectMeta: c.Named(name)}
	gateway := &appsv1.Deployment{ObjectMeta: c.Named("teamtalk-gateway")}
	c.Get(operator)
	c.Get(gateway)
	binary, err := framework.BuildCached(t.Context(), name)
	c.Must(err)

	t.Run("its pods pass restricted Pod Security", func(t *testing.T) { c.in(t).checkPodSecurity(operator, gateway) })
	t.Run("it may do what it must and no more", func(t *testing.T) { c.in(t).checkRights() })
	t.Run("editors write no servers unless asked for", func(t *testing.T) { c.in(t).checkEditors() })
	t.Run("it delivers", func(t *testing.T) { c.in(t).checkDelivers(binary, operator) })
	t.Run("the gateway becomes ready", func(t *testing.T) { c.in(t).checkGateway(binary, gateway) })
	t.Run("it serves receivers where it is bound", func(t *testing.T) { c.in(t).checkReceivers(binary, gateway) })

	c.apply(kustomize(t, "gateway-direct")...)
	c.Get(gateway)
	t.Run("in direct mode it passes restricted Pod Security", func(t *testing.T) { c.in(t).checkPodSecurity(gateway) })
	t.Run("in direct mode it reads keys where it is bound", func(t *testing.T) {
		c.in(t).checkAllowed(map[string]access{
			"a key of its namespace": {gatewayAccount, "get", "", "secrets", namespace, "teamtalk", true},
			"servers":                {gatewayAccount, "list", "teamtalk.io", "teamtalkservers", "", "", true},
			"a key elsewhere":        {gatewayAccount, "get", "", "secrets", "chat", "teamtalk", false},
			"all Secrets":            {gatewayAccount, "list", "", "secrets", "", "", false},
			"to write a Secret":      {gatewayAccount, "update", "", "secrets", namespace, "teamtalk", false},
			"to write a server":      {gatewayAccount, "update", "teamtalk.io", "teamtalkservers", namespace, "default", false},
		})
	})
	t.Run("in direct mode it becomes ready", func(t *testing.T) { c.in(t).checkGateway(binary, gateway) })
}

// TestSamples applies the samples to a cluster with the CRDs.
func TestSamples(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Must(c.plane.InstallCRDs(filepath.Join(shared.root, "config", "crd", "bases")))
	c.apply(kustomize(t, "samples")...)
}

func kustomize(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := framework.Kustomize(filepath.Join(shared.root, "config", folder))
	must(t, err)
	return objects
}

func (c *cluster) checkPodSecurity(deployments ...*appsv1.Deployment) {
	for _, deployment := range deployments {
		template := deployment.Spec.Template
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "try-", Namespace: namespace, Labels: template.Labels}, Spec: template.Spec,
		}
		create := func(o *corev1.Pod) error { return c.Cluster.Admin.Create(c.Context(), o, client.DryRunAll) }
		c.Must(create(pod.DeepCopy()))
		pod = pod.DeepCopy()
		pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = ptr.To(true)
		if err := create(pod); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodSecurity") {
			c.Errorf("a pod with privileges is not refused: %v", err)
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

func (c *cluster) checkRights() {
	const operator, gateway = "system:serviceaccount:" + namespace + ":" + name, gatewayAccount
	c.createNamespace("chat")
	for _, role := range []string{"viewer", "editor"} {
		c.Create(binding("chat", name+"-teamtalkmessage-"+role, framework.Users(role)...))
	}
	c.checkAllowed(map[string]access{
		"a Secret of its namespace":         {operator, "get", "", "secrets", namespace, "teamtalk", true},
		"a Secret elsewhere":                {operator, "get", "", "secrets", "chat", "teamtalk", false},
		"all Secrets":                       {operator, "list", "", "secrets", "", "", false},
		"to watch all Secrets":              {operator, "watch", "", "secrets", "", "", false},
		"to write Secrets":                  {operator, "update", "", "secrets", namespace, "teamtalk", false},
		"a ConfigMap of its namespace":      {operator, "get", "", "configmaps", namespace, "notice", true},
		"a ConfigMap elsewhere":             {operator, "get", "", "configmaps", "chat", "notice", false},
		"messages":                          {operator, "list", "teamtalk.io", "teamtalkmessages", "", "", true},
		"to create messages of schedules":   {operator, "create", "teamtalk.io", "teamtalkmessages", "chat", "", true},
		"to write messages":                 {operator, "update", "teamtalk.io", "teamtalkmessages", "chat", "m", false},
		"to write statuses":                 {operator, "update", "teamtalk.io", "teamtalkmessages/status", "chat", "m", true},
		"groups":                            {operator, "list", "teamtalk.io", "teamtalkgroups", "", "", true},
		"to write statuses of groups":       {operator, "patch", "teamtalk.io", "teamtalkgroups/status", "chat", "g", true},
		"to write groups":                   {operator, "patch", "teamtalk.io", "teamtalkgroups", "chat", "g", false},
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

// checkEditors checks what the cluster role edit includes, before and after the component edit-servers is added.
func (c *cluster) checkEditors() {
	c.Create(binding("chat", "edit", framework.Users("team")...))
	mayCreate := func(resource string, want bool) access {
		return access{"team", "create", "teamtalk.io", resource, "chat", "", want}
	}
	c.aggregate("view", "edit")
	c.checkAllowed(map[string]access{
		"edit: messages":        mayCreate("teamtalkmessages", true),
		"edit: receivers":       mayCreate("teamtalkreceivers", true),
		"edit: groups":          mayCreate("teamtalkgroups", true),
		"edit: servers":         mayCreate("teamtalkservers", false),
		"edit: to change one":   {"team", "update", "teamtalk.io", "teamtalkservers", "chat", "default", false},
		"edit: to read servers": {"team", "get", "teamtalk.io", "teamtalkservers", "chat", "default", true},
	})
	_, components, _ := strings.Cut(readPage(c.TB, "how-to/install.md"), "```yaml\ncomponents:\n")
	components, _, _ = strings.Cut(components, "```")
	c.apply(overlay(c.TB, "components:\n"+components, "default")...)
	c.aggregate("edit")
	c.checkAllowed(map[string]access{"edit, with the component: servers": mayCreate("teamtalkservers", true)})
}

// aggregate does what kube-controller-manager does, which the control plane of the tests does not have: it adds the
// rules of the roles that an aggregated role selects.
func (c *cluster) aggregate(names ...string) {
	c.Helper()
	for _, name := range names {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
		c.Get(role)
		if role.AggregationRule == nil {
			c.Fatalf("the role %s selects no others", name)
		}
		role.Rules = nil
		for _, selector := range role.AggregationRule.ClusterRoleSelectors {
			selected := &rbacv1.ClusterRoleList{}
			c.Must(c.Cluster.Admin.List(c.Context(), selected, client.MatchingLabels(selector.MatchLabels)))
			for _, s := range selected.Items {
				role.Rules = append(role.Rules, s.Rules...)
			}
		}
		c.Must(c.Cluster.Admin.Update(c.Context(), role))
	}
}

// checkAllowed asks the API server's own authorizer.
func (c *cluster) checkAllowed(tests map[string]access) {
	c.Helper()
	for what, tc := range tests {
		resource, sub, _ := strings.Cut(tc.resource, "/")
		// The authorizer's caches lag behind the bindings.
		c.Eventually(fmt.Sprintf("%s: allowed is not %t", what, tc.want), func() bool {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: tc.user,
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: tc.verb, Group: tc.group, Resource: resource, Subresource: sub, Namespace: tc.namespace, Name: tc.name,
				},
			}}
			c.Create(review)
			return review.Status.Allowed == tc.want
		})
	}
}

// binding binds a ClusterRole in a namespace.
func binding(namespace, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: subjects[0].Name, Namespace: namespace}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
}

// start runs a Deployment's program with its token and flags, and with flags for settings that only a pod has.
func (c *cluster) start(binary string, deployment *appsv1.Deployment, flags ...string) *framework.Process {
	c.Helper()
	spec := deployment.Spec.Template.Spec
	cfg := &rest.Config{Host: c.plane.Config().Host, BearerToken: c.Token(spec.ServiceAccountName)}
	cfg.CAData = c.plane.Config().CAData
	kubeconfig := filepath.Join(c.TempDir(), "kubeconfig")
	c.Must(framework.WriteKubeconfig(kubeconfig, cfg))
	args := slices.Concat(spec.Containers[0].Args,
		[]string{"--kubeconfig=" + kubeconfig, "--health-probe-bind-address=127.0.0.1:0", "--metrics-bind-address=127.0.0.1:0"}, flags)
	var log framework.Log
	process, err := framework.Start(binary, &log, args...)
	c.Must(err)
	c.Cleanup(func() {
		process.Kill()
		if c.Failed() {
			c.Logf("the log of %s:\n%s", deployment.Name, log.String())
		}
	})
	return process
}

// startGateway runs the gateway until it is ready, and returns it with its address.
func (c *cluster) startGateway(binary string, deployment *appsv1.Deployment, flags ...string) (*framework.Process, string) {
	c.Helper()
	addresses, err := framework.FreeAddresses(1)
	c.Must(err)
	gateway := c.start(binary, deployment, append(flags, "--namespace="+namespace, "--bind-address="+addresses[0])...)
	c.Must(gateway.AwaitOK(c.Context(), "http://"+addresses[0]+"/readyz"))
	return gateway, addresses[0]
}

// checkGateway runs the gateway until it is ready, for which it must be allowed to watch the
// messages of its namespace. It has a certificate for metrics, as the chart configures it.
func (c *cluster) checkGateway(binary string, deployment *appsv1.Deployment) {
	const host = "teamtalk-gateway." + namespace + ".svc"
	certs := c.TempDir()
	trusted, err := framework.WriteCertificate(certs, host)
	c.Must(err)
	addresses, err := framework.FreeAddresses(1)
	c.Must(err)
	gateway, _ := c.startGateway(binary, deployment, "--metrics-bind-address="+addresses[0], "--metrics-cert-path="+certs)
	// Metrics are served a moment after the gateway is ready.
	c.Must(gateway.AwaitListening(c.Context(), addresses[0]))
	// A client can verify the certificate, and needs a token.
	trust := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: trusted, ServerName: host, MinVersion: tls.VersionTLS12,
	}, DisableKeepAlives: true}}
	answer, _, err := framework.Ask(c.Context(), trust, http.MethodGet, "https://"+addresses[0]+"/metrics", "")
	c.Must(err)
	if answer.StatusCode != http.StatusUnauthorized {
		c.Errorf("a request for metrics without a token: %s", answer.Status)
	}
	c.Must(gateway.Stop(c.Context()))
}

// checkDelivers has the operator deliver a message of its own namespace.
func (c *cluster) checkDelivers(binary string, deployment *appsv1.Deployment) {
	c.TeamTalk = framework.TeamTalkFor(c)
	operator := c.start(binary, deployment, "--leader-election-namespace="+namespace)
	c.CreateServer()
	c.Deliver("first", "installed")
	c.Must(operator.Stop(c.Context()))
}

// overlay renders a kustomization of folders of config/, as users write one: beside the folder config.
func overlay(t testing.TB, fields string, folders ...string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" + fields + "resources:\n"
	for _, folder := range folders {
		text += "- ../config/" + folder + "\n"
	}
	// kustomize takes relative paths alone, and resolves links first.
	here, err := filepath.EvalSymlinks(dir)
	must(t, err)
	config, err := filepath.Rel(here, filepath.Join(shared.root, "config"))
	must(t, err)
	text = strings.ReplaceAll(text, "../config/", config+"/")
	must(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	objects, err := framework.Kustomize(dir)
	must(t, err)
	return objects
}

// TestOverlayWithoutCRDs tests the overlay of docs/how-to/install.md for a return to an older version.
func TestOverlayWithoutCRDs(t *testing.T) {
	t.Parallel()
	_, patches, ok := strings.Cut(readPage(t, "how-to/install.md"), "```yaml\npatches:\n")
	if !ok {
		t.Fatal("the page has no overlay with patches")
	}
	patches, _, _ = strings.Cut(patches, "```")
	want, got := byID(kustomize(t, "default")), byID(overlay(t, "patches:\n"+patches, "default"))
	for id, o := range want {
		if left := got[id] == nil; left != (o.GetKind() == "CustomResourceDefinition") {
			t.Errorf("%s: left out is %t", id, left)
		}
	}
}

// TestOverlayInAnotherNamespace: all objects move to the namespace, and no account elsewhere is bound.
func TestOverlayInAnotherNamespace(t *testing.T) {
	t.Parallel()
	for what, folders := range map[string][]string{
		"the operator": {"default"}, "with the gateway": {"default", "gateway", "prometheus"},
		"with the gateway in direct mode": {"default", "gateway-direct"}, "the gateway by itself": {"gateway"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			objects := overlay(t, "namespace: chat-ops\n", folders...)
			have := byID(objects)
			bindings := 0
			for id, o := range have {
				if ns := o.GetNamespace(); ns != "" && ns != "chat-ops" || id == "Namespace//"+namespace {
					t.Errorf("%s is still in its old namespace", id)
				}
				subjects, _, err := unstructured.NestedSlice(o.Object, "subjects")
				must(t, err)
				for _, s := range subjects {
					bindings++
					subject := s.(map[string]any)
					account := fmt.Sprintf("%s/%s/%s", subject["kind"], subject["namespace"], subject["name"])
					if have[account] == nil {
						t.Errorf("%s binds %s, which is not part of it", id, account)
					}
				}
			}
			if bindings == 0 {
				t.Error("there are no subjects")
			}
		})
	}
}

// checkReceivers lets the gateway serve the receivers of a namespace, as docs/reference/gateway.md
// describes, and single receivers by name, as the chart does. It checks the gateway's access and
// that it serves the receivers.
func (c *cluster) checkReceivers(binary string, deployment *appsv1.Deployment) {
	for _, ns := range []string{"whole", "named", "flood"} {
		c.createNamespace(ns)
	}
	account := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "teamtalk-gateway", Namespace: namespace}
	c.Create(binding("whole", name+"-receiver", account))
	rendered, err := template(c, name, receiversByName...)
	c.Must(err)
	c.apply(slices.DeleteFunc(rendered, func(o *unstructured.Unstructured) bool {
		return o.GetNamespace() != "named" && o.GetNamespace() != "flood"
	})...)

	const gateway, group = gatewayAccount, "teamtalk.io"
	c.checkAllowed(map[string]access{
		"a receiver":                               {gateway, "get", group, "teamtalkreceivers", "whole", "alerts", true},
		"to write a receiver":                      {gateway, "update", group, "teamtalkreceivers", "whole", "alerts", false},
		"to read a server":                         {gateway, "get", group, "teamtalkservers", "whole", "default", false},
		"to create a message":                      {gateway, "create", group, "teamtalkmessages", "whole", "", true},
		"to change a message":                      {gateway, "update", group, "teamtalkmessages", "whole", "m", false},
		"to delete a message":                      {gateway, "delete", group, "teamtalkmessages", "whole", "m", false},
		"to write a status":                        {gateway, "patch", group, "teamtalkmessages/status", "whole", "m", false},
		"a Secret":                                 {gateway, "get", "", "secrets", "whole", "hook", true},
		"to find Secrets":                          {gateway, "list", "", "secrets", "whole", "", false},
		"to write a Secret":                        {gateway, "update", "", "secrets", "whole", "hook", false},
		"a digest":                                 {gateway, "update", "", "configmaps", "whole", "alerts-digest-1-u2", true},
		"to find ConfigMaps":                       {gateway, "list", "", "configmaps", "whole", "", false},
		"to delete ConfigMaps":                     {gateway, "delete", "", "configmaps", "whole", "notice", false},
		"a receiver in no namespace of its":        {gateway, "get", group, "teamtalkreceivers", "chat", "alerts", false},
		"a Secret in no namespace of its":          {gateway, "get", "", "secrets", "chat", "hook", false},
		"by name, the receiver":                    {gateway, "get", group, "teamtalkreceivers", "named", "alerts", true},
		"by name, its status":                      {gateway, "patch", group, "teamtalkreceivers/status", "named", "alerts", true},
		"by name, another receiver":                {gateway, "get", group, "teamtalkreceivers", "named", "other", false},
		"by name, its Secret":                      {gateway, "get", "", "secrets", "named", "hook", true},
		"by name, a key":                           {gateway, "get", "", "secrets", "named", "teamtalk", false},
		"by name, to write the Secret":             {gateway, "update", "", "secrets", "named", "hook", false},
		"by name, a text":                          {gateway, "get", "", "configmaps", "named", "notice", false},
		"by name, to change a text":                {gateway, "update", "", "configmaps", "named", "notice", false},
		"by name, to make ConfigMaps":              {gateway, "create", "", "configmaps", "named", "", false},
		"by name, to change a message":             {gateway, "update", group, "teamtalkmessages", "named", "m", false},
		"by name, to make ConfigMaps for a flood":  {gateway, "create", "", "configmaps", "flood", "", true},
		"by name, digests for a flood":             {gateway, "update", "", "configmaps", "flood", "alerts-digest-1-u2", true},
		"by name, to find ConfigMaps of a flood":   {gateway, "list", "", "configmaps", "flood", "", false},
		"by name, a key where there may be floods": {gateway, "get", "", "secrets", "flood", "teamtalk", false},
	})

	process, address := c.startGateway(binary, deployment)
	for _, ns := range []string{"whole", "named", "flood"} {
		c.Create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "hook", Namespace: ns}, StringData: map[string]string{"token": "open-sesame"},
		})
		for _, receiver := range []string{"alerts", "other"} {
			r := &v1alpha1.TeamTalkReceiver{
				ObjectMeta: metav1.ObjectMeta{Name: receiver, Namespace: ns},
				Spec: v1alpha1.TeamTalkReceiverSpec{
					Type: v1alpha1.ReceiverGeneric, To: v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{3}},
					Authentication: &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "hook"}},
				},
			}
			if ns == "flood" {
				r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 1}
			}
			c.Create(r)
		}
	}
	for _, post := range []struct {
		receiver, body string
		want           int
	}{
		{"whole/alerts", `{"n": 1}`, http.StatusOK},
		{"named/alerts", `{"n": 1}`, http.StatusOK},
		{"named/other", `{"n": 1}`, http.StatusServiceUnavailable},
		{"flood/alerts", `{"n": 1}`, http.StatusOK},
		{"flood/alerts", `{"n": 2}`, http.StatusOK}, // into a digest
	} {
		answer, _, err := framework.Ask(c.Context(), http.DefaultClient, http.MethodPost,
			"http://"+address+"/v1/receivers/"+post.receiver, post.body, "Authorization", "Bearer open-sesame")
		c.Must(err)
		if answer.StatusCode != post.want {
			c.Errorf("a post to %s: %s, want %d", post.receiver, answer.Status, post.want)
		}
	}
	for ns, want := range map[string]int{"whole": 1, "named": 1, "flood": 2} {
		messages := &v1alpha1.TeamTalkMessageList{}
		c.Must(c.Cluster.Admin.List(c.Context(), messages, client.InNamespace(ns)))
		if len(messages.Items) != want {
			c.Errorf("%d messages in %s, want %d", len(messages.Items), ns, want)
		}
	}
	c.Must(process.Stop(c.Context()))
}

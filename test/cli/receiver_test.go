// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// alert is what Alertmanager posts.
const alert = `{"version":"4","status":"firing","receiver":"t","alerts":[{"status":"firing","labels":{"alertname":"%s"},` +
	`"annotations":{"summary":"it burns"},"startsAt":"2026-11-30T10:00:00Z"}]}`

func (x *tenant) receiver(name string, kind v1alpha1.ReceiverType, a *v1alpha1.ReceiverAuthentication) {
	x.Helper()
	x.Create(&v1alpha1.TeamTalkReceiver{
		ObjectMeta: x.Named(name),
		Spec: v1alpha1.TeamTalkReceiverSpec{
			Type: kind, Authentication: a,
			To: v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}},
		},
	})
}

// TestReceiver posts to receivers of each kind of authentication.
func TestReceiver(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	x.CreateSecret("caller", map[string]string{"token": secretToken + "\n", "username": "caller", "password": secretToken})
	ref := v1alpha1.TokenSecretRef{Name: "caller", Key: "token"}
	signed := func(header string, encoding v1alpha1.SignatureEncoding) *v1alpha1.ReceiverAuthentication {
		return &v1alpha1.ReceiverAuthentication{HMACSecretRef: &v1alpha1.HMACSecretRef{TokenSecretRef: ref, Header: header, Encoding: encoding}}
	}
	robot := `{"msgtype":"text","text":{"content":"%s"}}`
	feishu := `{"msg_type":"text","content":{"text":"%s"}}`
	tests := map[string]struct {
		kind v1alpha1.ReceiverType
		auth *v1alpha1.ReceiverAuthentication
		body string
	}{
		"token":    {v1alpha1.ReceiverAlertmanager, &v1alpha1.ReceiverAuthentication{TokenSecretRef: &ref}, alert},
		"basic":    {v1alpha1.ReceiverAlertmanager, &v1alpha1.ReceiverAuthentication{BasicSecretRef: &v1alpha1.BasicSecretRef{Name: "caller"}}, alert},
		"hmac":     {v1alpha1.ReceiverGeneric, signed("", ""), `{"what":"%s"}`},
		"header":   {v1alpha1.ReceiverGeneric, signed("X-Sig", v1alpha1.EncodingBase64), `{"what":"%s"}`},
		"dingtalk": {v1alpha1.ReceiverDingTalk, signed("", ""), robot},
		"feishu":   {v1alpha1.ReceiverFeishu, signed("", ""), feishu},
		"slack":    {v1alpha1.ReceiverSlack, &v1alpha1.ReceiverAuthentication{TokenSecretRef: &ref}, `{"text":"%s"}`},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			x.receiver(title, tc.kind, tc.auth)
			body := strings.ReplaceAll(tc.body, "%s", "case-"+title)
			file := x.writeFile(title+".json", body)
			r := x.run("test", "receiver", title, "-f", file, "--gateway", world.gateway)
			r.t = t
			r.want(0, "accepted: 1 message", "teamtalkmessage.teamtalk.io/"+title+"-", "delivered to user "+text(x.Alice))
			r = x.run("test", "receiver", title, "-f", file, "--dry-run")
			r.t = t
			r.want(0, "Message: "+title+"-", "case-"+title)
		})
	}
	x.CheckRows(len(tests))
	x.run("test", "receiver", "token", "-f", x.home+"/token.json", "--gateway", world.gateway).want(0,
		"accepted: 0 messages, 1 posted before", "makes no other message for 300 s")
	x.CheckRows(len(tests))
}

// TestReceiverMistakes makes the mistakes of a person.
func TestReceiverMistakes(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	x.receiver("open", v1alpha1.ReceiverAlertmanager, nil)
	x.receiver("alerts", v1alpha1.ReceiverAlertmanager,
		&v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "caller"}})
	file := x.writeFile("alert.json", alert)
	gateway := []string{"--gateway", world.gateway, "-f", file}
	post := func(name string, more ...string) *result {
		t.Helper()
		return x.run(append(append([]string{"test", "receiver", name}, gateway...), more...)...)
	}
	post("alerts").want(1, `has no Secret "caller"`, "spec.authentication")
	x.CreateSecret("caller", map[string]string{"token": secretToken})
	x.runAs(member, "", append([]string{"test", "receiver", "alerts"}, gateway...)...).want(1, "may not read Secret", "--dry-run")
	post("nope").want(1, `has no TeamTalkReceiver "nope"`)
	post("alerts", "-f", "-").want(1, "refused the body with status 400")
	post("alerts", "--gateway", "http://127.0.0.1:1").want(1, "the gateway at 127.0.0.1:1 cannot be reached from here")
	post("alerts", "--gateway", "127.0.0.1:8400").want(2, "is not a URL")
	post("alerts", "--gateway", world.gateway+"/v1").want(1, "has no such receiver", "without a path")
	x.run("test", "receiver", "alerts", "--dry-run").want(2, "-f is required")
	x.run("test", "receiver").want(2, "the name of a TeamTalkReceiver")
	x.run("test", "recevier", "alerts").want(2, `has no command "recevier"`)

	post("open").want(1, "the gateway asks for a token", "kubectl create token")
	x.AllowCreate("poster")
	post("open", "--caller-token", x.Token("poster")).want(0, "accepted: 1 message")
	if n := len(x.Messages()); n != 1 {
		t.Errorf("%d messages were created", n)
	}
}

// TestFindGateway: without --gateway, the command finds a pod, and posts through a forwarded port.
func TestFindGateway(t *testing.T) {
	t.Parallel()
	x, other := newTenantWithServer(t), world.NewTenant(t, world.TeamTalk)
	x.receiver("open", v1alpha1.ReceiverAlertmanager, nil)
	args := []string{"test", "receiver", "open", "-f", x.writeFile("alert.json", alert)}
	find := func(user string) *result {
		t.Helper()
		return x.runAs(user, "", append(args, "--caller-token", secretToken)...)
	}
	x.run(args...).want(1, "kubectl create token") // the token of the kubeconfig is not for a pod that the plugin chooses
	find(member).want(1, "you may not list Pods in all namespaces", "--gateway URL")
	find(owner).want(1, "no pod in the cluster serves a gateway", "gateway.enabled")

	unassigned := x.gatewayPod(x.Namespace, "gateway-1", "")
	find(owner).want(1, "no pod of the gateway is Ready: "+x.Namespace+"/gateway-1")
	x.setReady(unassigned)
	find(owner).want(1, "forward port 8400 of pod "+x.Namespace+"/gateway-1", "does not have a host assigned")
	x.grantPodLists(member)
	find(member).want(1, `cannot create resource "pods/portforward"`, `you may create pods/portforward in namespace "`+x.Namespace)

	x.startKubelet("node")
	x.setReady(x.gatewayPod(x.Namespace, "gateway-0", "node"))
	find(owner).want(1, "refused the body with status 401")
	x.AllowCreate("poster")
	x.run(append(args, "--caller-token", x.Token("poster"))...).want(0,
		"posting to the gateway in pod "+x.Namespace+"/gateway-0", "accepted: 1 message", "delivered to user "+text(x.Alice))
	x.CheckRows(1)

	x.gatewayPod(other.Namespace, "gateway-2", "")
	find(owner).want(1, "several gateways", x.Namespace+"/gateway-1", other.Namespace+"/gateway-2", "--gateway URL")
}

// gatewayPod creates a pod with the labels and the port that the chart gives those of a gateway.
func (x *tenant) gatewayPod(namespace, name, node string) *corev1.Pod {
	x.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "default"}
	x.Must(client.IgnoreAlreadyExists(world.Admin.Create(x.Context(), &corev1.ServiceAccount{ObjectMeta: meta})))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{
			"app.kubernetes.io/name": "teamtalk-operator", "app.kubernetes.io/component": "gateway",
		}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "gateway", Image: "x", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8400}},
		}}},
	}
	x.createUntilEnd(pod)
	return pod
}

func (x *tenant) setReady(pod *corev1.Pod) {
	x.Helper()
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	x.Must(world.Admin.Status().Update(x.Context(), pod))
}

func (x *tenant) grantPodLists(user string) {
	x.Helper()
	meta := metav1.ObjectMeta{Name: "pod-lister"}
	x.createUntilEnd(&rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"},
	}}})
	x.createUntilEnd(&rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: framework.Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
	})
}

// createUntilEnd creates what the plugin sees in all namespaces, and deletes it at the end of the test.
func (x *tenant) createUntilEnd(o client.Object) {
	x.Helper()
	x.Must(world.Admin.Create(x.Context(), o))
	x.Cleanup(func() {
		x.Must(world.Admin.Delete(context.WithoutCancel(x.Context()), o, client.GracePeriodSeconds(0)))
	})
}

// TestRender needs no cluster.
func TestRender(t *testing.T) {
	t.Parallel()
	samples := world.Root + "/config/samples/"
	runPlugin(t, t.TempDir(), "/nowhere", "", "render", "--receiver", samples+"receiver-alertmanager.yaml",
		"--payload", samples+"receiver-payload.json").want(0, "Message: alerts-", "FIRING")
	receiver, err := os.ReadFile(samples + "receiver-alertmanager.yaml")
	if err != nil {
		t.Fatal(err)
	}
	runPlugin(t, t.TempDir(), "/nowhere", string(receiver), "render", "--receiver", "-",
		"--payload", samples+"receiver-payload.json").want(0, "Message: alerts-")
	runPlugin(t, t.TempDir(), "/nowhere", "", "render").want(2, "--receiver and --payload are required")
	runPlugin(t, t.TempDir(), "/nowhere", "", "render", "--receiver", "-", "--payload", "-").want(2, "there is one standard input")
}

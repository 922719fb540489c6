// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// Ports of the operator's and the gateway's pods.
const (
	metricsPort = 8443
	gatewayPort = 8400
)

// throughGateway posts a message, without a token and with one that may.
func (w *world) throughGateway(ctx context.Context) (seen string) {
	pods := w.pods(ctx, "gateway")
	if len(pods) == 0 {
		framework.Failf("the gateway has no pods")
	}
	token := framework.MustGet(framework.Token(ctx, w.admin, chat, "caller"))
	framework.Must(framework.LetCreateMessages(ctx, w.admin, chat, "caller"))
	b := w.batch("posted")
	text := w.prefix() + "posted #0"
	r := request{
		namespace: system, pod: pods[0].Name, port: gatewayPort, method: http.MethodPost,
		path: "/namespaces/" + chat + "/query/SendSingleMessage?wait=8",
		body: fmt.Sprintf(`{"from_user_id":1,"session_id":3,"msg":%q}`, text),
	}
	if status, _ := w.ask(ctx, r); status != http.StatusUnauthorized {
		framework.Failf("without a token the status is %d, want %d", status, http.StatusUnauthorized)
	}
	b.declared[text] = true
	r.token = token
	status, body := w.ask(ctx, r)
	var answer struct {
		Code  *int   `json:"error_code"`
		MsgID uint32 `json:"msg_id"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || answer.Code == nil ||
		*answer.Code != 0 || answer.MsgID == 0 {
		framework.Failf("the gateway answers with status %d: %.300s", status, body)
	}
	return "posted and stored; without a token 401; " + w.count(ctx)
}

// metrics reads the leader's metrics, with no token, with one that may not, and with one that may.
func (w *world) metrics(ctx context.Context) (seen string) {
	pod, _ := w.leader(ctx)
	outsider := framework.MustGet(framework.Token(ctx, w.admin, chat, "outsider"))
	reader := framework.MustGet(framework.Token(ctx, w.admin, chat, "prometheus"))
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "teamtalk-e2e-metrics"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: chat, Name: "prometheus"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: release + "-metrics-reader"},
	}
	framework.Must(w.admin.Create(ctx, binding))
	defer func() { framework.Must(w.admin.Delete(context.WithoutCancel(ctx), binding)) }()
	for _, c := range []struct {
		caller, token string
		want          int
	}{
		{"a caller without a token", "", http.StatusUnauthorized}, {"another account", outsider, http.StatusForbidden},
		{"Prometheus", reader, http.StatusOK},
	} {
		status, body := w.ask(ctx, request{
			namespace: system, pod: pod.Name, port: metricsPort, tls: true, method: http.MethodGet, path: "/metrics",
			token: c.token,
		})
		if status != c.want {
			framework.Failf("%s gets status %d, want %d", c.caller, status, c.want)
		}
		names := strings.Contains(body, "teamtalk_operator_messages_finished_total") &&
			strings.Contains(body, "teamtalk_operator_build_info")
		if leads := strings.Contains(body, "\nteamtalk_operator_leader 1\n"); (names && leads) != (status == http.StatusOK) {
			framework.Failf("%s gets, with status %d: %.300s", c.caller, status, body)
		}
	}
	return "401 without a token, 403 with another account's, 200 with Prometheus'"
}

// policies checks that a NetworkPolicy for each component selects its pods.
func (w *world) policies(ctx context.Context) (seen string) {
	list := &networkingv1.NetworkPolicyList{}
	framework.Must(w.admin.List(ctx, list, client.InNamespace(system)))
	for _, component := range []string{"operator", "gateway"} {
		for _, p := range w.pods(ctx, component) {
			closesPod := func(policy networkingv1.NetworkPolicy) bool { return closes(policy, p.Labels) }
			if !slices.ContainsFunc(list.Items, closesPod) {
				framework.Failf("no NetworkPolicy closes the pod %s", p.Name)
			}
		}
	}
	return fmt.Sprintf("%d, which select the pods; the network decides whether they are enforced", len(list.Items))
}

// closes reports whether the policy lets only what it names connect to pods with these labels.
func closes(p networkingv1.NetworkPolicy, pod map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	return err == nil && selector.Matches(labels.Set(pod)) &&
		slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
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

// throughGateway posts a message, with and without a token that may.
func (w *world) throughGateway(ctx context.Context) (seen string, err error) {
	pods, err := w.pods(ctx, "gateway")
	if err != nil {
		return "", err
	}
	if len(pods) == 0 {
		return "", errors.New("the gateway has no pods")
	}
	token, err := framework.Token(ctx, w.admin, chat, "caller")
	if err != nil {
		return "", err
	}
	if err := framework.LetCreateMessages(ctx, w.admin, chat, "caller"); err != nil {
		return "", err
	}
	b := w.batch("posted")
	text := w.prefix() + "posted #0"
	r := request{
		namespace: system, pod: pods[0].Name, port: gatewayPort, method: http.MethodPost,
		path: "/namespaces/" + chat + "/query/SendSingleMessage?wait=8",
		body: fmt.Sprintf(`{"from_user_id":1,"session_id":3,"msg":%q}`, text),
	}
	status, _, err := w.ask(ctx, r)
	if err != nil {
		return "", err
	}
	if status != http.StatusUnauthorized {
		return "", fmt.Errorf("without a token the status is %d, want %d", status, http.StatusUnauthorized)
	}
	b.declared[text] = true
	r.token = token
	status, body, err := w.ask(ctx, r)
	if err != nil {
		return "", err
	}
	var answer struct {
		Code  *int   `json:"error_code"`
		MsgID uint32 `json:"msg_id"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK || answer.Code == nil ||
		*answer.Code != 0 || answer.MsgID == 0 {
		return "", fmt.Errorf("the gateway answers with status %d: %.300s", status, body)
	}
	seen, err = w.count(ctx)
	return "posted and stored; without a token 401; " + seen, err
}

// metrics asks the leader for its metrics, with no token, with one that may not, and
// with one that may.
func (w *world) metrics(ctx context.Context) (seen string, err error) {
	pod, _, err := w.leader(ctx)
	if err != nil {
		return "", err
	}
	outsider, err := framework.Token(ctx, w.admin, chat, "outsider")
	if err != nil {
		return "", err
	}
	reader, err := framework.Token(ctx, w.admin, chat, "prometheus")
	if err != nil {
		return "", err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "teamtalk-e2e-metrics"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: chat, Name: "prometheus"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: release + "-metrics-reader"},
	}
	if err := w.admin.Create(ctx, binding); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.admin.Delete(context.WithoutCancel(ctx), binding)) }()
	for _, c := range []struct {
		who, token string
		want       int
	}{{"nobody", "", http.StatusUnauthorized}, {"another account", outsider, http.StatusForbidden},
		{"Prometheus", reader, http.StatusOK}} {
		status, body, err := w.ask(ctx, request{
			namespace: system, pod: pod.Name, port: metricsPort, tls: true, method: http.MethodGet, path: "/metrics",
			token: c.token,
		})
		if err != nil {
			return "", err
		}
		if status != c.want {
			return "", fmt.Errorf("%s gets status %d, want %d", c.who, status, c.want)
		}
		names := strings.Contains(body, "teamtalk_operator_messages_finished_total") &&
			strings.Contains(body, "teamtalk_operator_build_info")
		if leads := strings.Contains(body, "\nteamtalk_operator_leader 1\n"); (names && leads) != (status == http.StatusOK) {
			return "", fmt.Errorf("%s is told, with status %d: %.300s", c.who, status, body)
		}
	}
	return "401 without a token, 403 with another account's, 200 with Prometheus'", nil
}

// policies sees that there is a NetworkPolicy for each component, which means its pods.
func (w *world) policies(ctx context.Context) (seen string, err error) {
	list := &networkingv1.NetworkPolicyList{}
	if err := w.admin.List(ctx, list, client.InNamespace(system)); err != nil {
		return "", err
	}
	for _, component := range []string{"operator", "gateway"} {
		pods, err := w.pods(ctx, component)
		if err != nil {
			return "", err
		}
		for _, p := range pods {
			if !closes(list.Items, p.Labels) {
				return "", fmt.Errorf("no NetworkPolicy closes the pod %s", p.Name)
			}
		}
	}
	return fmt.Sprintf("%d, which mean the pods; whether they are enforced is up to the network", len(list.Items)), nil
}

// closes reports whether one of the policies lets only what it names connect to pods
// with these labels.
func closes(policies []networkingv1.NetworkPolicy, pod map[string]string) bool {
	for _, p := range policies {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil || !selector.Matches(labels.Set(pod)) {
			continue
		}
		if slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			return true
		}
	}
	return false
}

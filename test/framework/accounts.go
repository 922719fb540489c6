// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Token returns a token of a service account, which it makes if there is none; no
// audience: the API server's own.
func Token(ctx context.Context, admin client.Client, namespace, account string, audiences ...string) (string, error) {
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Namespace: namespace}}
	if err := admin.Create(ctx, sa); client.IgnoreAlreadyExists(err) != nil {
		return "", err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	err := admin.SubResource("token").Create(ctx, sa, request)
	return request.Status.Token, err
}

// LetCreateMessages lets a service account create messages in its namespace.
func LetCreateMessages(ctx context.Context, admin client.Client, namespace, account string) error {
	meta := metav1.ObjectMeta{Name: account, Namespace: namespace}
	if err := admin.Create(ctx, &rbacv1.Role{
		ObjectMeta: meta,
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"teamtalkmessages"}, Verbs: []string{"create"},
		}},
	}); err != nil {
		return err
	}
	return admin.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta,
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: namespace}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
	})
}

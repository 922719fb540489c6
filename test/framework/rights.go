// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// BindOperator grants user exactly what config/rbac grants the operator everywhere, with its Lease in
// leaseNamespace. GrantNamespace adds the rest.
func BindOperator(ctx context.Context, admin client.Client, user, leaseNamespace string) error {
	if err := ApplyRoles(ctx, admin, leaseNamespace, "role.yaml"); err != nil {
		return err
	}
	if err := bindClusterRole(ctx, admin, user, user, "teamtalk-operator"); err != nil {
		return err
	}
	return BindLease(ctx, admin, user, leaseNamespace)
}

// BindLease grants user the rights of an operator that has its Lease in the namespace, and nothing more.
func BindLease(ctx context.Context, admin client.Client, user, namespace string) error {
	if err := ApplyRoles(ctx, admin, namespace, "leader_election_role.yaml"); err != nil {
		return err
	}
	err := admin.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: namespace}, Subjects: Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "teamtalk-operator-leader-election"},
	})
	if err != nil {
		return fmt.Errorf("bind the operator's role: %w", err)
	}
	return nil
}

// ApplyRoles applies files of config/rbac. Roles go to a namespace.
func ApplyRoles(ctx context.Context, admin client.Client, namespace string, files ...string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	for i, file := range files {
		files[i] = filepath.Join(root, "config", "rbac", file)
	}
	roles, err := Read(files...)
	if err != nil {
		return err
	}
	for _, role := range roles {
		if role.GetKind() == "Role" {
			role.SetNamespace(namespace)
		}
	}
	return Apply(ctx, admin, roles...)
}

func bindClusterRole(ctx context.Context, admin client.Client, name, user, role string) error {
	if err := admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}); err != nil {
		return fmt.Errorf("bind the role %s: %w", role, err)
	}
	return nil
}

// GrantNamespace grants user the operator's rights in a namespace: to read Secrets and ConfigMaps.
func GrantNamespace(ctx context.Context, admin client.Client, user, namespace string) error {
	for _, what := range []string{"secrets", "configmaps"} {
		b := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user + "-" + what, Namespace: namespace}, Subjects: Users(user),
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "teamtalk-operator-" + what},
		}
		if err := admin.Create(ctx, b); err != nil {
			return fmt.Errorf("let the operator read the %s of namespace %s: %w", what, namespace, err)
		}
	}
	return nil
}

// BindGateway grants user what config/rbac grants a gateway that records messages and serves
// receivers, in all namespaces, and nothing more.
func BindGateway(ctx context.Context, admin client.Client, user string) error {
	if err := ApplyRoles(ctx, admin, "default", "gateway_role.yaml", "receiver_role.yaml"); err != nil {
		return err
	}
	for _, role := range []string{"teamtalk-gateway", "teamtalk-operator-receiver", "system:auth-delegator"} {
		if err := bindClusterRole(ctx, admin, user+"-"+role, user, role); err != nil {
			return err
		}
	}
	return nil
}

// BindDirectGateway grants user what a gateway in direct mode needs for one namespace, and nothing more.
func BindDirectGateway(ctx context.Context, admin client.Client, user, namespace string) error {
	if err := ApplyRoles(ctx, admin, "default", "gateway_role.yaml"); err != nil {
		return err
	}
	if err := bindClusterRole(ctx, admin, user, user, "teamtalk-gateway-direct"); err != nil {
		return err
	}
	return GrantNamespace(ctx, admin, user, namespace)
}

// CreateNamespace creates a namespace and grants user in it what GrantNamespace does.
func CreateNamespace(ctx context.Context, admin client.Client, user, name string) error {
	if err := admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
		return fmt.Errorf("create the namespace %s: %w", name, err)
	}
	return GrantNamespace(ctx, admin, user, name)
}

// Users is a user as the subject of a binding.
func Users(user string) []rbacv1.Subject {
	return []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
}

// WriteKubeconfig writes a kubeconfig file for a client configuration.
func WriteKubeconfig(path string, cfg *rest.Config) error {
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData, Token: cfg.BearerToken,
	}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		return fmt.Errorf("write a kubeconfig: %w", err)
	}
	return nil
}

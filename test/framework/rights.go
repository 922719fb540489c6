// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"path/filepath"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// BindOperator grants user what config/rbac grants the operator everywhere: nothing
// more, so that a missing right fails a test. Its Lease is in leaseNamespace. What
// it may read in the namespaces of servers and messages, GrantNamespace adds.
func BindOperator(ctx context.Context, admin client.Client, user, leaseNamespace string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	rbac := filepath.Join(root, "config", "rbac")
	objects, err := Read(filepath.Join(rbac, "role.yaml"), filepath.Join(rbac, "leader_election_role.yaml"))
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetKind() == "Role" {
			o.SetNamespace(leaseNamespace)
		}
	}
	if err := Apply(ctx, admin, objects...); err != nil {
		return err
	}
	everywhere := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "teamtalk-operator"},
	}
	lease := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: leaseNamespace}, Subjects: Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "teamtalk-operator-leader-election"},
	}
	for _, b := range []client.Object{everywhere, lease} {
		if err := admin.Create(ctx, b); err != nil {
			return fmt.Errorf("bind the operator's role: %w", err)
		}
	}
	return nil
}

// GrantNamespace grants user what the operator is granted namespace by namespace:
// to read Secrets, for the keys of servers, and ConfigMaps, for contents.
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

// BindGateway grants user what config/rbac grants a gateway that records messages
// and serves receivers, in all namespaces: nothing more.
func BindGateway(ctx context.Context, admin client.Client, user string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	rbac := filepath.Join(root, "config", "rbac")
	roles, err := Read(filepath.Join(rbac, "gateway_role.yaml"), filepath.Join(rbac, "receiver_role.yaml"))
	if err != nil {
		return err
	}
	for _, role := range roles {
		if role.GetKind() == "Role" {
			role.SetNamespace("default")
		}
	}
	if err := Apply(ctx, admin, roles...); err != nil {
		return err
	}
	for _, role := range []string{"teamtalk-gateway", "teamtalk-operator-receiver", "system:auth-delegator"} {
		if err := admin.Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user + "-" + role}, Subjects: Users(user),
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}); err != nil {
			return fmt.Errorf("bind the gateway's roles: %w", err)
		}
	}
	return nil
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

package harness

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

// BindOperator grants user what config/rbac grants the operator: nothing more,
// so that a missing right fails a test. Its Lease is in leaseNamespace.
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
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	bindings := []client.Object{
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "teamtalk-operator"},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: leaseNamespace}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "teamtalk-operator-leader-election"},
		},
	}
	for _, b := range bindings {
		if err := admin.Create(ctx, b); err != nil {
			return fmt.Errorf("bind the operator's role: %w", err)
		}
	}
	return nil
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

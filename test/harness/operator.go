package harness

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Operator is the operator as a process of its own.
type Operator struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
}

// StartOperator starts a binary of teamtalk-operator with a kubeconfig file. Its
// log goes to log. It dies with this process, and ends with Stop or Kill.
func StartOperator(binary, kubeconfig string, log io.Writer, flags ...string) (*Operator, error) {
	args := append([]string{"--kubeconfig", kubeconfig, "--health-address", "0", "--log-format", "text"}, flags...)
	o := &Operator{cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	o.cmd.Stdout, o.cmd.Stderr = log, log
	dieWithParent(o.cmd)
	if err := o.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the operator: %w", err)
	}
	go func() {
		o.err = o.cmd.Wait()
		close(o.ended)
	}()
	return o, nil
}

// Ended is closed when the process has ended; Err says how, then.
func (o *Operator) Ended() <-chan struct{} { return o.ended }

// Err returns how the process ended; nil is exit code 0.
func (o *Operator) Err() error { return o.err }

// Signal sends the process a signal.
func (o *Operator) Signal(s os.Signal) error { return o.cmd.Process.Signal(s) }

// Stop shuts the operator down as Kubernetes does, and waits for it to end.
func (o *Operator) Stop(ctx context.Context) error {
	_ = o.cmd.Process.Signal(syscall.SIGTERM) // an ended process has nothing to be told
	select {
	case <-o.ended:
		return o.err
	case <-ctx.Done():
		o.Kill()
		return fmt.Errorf("the operator did not stop in time: %w", ctx.Err())
	}
}

// Kill ends the operator as a node failure does, and waits for it to end.
func (o *Operator) Kill() {
	_ = o.cmd.Process.Kill()
	<-o.ended
}

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

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

const (
	// namespace is where the demo creates everything in the user's own cluster.
	namespace = "teamtalk-demo"
	// samplesTimeout bounds the time until all samples have finished.
	samplesTimeout = 2 * time.Minute
)

// stage is a running demo.
type stage struct {
	framework.Cleanups
	bin  string
	exit bool
	// current uses a cluster as its administrator: the user's, or with kind a new one.
	current, kind bool

	root   string
	config *rest.Config
	// plane is the demo's own control plane, or nil with another cluster.
	plane      *controlplane.ControlPlane
	kubeconfig string
	client     client.WithWatch
	addresses  addresses
	inbox      string
	// ended counts the messages that have finished, by their reason.
	ended map[string]int
}

// addresses are the listeners of teamtalk-dev, and of the operator's gateway.
type addresses struct{ dbProxy, router, inbox, gateway string }

func say(format string, args ...any) { fmt.Printf("demo: "+format+"\n", args...) }

// play starts everything, applies the samples and waits for their end.
func (s *stage) play(ctx context.Context) error {
	log.SetLogger(logr.Discard()) // the libraries' logs
	var err error
	if s.root, err = framework.Root(); err != nil {
		return err
	}
	ended := make(chan error, 2)
	for _, start := range []func(context.Context, chan<- error) error{
		s.cluster, s.teamtalk, s.crds, s.operator,
	} {
		if err := start(ctx, ended); err != nil {
			return err
		}
	}
	sent := make(chan error, 1)
	go func() { sent <- s.send(ctx) }()
	select {
	case err := <-ended:
		return err
	case err = <-sent:
	}
	if s.exit || ctx.Err() != nil {
		return ignoreInterrupt(err)
	}
	if err != nil {
		say("%v", err)
	}
	s.printSummary()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// send applies the samples, posts the alert and waits for their end.
func (s *stage) send(ctx context.Context) error {
	samples, err := s.samples(ctx)
	if err != nil {
		return err
	}
	fmt.Printf(row, "NAME", "TO", "READY", "REASON", "DELIVERED", "MESSAGE")
	followed := s.follow(ctx, expectedReasons(samples))
	if errors.Is(followed, context.Canceled) {
		return followed
	}
	return errors.Join(followed, s.postAlert(ctx))
}

// ignoreInterrupt returns nil if the user interrupted the demo.
func ignoreInterrupt(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// cluster starts a control plane or a cluster of kind, or connects to the user's cluster.
func (s *stage) cluster(ctx context.Context, _ chan<- error) error {
	if s.kind {
		if err := s.startKind(ctx); err != nil {
			return err
		}
	}
	if s.current {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = s.kubeconfig
		cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
		if err != nil {
			return fmt.Errorf("CLUSTER=current needs a kubeconfig: set KUBECONFIG: %w", err)
		}
		s.config = cfg
		say("using the cluster at %s, in namespace %s", cfg.Host, namespace)
		return s.connect()
	}
	say("starting kube-apiserver and etcd")
	plane, err := controlplane.Start(ctx, controlplane.Options{Log: say})
	if err != nil {
		return err
	}
	s.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			say("%v", err)
		}
	})
	s.plane, s.config, s.kubeconfig = plane, plane.Config(), filepath.Join(s.bin, "kubeconfig")
	if err := plane.WriteKubeconfig(s.kubeconfig); err != nil {
		return err
	}
	return s.connect()
}

// startKind creates a cluster of kind and deletes it at the end. The programs run on this
// machine as with every other cluster.
func (s *stage) startKind(ctx context.Context) error {
	s.kubeconfig = filepath.Join(s.bin, "kubeconfig")
	if err := os.Remove(s.kubeconfig); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the kubeconfig of an earlier demo: %w", err) // kind would add to it
	}
	s.Cleanup(func() { // also if the cluster is not complete
		say("deleting cluster %s", namespace)
		remove := exec.Command("kind", "delete", "cluster", "--name", namespace, "--kubeconfig", s.kubeconfig)
		if out, err := remove.CombinedOutput(); err != nil {
			say("kind delete cluster: %v: %s", err, out)
		}
	})
	say("creating cluster %s with kind; the first time it downloads an image", namespace)
	create := exec.CommandContext(ctx, "kind", "create", "cluster", "--name", namespace, "--kubeconfig", s.kubeconfig,
		"--wait", "2m")
	create.Stdout, create.Stderr = os.Stdout, os.Stderr
	if err := create.Run(); err != nil {
		return fmt.Errorf("kind create cluster: %w: see above", err)
	}
	return nil
}

func (s *stage) connect() error {
	scheme, err := process.NewScheme()
	if err != nil {
		return err
	}
	s.client, err = client.NewWithWatch(s.config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	return nil
}

// teamtalk starts teamtalk-dev. It and the gateway listen on their default ports if these are free.
func (s *stage) teamtalk(_ context.Context, ended chan<- error) error {
	var err error
	for _, a := range []struct {
		to    *string
		usual string
	}{
		{&s.addresses.dbProxy, "127.0.0.1:10600"},
		{&s.addresses.router, "127.0.0.1:8200"},
		{&s.addresses.inbox, "127.0.0.1:10680"},
		{&s.addresses.gateway, "127.0.0.1:8400"},
	} {
		if *a.to, err = freeAddress(a.usual); err != nil {
			return err
		}
	}
	s.inbox = "http://" + s.addresses.inbox + "/"
	say("starting teamtalk-dev: db_proxy at %s, router at %s, inbox at %s",
		s.addresses.dbProxy, s.addresses.router, s.inbox)
	return s.start(ended, "teamtalk-dev", "--db-proxy-address", s.addresses.dbProxy,
		"--router-address", s.addresses.router, "--inbox-address", s.addresses.inbox)
}

// freeAddress returns the usual address, or another one if it is in use.
func freeAddress(usual string) (string, error) {
	for _, address := range []string{usual, "127.0.0.1:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		address = l.Addr().String()
		if err := l.Close(); err != nil {
			return "", err
		}
		if address != usual {
			say("%s is in use; using %s", usual, address)
		}
		return address, nil
	}
	return "", fmt.Errorf("%s and all other ports of 127.0.0.1 are in use", usual)
}

func (s *stage) crds(ctx context.Context, _ chan<- error) error {
	say("installing the CRDs")
	return framework.InstallCRDs(ctx, s.client, filepath.Join(s.root, "config", "crd", "bases"))
}

// operator starts the operator with a gateway: in the demo's own control plane with the rights of
// their roles, in another cluster with the administrator's.
func (s *stage) operator(ctx context.Context, ended chan<- error) error {
	kubeconfig, leases := filepath.Join(s.bin, "operator.kubeconfig"), metav1.NamespaceDefault
	config := s.config
	if s.current {
		leases = namespace
		if err := s.checkNoOperator(ctx); err != nil {
			return err
		}
		if err := s.createNamespace(ctx); err != nil {
			return err
		}
	} else {
		if err := framework.BindOperator(ctx, s.client, process.Name, leases); err != nil {
			return err
		}
		if err := framework.BindGateway(ctx, s.client, process.Name); err != nil {
			return err
		}
		// The samples' namespace.
		if err := framework.GrantNamespace(ctx, s.client, process.Name, metav1.NamespaceDefault); err != nil {
			return err
		}
		var err error
		if config, err = s.plane.User(process.Name); err != nil {
			return err
		}
	}
	if err := framework.WriteKubeconfig(kubeconfig, config); err != nil {
		return err
	}
	say("starting the operator, with its gateway at %s", s.addresses.gateway)
	return s.start(ended, process.Name, framework.OperatorArgs(kubeconfig, leases, "--log-format", "text",
		"--gateway-bind-address", s.addresses.gateway, "--gateway-auth", "None", "--gateway-namespace", leases)...)
}

// checkNoOperator returns an error if an operator runs in the cluster: two operators would
// deliver the samples twice.
func (s *stage) checkNoOperator(ctx context.Context) error {
	leases := &coordinationv1.LeaseList{}
	if err := s.client.List(ctx, leases); err != nil {
		return fmt.Errorf("list the Leases: %w", err)
	}
	for _, l := range leases.Items {
		if l.Name == process.Name && l.Spec.RenewTime != nil && time.Since(l.Spec.RenewTime.Time) < time.Minute &&
			l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" {
			return fmt.Errorf("an operator runs in this cluster (Lease %s/%s), and the demo's would send everything again: "+
				"stop it, or unset CLUSTER", l.Namespace, l.Name)
		}
	}
	messages := &v1alpha1.TeamTalkMessageList{}
	if err := s.client.List(ctx, messages); err != nil {
		return fmt.Errorf("list the messages: %w", err)
	}
	for i := range messages.Items {
		if m := &messages.Items[i]; !m.Finished() {
			return fmt.Errorf("TeamTalkMessage %s/%s is unfinished, and the demo's operator would deliver it: "+
				"delete it, let it finish, or unset CLUSTER", m.Namespace, m.Name)
		}
	}
	return nil
}

// createNamespace creates the demo's namespace. In the user's cluster it is deleted at the end.
func (s *stage) createNamespace(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := s.client.Create(ctx, ns); err != nil {
		if apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("namespace %s exists already, perhaps from another demo: "+
				"delete it, or wait until it is deleted", namespace)
		}
		return fmt.Errorf("create namespace %s: %w", namespace, err)
	}
	if s.kind {
		return nil // it is deleted with the cluster
	}
	s.Cleanup(func() {
		say("deleting namespace %s; the CRDs stay", namespace)
		if err := s.client.Delete(context.Background(), ns); err != nil {
			say("%v", err)
		}
	})
	return nil
}

// start starts a program, with its log in a file, and stops it at the end.
func (s *stage) start(ended chan<- error, program string, args ...string) error {
	path := filepath.Join(s.bin, program+".log")
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("create the log of %s: %w", program, err)
	}
	p, err := framework.Start(filepath.Join(s.bin, program), file, args...)
	if err != nil {
		return err
	}
	stopping := make(chan struct{})
	s.Cleanup(func() {
		close(stopping)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := p.Stop(ctx); err != nil {
			say("%s: %v; see %s", program, err, path)
		}
		_ = file.Close()
	})
	go func() {
		<-p.Ended()
		select {
		case <-stopping:
		default:
			ended <- fmt.Errorf("%s ended: see %s", program, path)
		}
	}()
	return nil
}

// samples applies config/samples and returns the messages.
func (s *stage) samples(ctx context.Context) ([]*unstructured.Unstructured, error) {
	objects, err := framework.Kustomize(filepath.Join(s.root, "config", "samples"))
	if err != nil {
		return nil, err
	}
	var messages []*unstructured.Unstructured
	for _, o := range objects {
		if s.current {
			o.SetNamespace(namespace)
		}
		switch o.GetKind() {
		case "TeamTalkServer":
			if err := s.setEndpoints(o); err != nil {
				return nil, err
			}
		case "TeamTalkMessage":
			messages = append(messages, o)
		}
	}
	say("applying config/samples: %d messages", len(messages))
	return messages, framework.Apply(ctx, s.client, objects...)
}

// setEndpoints sets the server's endpoints to the listeners of teamtalk-dev.
func (s *stage) setEndpoints(server *unstructured.Unstructured) error {
	return errors.Join(
		unstructured.SetNestedStringSlice(server.Object, []string{s.addresses.dbProxy}, "spec", "dbProxy", "endpoints"),
		unstructured.SetNestedStringSlice(server.Object, []string{s.addresses.router}, "spec", "router", "endpoints"),
	)
}

// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
)

// Name is the name of the operator in its Lease, events and API requests.
const Name = "teamtalk-operator"

// KubeconfigUsage describes the flag --kubeconfig.
const KubeconfigUsage = "kubeconfig `file`. " +
	"If empty, $KUBECONFIG, the service account of the pod, or ~/.kube/config is used"

// PodNamespace returns the namespace of the pod, and "default" outside a cluster.
func PodNamespace() string {
	if b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
		return strings.TrimSpace(string(b))
	}
	return "default"
}

// RESTConfig returns the configuration of the API clients. See KubeconfigUsage.
func RESTConfig(kubeconfig string) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	if kubeconfig != "" {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	} else {
		cfg, err = config.GetConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("no cluster configured: set --kubeconfig or KUBECONFIG, or run in a pod: %w", err)
	}
	cfg.UserAgent = Name
	// Each message needs a status update. The API server's priority and fairness limits the rate.
	cfg.QPS = -1
	return cfg, nil
}

// minKubernetes is the first version in which selectable fields of custom resources are stable.
var minKubernetes = version.MajorMinor(1, 32)

// checkVersion returns an error if the cluster is too old.
func checkVersion(cfg *rest.Config) error {
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return fmt.Errorf("set up the API client: %w", err)
	}
	info, err := d.ServerVersion()
	if err != nil {
		return fmt.Errorf("get the version of the cluster at %s: %w", cfg.Host, err)
	}
	v, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return fmt.Errorf("the cluster at %s has the version %q: %w", cfg.Host, info.GitVersion, err)
	}
	if v.LessThan(minKubernetes) {
		return fmt.Errorf("the cluster at %s runs Kubernetes %s, and the operator needs %s or later: upgrade the cluster",
			cfg.Host, info.GitVersion, minKubernetes)
	}
	return nil
}

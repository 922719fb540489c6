package controlplane

import (
	"context"
	"path"
)

// nodePrograms are what a cluster with a node runs beside the control plane.
var nodePrograms = []string{"kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler"}

// NodeAssets returns a folder that holds kubelet, kube-proxy, kube-controller-manager
// and kube-scheduler, of the version that hack/controlplane names. Nobody publishes
// them for tests, so they are built on first use, in minutes, and kept beside what
// Assets builds. Kubelet runs on Linux alone. It uses only o.Log.
func NodeAssets(ctx context.Context, o Options) (dir string, err error) {
	f := finder{log: o.log(), programs: nodePrograms, build: buildNode}
	if f.source, f.cache, err = places(); err != nil {
		return "", err
	}
	f.source.key = f.source.nodeKey
	return f.find(ctx)
}

func buildNode(ctx context.Context, log func(format string, args ...any), s source, into string) error {
	var packages []string
	for _, name := range nodePrograms {
		packages = append(packages, path.Join(kubernetesModule, "cmd", name))
	}
	return compile(ctx, log, s, into, "what a node of Kubernetes "+s.kubernetes+" runs", packages)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// loadPace is how often a message is declared while the release is upgraded.
const loadPace = 25 * time.Millisecond

// upgrade replaces all pods with helm while messages are declared without a pause.
func (w *world) upgrade(ctx context.Context) (seen string) {
	before := w.uids(ctx)
	load := w.batch("upgraded")
	loading, stop := context.WithCancel(ctx)
	declared := make(chan error, 1)
	go func() { declared <- w.declareSteadily(loading, load) }()
	began := time.Now()
	err := framework.Try(func() {
		w.helm(ctx, append([]string{"upgrade", release, w.chart()},
			w.values("--set-string", "log.level=debug,podAnnotations.run="+w.id)...)...)
		w.rolledOut(ctx, system, release)
		w.rolledOut(ctx, system, gateway)
	})
	took := time.Since(began)
	stop()
	framework.Must(errors.Join(err, <-declared))
	after := w.uids(ctx)
	for uid, name := range before {
		if after[uid] != "" {
			framework.Failf("the upgrade has left the pod %s as it was", name)
		}
	}
	w.delivered(ctx, load)
	return fmt.Sprintf("%d pods replaced in %.1f s, %d messages declared meanwhile; %s", len(before), took.Seconds(),
		load.size(), w.count(ctx))
}

// declareSteadily declares one message after the other until ctx ends.
func (w *world) declareSteadily(ctx context.Context, b *batch) error {
	ticker := time.NewTicker(loadPace)
	defer ticker.Stop()
	for i := 0; ; i++ {
		// Not interrupted: what is declared is counted.
		if err := w.declare(context.WithoutCancel(ctx), b, i); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// uids are the pods of the release, by UID.
func (w *world) uids(ctx context.Context) map[types.UID]string {
	list := &corev1.PodList{}
	framework.Must(w.admin.List(ctx, list, client.InNamespace(system)))
	pods := map[types.UID]string{}
	for _, p := range list.Items {
		pods[p.UID] = p.Name
	}
	return pods
}

// uninstall removes the release, and checks that all messages are as they were.
func (w *world) uninstall(ctx context.Context) (seen string) {
	before := w.messages(ctx)
	w.helm(ctx, "uninstall", release, "--wait", "--timeout", patience.String())
	w.await(ctx, "the operator is gone", func() (string, bool) {
		pods, deployments := w.uids(ctx), &appsv1.DeploymentList{}
		framework.Must(w.admin.List(ctx, deployments, client.InNamespace(system)))
		return fmt.Sprintf("%d pods, %d Deployments", len(pods), len(deployments.Items)),
			len(pods)+len(deployments.Items) == 0
	})
	after := w.messages(ctx)
	if len(before) == 0 || !maps.Equal(before, after) {
		framework.Failf("%d messages before, %d after, or one is not as it was", len(before), len(after))
	}
	servers := &v1alpha1.TeamTalkServerList{}
	framework.Must(w.admin.List(ctx, servers, client.InNamespace(chat)))
	if len(servers.Items) != 1 {
		framework.Failf("%d TeamTalkServers are left, want 1", len(servers.Items))
	}
	return fmt.Sprintf("%d TeamTalkMessages and their CRDs are as they were; %s", len(after), w.count(ctx))
}

// messages are the resourceVersions of all messages, by UID.
func (w *world) messages(ctx context.Context) map[types.UID]string {
	list := &v1alpha1.TeamTalkMessageList{}
	framework.Must(w.admin.List(ctx, list, client.InNamespace(chat)))
	versions := map[types.UID]string{}
	for _, m := range list.Items {
		versions[m.UID] = m.ResourceVersion
	}
	return versions
}

func restarts(p *corev1.Pod) (n int32) {
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

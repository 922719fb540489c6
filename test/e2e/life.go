// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
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
	took := w.underLoad(ctx, load, func() {
		w.helm(ctx, append([]string{"upgrade", release, w.chart()},
			w.values("--set-string", "log.level=debug,podAnnotations.run="+w.id)...)...)
		w.rolledOut(ctx, system, release)
		w.rolledOut(ctx, system, gateway)
	})
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

// move installs the chart again, under another name and in another namespace, and removes the first release, while
// messages are declared without a pause. Of the two operators one sends.
func (w *world) move(ctx context.Context) (seen string) {
	load := w.batch("moved")
	var beside int
	took := w.underLoad(ctx, load, func() {
		w.helm(ctx, append([]string{"install", movedAs, w.chart(), "--namespace", movedTo},
			w.values("--set", "crds.install=false,gateway.enabled=false")...)...)
		w.await(ctx, "the second operator refuses", func() (string, bool) {
			events := &eventsv1.EventList{}
			framework.Must(w.admin.List(ctx, events))
			refuses := func(e eventsv1.Event) bool { return e.Reason == v1alpha1.ReasonManagedByAnother }
			return fmt.Sprintf("%d events", len(events.Items)), slices.ContainsFunc(events.Items, refuses)
		})
		w.managedBy(ctx, system)
		first := load.size()
		w.await(ctx, "both run for a while", func() (string, bool) {
			beside = load.size() - first
			return fmt.Sprintf("%d messages declared beside both", beside), beside >= 100
		})
		w.helm(ctx, "uninstall", release, "--wait", "--timeout", patience.String())
		w.moved = true
		w.managedBy(ctx, movedTo)
	})
	w.delivered(ctx, load)
	return fmt.Sprintf("moved in %.1f s, %d messages declared meanwhile, %d of them beside both; %s",
		took.Seconds(), load.size(), beside, w.count(ctx))
}

// managedBy waits until an operator in the namespace has claimed the server.
func (w *world) managedBy(ctx context.Context, namespace string) {
	w.await(ctx, "the server is managed from "+namespace, func() (string, bool) {
		servers := &v1alpha1.TeamTalkServerList{}
		framework.Must(w.admin.List(ctx, servers, client.InNamespace(chat)))
		if len(servers.Items) != 1 || servers.Items[0].Status.ManagedBy == nil {
			return fmt.Sprintf("%d servers, or nobody has claimed it", len(servers.Items)), false
		}
		by := servers.Items[0].Status.ManagedBy
		return by.LeaseNamespace + "/" + by.LeaseName, by.LeaseNamespace == namespace
	})
}

// underLoad declares messages without a pause while do runs, and returns how long that took.
func (w *world) underLoad(ctx context.Context, load *batch, do func()) (took time.Duration) {
	loading, stop := context.WithCancel(ctx)
	declared := make(chan error, 1)
	go func() { declared <- w.declareSteadily(loading, load) }()
	began := time.Now()
	err := framework.Try(do)
	took = time.Since(began)
	stop()
	framework.Must(errors.Join(err, <-declared))
	return took
}

// declareSteadily declares one message after the other until ctx ends.
func (w *world) declareSteadily(ctx context.Context, b *batch) error {
	ticker := time.NewTicker(loadPace)
	defer ticker.Stop()
	for i := 0; ; i++ {
		// Not interrupted: the declared messages are counted.
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

// inReleases selects what the chart has installed, in either namespace.
var inReleases = client.MatchingLabels{"app.kubernetes.io/name": release}

// uids are the pods of the releases, by UID.
func (w *world) uids(ctx context.Context) map[types.UID]string {
	list := &corev1.PodList{}
	framework.Must(w.admin.List(ctx, list, inReleases))
	pods := map[types.UID]string{}
	for _, p := range list.Items {
		pods[p.UID] = p.Name
	}
	return pods
}

// uninstall removes the release, and checks that all messages are as they were.
func (w *world) uninstall(ctx context.Context) (seen string) {
	before := w.messages(ctx)
	namespace, name := system, release
	if w.moved {
		namespace, name = movedTo, movedAs
	}
	w.helm(ctx, "uninstall", name, "--namespace", namespace, "--wait", "--timeout", patience.String())
	w.await(ctx, "the operator is gone", func() (string, bool) {
		pods, deployments := w.uids(ctx), &appsv1.DeploymentList{}
		framework.Must(w.admin.List(ctx, deployments, inReleases))
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

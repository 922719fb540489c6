// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// loadPace is how often a message is declared while the release is upgraded.
const loadPace = 25 * time.Millisecond

// upgrade replaces all pods with helm while messages are declared without a pause.
func (w *world) upgrade(ctx context.Context) (seen string, err error) {
	before, err := w.uids(ctx)
	if err != nil {
		return "", err
	}
	load := w.batch("upgraded")
	loading, stop := context.WithCancel(ctx)
	defer stop()
	declared := make(chan error, 1)
	go func() { declared <- w.declareSteadily(loading, load) }()
	began := time.Now()
	err = w.helm(ctx, append([]string{"upgrade", release, w.chart()},
		w.values("--set-string", "log.level=debug,podAnnotations.run="+w.id)...)...)
	if err == nil {
		err = errors.Join(w.rolledOut(ctx, system, release), w.rolledOut(ctx, system, gateway))
	}
	took := time.Since(began)
	stop()
	if err := errors.Join(err, <-declared); err != nil {
		return "", err
	}
	after, err := w.uids(ctx)
	if err != nil {
		return "", err
	}
	for uid, name := range before {
		if after[uid] != "" {
			return "", fmt.Errorf("the upgrade has left the pod %s as it was", name)
		}
	}
	if err := w.delivered(ctx, load); err != nil {
		return "", err
	}
	counted, err := w.count(ctx)
	return fmt.Sprintf("%d pods replaced in %.1f s, %d messages declared meanwhile; %s", len(before), took.Seconds(),
		load.size(), counted), err
}

// declareSteadily declares one message after the other until ctx ends.
func (w *world) declareSteadily(ctx context.Context, b *batch) error {
	ticker := time.NewTicker(loadPace)
	defer ticker.Stop()
	for i := 0; ; i++ {
		// Whole, or not at all: what is declared is counted.
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
func (w *world) uids(ctx context.Context) (map[types.UID]string, error) {
	list := &corev1.PodList{}
	err := w.admin.List(ctx, list, client.InNamespace(system))
	pods := map[types.UID]string{}
	for _, p := range list.Items {
		pods[p.UID] = p.Name
	}
	return pods, err
}

// uninstall removes the release, and sees that all messages are as they were.
func (w *world) uninstall(ctx context.Context) (seen string, err error) {
	before, err := w.messages(ctx)
	if err != nil {
		return "", err
	}
	if err := w.helm(ctx, "uninstall", release, "--wait", "--timeout", patience.String()); err != nil {
		return "", err
	}
	if err := await(ctx, "the operator is gone", func(ctx context.Context) (string, bool, error) {
		pods, err := w.uids(ctx)
		if err != nil {
			return "", false, err
		}
		deployments := &appsv1.DeploymentList{}
		err = w.admin.List(ctx, deployments, client.InNamespace(system))
		return fmt.Sprintf("%d pods, %d Deployments", len(pods),
			len(deployments.Items)), len(pods)+len(deployments.Items) == 0, err
	}); err != nil {
		return "", err
	}
	after, err := w.messages(ctx)
	if err != nil {
		return "", fmt.Errorf("the messages cannot be read any more: %w", err)
	}
	if len(before) == 0 || len(before) != len(after) {
		return "", fmt.Errorf("%d messages before, %d after", len(before), len(after))
	}
	for uid, version := range before {
		if after[uid] != version {
			return "", fmt.Errorf("the message with UID %s is not as it was", uid)
		}
	}
	servers := &v1alpha1.TeamTalkServerList{}
	if err := w.admin.List(ctx, servers, client.InNamespace(chat)); err != nil {
		return "", err
	}
	if len(servers.Items) != 1 {
		return "", fmt.Errorf("%d TeamTalkServers are left, want 1", len(servers.Items))
	}
	counted, err := w.count(ctx)
	return fmt.Sprintf("%d TeamTalkMessages and their kinds are as they were; %s", len(after), counted), err
}

// messages are the resourceVersions of all messages, by UID.
func (w *world) messages(ctx context.Context) (map[types.UID]string, error) {
	list := &v1alpha1.TeamTalkMessageList{}
	err := w.admin.List(ctx, list, client.InNamespace(chat))
	versions := map[types.UID]string{}
	for _, m := range list.Items {
		versions[m.UID] = m.ResourceVersion
	}
	return versions, err
}

// restarts counts how often a pod's containers have ended.
func restarts(p *corev1.Pod) (n int32) {
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

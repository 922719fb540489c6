// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// logsIn makes the folder for what programs and pods print, without an earlier run's.
func logsIn(root string) string {
	dir := filepath.Join(root, "bin", "e2e.logs")
	framework.Must(os.RemoveAll(dir))
	framework.Must(os.MkdirAll(dir, 0o755))
	return dir
}

// follow keeps the logs of containers until they end: a log is lost with its pod.
func (w *world) follow(ctx context.Context, pods []corev1.Pod) {
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running == nil || w.followed[c.ContainerID] {
				continue
			}
			w.followed[c.ContainerID] = true
			// By the container too, as a pod has several after one another.
			id := strings.TrimPrefix(c.ContainerID, "containerd://")
			path := filepath.Join(w.Logs, p.Name+"-"+id[:min(8, len(id))]+".log")
			go func() {
				if err := w.copyLog(ctx, p, c.Name, path); err != nil && ctx.Err() == nil {
					say("the log of %s is not kept: %v", p.Name, err)
				}
			}()
		}
	}
}

func (w *world) copyLog(ctx context.Context, p corev1.Pod, container, path string) error {
	log, err := w.core.CoreV1().Pods(p.Namespace).GetLogs(p.Name,
		&corev1.PodLogOptions{Container: container, Follow: true, Timestamps: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, log)
	return err
}

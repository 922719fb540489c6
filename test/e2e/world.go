// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// system is the operator's namespace, chat that of the messages and of TeamTalk.
	system = "teamtalk-e2e"
	chat   = "teamtalk-e2e-chat"
	// movedTo is the namespace of the release that replaces the first one, under the name movedAs.
	movedTo, movedAs = "teamtalk-e2e-moved", "announcements"
	// release is the release's name, and with it the operator's and its Lease's.
	release = "teamtalk-operator"
	gateway = "teamtalk-gateway"
)

// patience bounds each wait for something that takes seconds.
const patience = 3 * time.Minute

type plan struct {
	Root, Logs, Helm string
	// Plugin is kubectl-teamtalk; "": it is not run.
	Plugin string
	// Images, as NAME:TAG.
	Operator, Dev string
	// Keep: stop at the first step that fails, or before anything is removed.
	Keep bool
	// Report: a missed bar is no failure. A busy machine proves nothing about speed.
	Report bool
}

// asked is what of a plan the environment says.
func asked() plan {
	return plan{Keep: os.Getenv("E2E_KEEP") != "", Report: os.Getenv("E2E_BARS") == "report"}
}

// namespaces are those that a run makes.
var namespaces = []string{system, movedTo, chat}

// world is the cluster that a run is about, and what it has made of it.
type world struct {
	plan
	kubeconfig string
	config     *rest.Config
	admin      client.WithWatch
	core       kubernetes.Interface
	// kill ends a container's process with SIGKILL; nil if the node cannot be reached.
	kill func(ctx context.Context, containerID string) error
	// id names the run in every text.
	id       string
	batches  []*batch
	followed map[string]bool
	// gaps are the times without deliveries, by the cause of the leader's end.
	gaps map[string][]time.Duration
	// moved: the first release is removed, and the second one is installed.
	moved bool
}

func newWorld(p plan, config *rest.Config, kubeconfig string) *world {
	scheme := runtime.NewScheme()
	framework.Must(errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 1000, 2000
	return &world{
		plan: p, config: config, kubeconfig: kubeconfig, id: fmt.Sprintf("%x", time.Now().UnixNano()),
		gaps: map[string][]time.Duration{}, followed: map[string]bool{},
		admin: framework.MustGet(client.NewWithWatch(config, client.Options{Scheme: scheme})),
		core:  framework.MustGet(kubernetes.NewForConfig(config)),
	}
}

// helm runs helm with settings of its own, not the user's, and in the namespace system unless args name another.
func (w *world) helm(ctx context.Context, args ...string) {
	// Beside the kubeconfig, with which it is removed in any case.
	home := framework.MustGet(os.MkdirTemp(filepath.Dir(w.kubeconfig), "helm-"))
	defer os.RemoveAll(home)
	verb := args[0]
	args = append([]string{"--kubeconfig", w.kubeconfig, "--namespace", system}, args...)
	cmd := exec.CommandContext(ctx, w.Helm, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	framework.Mustf(err, "helm %s: %s", verb, strings.TrimSpace(string(out)))
}

func (w *world) chart() string { return filepath.Join(w.Root, "charts", release) }

// values are the chart's, as the run installs it.
func (w *world) values(more ...string) []string {
	repository, tag, _ := cutTag(w.Operator)
	return append([]string{
		"--set", "image.repository=" + repository + ",image.tag=" + tag,
		"--set", "gateway.enabled=true,gateway.namespaces={" + chat + "},access.secrets.namespaces={" + chat + "}",
		"--wait", "--timeout", patience.String(),
	}, more...)
}

// cutTag splits an image's name, which may have a port in it, from its tag.
func cutTag(image string) (name, tag string, ok bool) {
	at := strings.LastIndex(image, ":")
	if at < 0 || strings.Contains(image[at:], "/") {
		return image, "", false
	}
	return image[:at], image[at+1:], true
}

// pods returns those of a component that are not being deleted.
func (w *world) pods(ctx context.Context, component string) []corev1.Pod {
	list := &corev1.PodList{}
	framework.Must(w.admin.List(ctx, list, client.InNamespace(system), client.MatchingLabels{
		"app.kubernetes.io/instance": release, "app.kubernetes.io/component": component,
	}))
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// rolledOut waits until a Deployment is as declared, without earlier pods.
func (w *world) rolledOut(ctx context.Context, namespace, name string) {
	w.await(ctx, name+" is rolled out", func() (string, bool) {
		d, list := &appsv1.Deployment{}, &corev1.PodList{}
		framework.Must(w.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, d))
		framework.Must(w.admin.List(ctx, list, client.InNamespace(namespace),
			client.MatchingLabels(d.Spec.Selector.MatchLabels)))
		w.follow(ctx, list.Items)
		want, s := *d.Spec.Replicas, d.Status
		return describe(list.Items), s.ObservedGeneration == d.Generation && s.UpdatedReplicas == want &&
			s.ReadyReplicas == want && int32(len(list.Items)) == want
	})
}

func describe(pods []corev1.Pod) string {
	var all []string
	for i := range pods {
		p := &pods[i]
		state := string(p.Status.Phase)
		if ready(p) {
			state = "ready"
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil {
				state += " " + c.State.Waiting.Reason + " " + c.State.Waiting.Message
			}
			if c.LastTerminationState.Terminated != nil {
				state += fmt.Sprintf(" (ended with %d before)", c.LastTerminationState.Terminated.ExitCode)
			}
		}
		all = append(all, p.Name+" "+state)
	}
	if len(all) == 0 {
		return "no pods"
	}
	return strings.Join(all, ", ")
}

// await waits for a condition, which may fail meanwhile, as a cluster does that is being changed.
func await(ctx context.Context, what string, condition framework.Condition) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return framework.Await(ctx, what, framework.Retried(condition))
}

// await is the function await with a check that may call Must. ctx is not limited there.
func (w *world) await(ctx context.Context, what string, check func() (seen string, met bool)) {
	framework.Must(await(ctx, what, framework.Checked(func(context.Context) (string, bool) { return check() })))
}

// logsIn creates an empty folder for the logs of programs and pods.
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

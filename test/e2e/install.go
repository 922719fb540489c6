// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// dev is the name of teamtalk-dev's Deployment and Service.
const dev = "teamtalk-dev"

// inboxPort is where teamtalk-dev shows what it has stored.
const inboxPort = 10680

//go:embed manifests
var manifests embed.FS

// apply applies a manifest, with values for the names in it.
func (w *world) apply(ctx context.Context, name string, values map[string]string) {
	b := framework.MustGet(manifests.ReadFile("manifests/" + name))
	objects, err := framework.Decode([]byte(os.Expand(string(b), func(key string) string { return values[key] })))
	framework.Mustf(err, "read %s", name)
	framework.Must(framework.Apply(ctx, w.admin, objects...))
}

// namespaces makes those of the run, and checks that they are strict.
func (w *world) namespaces(ctx context.Context) (seen string) {
	for _, name := range namespaces {
		framework.Must(w.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
		}}))
		// Pods need an account, which a controller makes.
		w.await(ctx, "namespace "+name+" has its account", func() (string, bool) {
			framework.Must(w.admin.Get(ctx, client.ObjectKey{Namespace: name, Name: "default"}, &corev1.ServiceAccount{}))
			return "", true
		})
		root := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "root", Namespace: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "root", Image: w.Operator}}},
		}
		err := w.admin.Create(ctx, root, client.DryRunAll)
		switch {
		case err == nil:
			framework.Failf("a pod that may run as root is not refused in %s", name)
		case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted"):
			framework.Failf("a pod that may run as root is refused in %s, but for another reason: %w", name, err)
		}
	}
	return "a pod that may run as root is refused"
}

func (w *world) installTeamTalk(ctx context.Context) (seen string) {
	w.apply(ctx, "teamtalk.yaml", map[string]string{
		"NAMESPACE": chat, "NAME": dev, "IMAGE": w.Dev, "KEY": (rand.Text() + rand.Text())[:32],
	})
	w.rolledOut(ctx, chat, dev)
	return ""
}

func (w *world) installChart(ctx context.Context) (seen string) {
	err := framework.Try(func() { w.helm(ctx, append([]string{"install", release, w.chart()}, w.values()...)...) })
	if err != nil {
		framework.Must(errors.Join(err, w.complaints(ctx, system)))
	}
	for component, name := range map[string]string{"operator": release, "gateway": gateway} {
		w.rolledOut(ctx, system, name)
		if pods := w.pods(ctx, component); len(pods) != 2 {
			framework.Failf("want two pods of the %s: %s", component, describe(pods))
		}
	}
	return "2 operators and 2 gateways are ready"
}

// complaints are what pods that do not become ready report.
func (w *world) complaints(ctx context.Context, namespace string) error {
	pods, events := &corev1.PodList{}, &corev1.EventList{}
	for _, list := range []client.ObjectList{pods, events} {
		if err := w.admin.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return err
		}
	}
	reported := []string{describe(pods.Items)}
	for _, e := range events.Items {
		if e.Type == corev1.EventTypeWarning {
			reported = append(reported, e.Message)
		}
	}
	return errors.New(strings.Join(reported, "; "))
}

func (w *world) serverReady(ctx context.Context) (seen string) {
	service := &corev1.Service{}
	framework.Must(w.admin.Get(ctx, client.ObjectKey{Namespace: chat, Name: dev}, service))
	w.apply(ctx, "server.yaml", map[string]string{"NAMESPACE": chat, "ADDRESS": service.Spec.ClusterIP})
	framework.Must(await(ctx, "the TeamTalkServer is Ready", framework.ServerReady(w.admin, chat)))
	return ""
}

// first messages: to each user and group, before anything goes wrong.
func (w *world) first(ctx context.Context) (seen string) {
	b := w.batch("first")
	framework.Must(w.declareAll(ctx, b, 120, nil))
	w.delivered(ctx, b)
	return w.count(ctx)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// dev is the name of teamtalk-dev's Deployment and Service.
const dev = "teamtalk-dev"

// inboxPort is where teamtalk-dev shows what it has stored.
const inboxPort = 10680

//go:embed manifests
var manifests embed.FS

// apply applies a manifest, with values for the names in it.
func (w *world) apply(ctx context.Context, name string, values map[string]string) error {
	b, err := manifests.ReadFile("manifests/" + name)
	if err != nil {
		return err
	}
	objects, err := framework.Decode([]byte(os.Expand(string(b), func(key string) string { return values[key] })))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return framework.Apply(ctx, w.admin, objects...)
}

// namespaces makes those of the run, and sees that they are strict.
func (w *world) namespaces(ctx context.Context) (seen string, err error) {
	for _, name := range []string{system, chat} {
		if err := w.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
		}}); err != nil {
			return "", fmt.Errorf("make the namespace %s: %w", name, err)
		}
		// Pods need an account, which a controller makes.
		if err := await(ctx, "namespace "+name+" has its account", func(ctx context.Context) (string, bool, error) {
			err := w.admin.Get(ctx, client.ObjectKey{Namespace: name, Name: "default"}, &corev1.ServiceAccount{})
			return "none", err == nil, err
		}); err != nil {
			return "", err
		}
		root := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "root", Namespace: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "root", Image: w.Operator}}},
		}
		err := w.admin.Create(ctx, root, client.DryRunAll)
		switch {
		case err == nil:
			return "", fmt.Errorf("a pod that may run as root is not refused in %s", name)
		case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted"):
			return "", fmt.Errorf("a pod that may run as root is refused in %s, but for another reason: %w", name, err)
		}
	}
	return "a pod that may run as root is refused", nil
}

func (w *world) installTeamTalk(ctx context.Context) (seen string, err error) {
	err = w.apply(ctx, "teamtalk.yaml", map[string]string{
		"NAMESPACE": chat, "NAME": dev, "IMAGE": w.Dev, "KEY": (rand.Text() + rand.Text())[:32],
	})
	if err != nil {
		return "", err
	}
	return "", w.rolledOut(ctx, chat, dev)
}

func (w *world) installChart(ctx context.Context) (seen string, err error) {
	if err := w.helm(ctx, append([]string{"install", release, w.chart()}, w.values()...)...); err != nil {
		return "", errors.Join(err, w.complaints(ctx))
	}
	for component, name := range map[string]string{"operator": release, "gateway": gateway} {
		if err := w.rolledOut(ctx, system, name); err != nil {
			return "", err
		}
		pods, err := w.pods(ctx, component)
		if err != nil {
			return "", err
		}
		if len(pods) != 2 {
			return "", fmt.Errorf("want two pods of the %s: %s", component, describe(pods))
		}
	}
	return "2 operators and 2 gateways are ready", nil
}

// complaints are what pods that do not come up say of themselves.
func (w *world) complaints(ctx context.Context) error {
	list := &corev1.PodList{}
	if err := w.admin.List(ctx, list, client.InNamespace(system)); err != nil {
		return err
	}
	events := &corev1.EventList{}
	if err := w.admin.List(ctx, events, client.InNamespace(system)); err != nil {
		return err
	}
	said := []string{describe(list.Items)}
	for _, e := range events.Items {
		if e.Type == corev1.EventTypeWarning {
			said = append(said, e.Message)
		}
	}
	return errors.New(strings.Join(said, "; "))
}

func (w *world) serverReady(ctx context.Context) (seen string, err error) {
	service := &corev1.Service{}
	if err := w.admin.Get(ctx, client.ObjectKey{Namespace: chat, Name: dev}, service); err != nil {
		return "", err
	}
	if err := w.apply(ctx, "server.yaml",
		map[string]string{"NAMESPACE": chat, "ADDRESS": service.Spec.ClusterIP}); err != nil {
		return "", err
	}
	return "", await(ctx, "the TeamTalkServer is Ready", func(ctx context.Context) (string, bool, error) {
		s := &v1alpha1.TeamTalkServer{}
		err := w.admin.Get(ctx, client.ObjectKey{Namespace: chat, Name: v1alpha1.DefaultServerName}, s)
		return fmt.Sprintf("%+v", s.Status.Conditions), meta.IsStatusConditionTrue(s.Status.Conditions,
			v1alpha1.ConditionReady), err
	})
}

// first messages: to each user and group, before anything goes wrong.
func (w *world) first(ctx context.Context) (seen string, err error) {
	b := w.batch("first")
	if err := w.declareAll(ctx, b, 120, nil); err != nil {
		return "", err
	}
	if err := w.delivered(ctx, b); err != nil {
		return "", err
	}
	return w.count(ctx)
}

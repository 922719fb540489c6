// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

// Labels of the pods of an installation.
const (
	nameLabel, instanceLabel = "app.kubernetes.io/name", "app.kubernetes.io/instance"
	componentLabel           = "app.kubernetes.io/component"
)

// gatewayLabels select the pods that may serve the gateway: its own, and the operator's.
const gatewayLabels = nameLabel + "=teamtalk-operator," + componentLabel + " in (gateway,operator)"

// gatewayPortName is the name of the gateway's port in a pod. An operator without a gateway has no such port.
const gatewayPortName = "http"

// gatewayAdvice says what to do where the plugin does not find a gateway.
const gatewayAdvice = "name a gateway with --gateway URL, see --help"

// gatewayPod is a pod that serves the gateway.
type gatewayPod struct {
	types.NamespacedName

	release string
	port    int
	// isTLS: the gateway has a certificate.
	isTLS, isReady bool
}

// route is the way to a gateway.
type route struct {
	url *url.URL
	// name describes the gateway for messages.
	name string
	// isPod: a forwarded port leads to a pod.
	isPod bool
	stop  func()
}

// reach returns the way to the gateway of the flags or, without one, to a pod that it finds.
func (t *receiverTest) reach(ctx context.Context, c client.Client, gateway *url.URL) (*route, error) {
	if gateway != nil {
		return &route{url: gateway, name: "the gateway at " + gateway.Host, stop: func() {}}, nil
	}
	list := &corev1.PodList{}
	selector, err := labels.Parse(gatewayLabels)
	if err != nil {
		return nil, err
	}
	switch err := c.List(ctx, list, client.MatchingLabelsSelector{Selector: selector}); {
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not list Pods in all namespaces, by which the gateway is found: ask for this "+
			"permission, or %s", gatewayAdvice)
	case err != nil:
		return nil, err
	}
	pod, err := chooseGateway(list.Items)
	if err != nil {
		return nil, err
	}
	config, err := t.RESTConfig()
	if err != nil {
		return nil, err
	}
	address, stop, err := kube.ForwardPort(ctx, config, pod.NamespacedName, pod.port)
	if err != nil {
		return nil, fmt.Errorf("the gateway cannot be reached: %w: check that you may create pods/portforward in "+
			"namespace %q, or %s", err, pod.Namespace, gatewayAdvice)
	}
	fmt.Fprintf(t.ErrOut, "posting to the gateway in pod %s\n", pod)
	u := &url.URL{Scheme: "http", Host: address}
	if pod.isTLS {
		u.Scheme = "https"
	}
	return &route{url: u, name: "the gateway in pod " + pod.String(), isPod: true, stop: stop}, nil
}

// chooseGateway returns a Ready pod of the only gateway. With several gateways it returns an error, because only the
// user knows which one may see the credentials of the receiver.
func chooseGateway(pods []corev1.Pod) (gatewayPod, error) {
	var found, ready []gatewayPod
	var releases, names []string
	for i := range pods {
		g, isGateway := asGateway(&pods[i])
		if !isGateway {
			continue
		}
		found, names = append(found, g), append(names, g.String())
		if release := g.Namespace + "/" + g.release; !slices.Contains(releases, release) {
			releases = append(releases, release)
		}
		if g.isReady {
			ready = append(ready, g)
		}
	}
	slices.Sort(names)
	switch {
	case len(found) == 0:
		return gatewayPod{}, fmt.Errorf("no pod in the cluster serves a gateway, with the labels %q and a port %q: "+
			"install the gateway (gateway.enabled of the chart), or %s", gatewayLabels, gatewayPortName, gatewayAdvice)
	case len(releases) > 1:
		return gatewayPod{}, fmt.Errorf("the cluster has several gateways, in the pods %s: %s",
			strings.Join(names, ", "), gatewayAdvice)
	case len(ready) == 0:
		return gatewayPod{}, fmt.Errorf("no pod of the gateway is Ready: %s: \"kubectl describe pods\" says why",
			strings.Join(names, ", "))
	}
	return slices.MinFunc(ready, func(a, b gatewayPod) int { return cmp.Compare(a.Name, b.Name) }), nil
}

// asGateway reports whether a pod that runs serves the gateway.
func asGateway(p *corev1.Pod) (g gatewayPod, isGateway bool) {
	if p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return g, false
	}
	g.NamespacedName, g.release = client.ObjectKeyFromObject(p), p.Labels[instanceLabel]
	g.isReady = slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		for _, port := range c.Ports {
			if port.Name == gatewayPortName && c.Name == p.Labels[componentLabel] {
				g.port, g.isTLS = int(port.ContainerPort), slices.ContainsFunc(c.Args, isCertificate)
				return g, true
			}
		}
	}
	return g, false
}

// isCertificate reports whether an argument gives the gateway a certificate, in its own process or in the operator's.
func isCertificate(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return strings.TrimPrefix(name, "gateway-") == "tls-cert-file"
}

// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// ForwardPort forwards a local port to a port of a pod, and returns its address. It forwards until stop is called or
// ctx ends.
func ForwardPort(
	ctx context.Context, config *rest.Config, pod types.NamespacedName, port int,
) (address string, stop func(), err error) {
	dialer, err := portDialer(config, pod)
	if err != nil {
		return "", nil, err
	}
	ctx, stop = context.WithCancel(ctx)
	isReady, ended := make(chan struct{}), make(chan error, 1)
	f, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"127.0.0.1"},
		[]string{fmt.Sprintf("0:%d", port)}, isReady, io.Discard, io.Discard)
	if err != nil {
		stop()
		return "", nil, err
	}
	go func() { ended <- f.ForwardPorts() }()
	select {
	case <-isReady:
		var ports []portforward.ForwardedPort
		if ports, err = f.GetPorts(); err == nil {
			return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), stop, nil
		}
	case err = <-ended:
		if err == nil {
			err = errors.New("the connection was closed")
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	stop()
	return "", nil, fmt.Errorf("forward port %d of pod %s: %w", port, pod, err)
}

// portDialer dials the port forwarding of a pod: with WebSockets, and with SPDY where a proxy or the API server does
// not support them.
func portDialer(config *rest.Config, pod types.NamespacedName) (httpstream.Dialer, error) {
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	url := base.JoinPath("api", "v1", "namespaces", pod.Namespace, "pods", pod.Name, "portforward")
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	newer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(newer, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

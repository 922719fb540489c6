// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// forward opens a way to a port of a pod, as kubectl port-forward does, and returns
// the local address. It is closed with stop.
func (w *world) forward(ctx context.Context, namespace, pod string, port int) (address string, stop func(), err error) {
	request := w.core.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod)
	url := request.SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(w.config)
	if err != nil {
		return "", nil, fmt.Errorf("forward a port: %w", err)
	}
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	newer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, w.config)
	if err != nil {
		return "", nil, fmt.Errorf("forward a port: %w", err)
	}
	dialer := portforward.NewFallbackDialerForStreaming(newer, older, httpstream.IsUpgradeFailure)
	stopped, isReady, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f, err := portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)},
		stopped, isReady, io.Discard, io.Discard)
	if err != nil {
		return "", nil, fmt.Errorf("forward a port: %w", err)
	}
	go func() { ended <- f.ForwardPorts() }()
	select {
	case <-isReady:
	case err := <-ended:
		return "", nil, fmt.Errorf("forward port %d of %s: %w", port, pod, err)
	case <-ctx.Done():
		close(stopped)
		return "", nil, context.Cause(ctx)
	}
	ports, err := f.GetPorts()
	if err != nil {
		close(stopped)
		return "", nil, fmt.Errorf("forward port %d of %s: %w", port, pod, err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), func() { close(stopped) }, nil
}

// request is one to a pod.
type request struct {
	namespace, pod string
	port           int
	// tls: whoever answers is trusted, as the way there leads to that pod alone.
	tls          bool
	method, path string
	token, body  string
}

// ask sends a request to a pod, by a port of its that is forwarded.
func (w *world) ask(ctx context.Context, r request) (status int, body string, err error) {
	address, stop, err := w.forward(ctx, r.namespace, r.pod, r.port)
	if err != nil {
		return 0, "", err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	scheme := "http"
	if r.tls {
		scheme = "https"
	}
	q, err := http.NewRequestWithContext(ctx, r.method, scheme+"://"+address+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, "", err
	}
	if r.token != "" {
		q.Header.Set("Authorization", "Bearer "+r.token)
	}
	c := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		//nolint:gosec // the operator's own certificate, which nobody can verify, by a port of its pod
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	answer, err := c.Do(q)
	if err != nil {
		return 0, "", fmt.Errorf("ask %s: %w", r.pod, err)
	}
	b, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(b), errors.Join(err, answer.Body.Close())
}

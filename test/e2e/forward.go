// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// forward forwards a pod's port to the local address that it returns, until stop is called.
func (w *world) forward(ctx context.Context, namespace, pod string, port int) (address string, stop func()) {
	request := w.core.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod)
	url := request.SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(w.config)
	framework.Must(err)
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	newer := framework.MustGet(portforward.NewSPDYOverWebsocketDialerForStreaming(url, w.config))
	dialer := portforward.NewFallbackDialerForStreaming(newer, older, httpstream.IsUpgradeFailure)
	stopped, isReady, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f := framework.MustGet(portforward.NewOnAddressesForStreaming(dialer, []string{"127.0.0.1"},
		[]string{fmt.Sprintf("0:%d", port)}, stopped, isReady, io.Discard, io.Discard))
	go func() { ended <- f.ForwardPorts() }()
	select {
	case <-isReady:
	case err := <-ended:
		framework.Mustf(err, "forward port %d of %s", port, pod)
	case <-ctx.Done():
		close(stopped)
		framework.Must(context.Cause(ctx))
	}
	ports, err := f.GetPorts()
	if err != nil {
		close(stopped)
		framework.Mustf(err, "forward port %d of %s", port, pod)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local), func() { close(stopped) }
}

// request is one to a pod.
type request struct {
	namespace, pod string
	port           int
	// tls: any certificate is trusted, as the forwarded port leads to that pod alone.
	tls          bool
	method, path string
	token, body  string
}

// ask sends a request to a pod, through a forwarded port.
func (w *world) ask(ctx context.Context, r request) (status int, body string) {
	address, stop := w.forward(ctx, r.namespace, r.pod, r.port)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	scheme := "http"
	if r.tls {
		scheme = "https"
	}
	var headers []string
	if r.token != "" {
		headers = []string{"Authorization", "Bearer " + r.token}
	}
	c := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		//nolint:gosec // the operator's own certificate, which no CA has signed, by a port of its pod
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	answer, body, err := framework.Ask(ctx, c, r.method, scheme+"://"+address+r.path, r.body, headers...)
	framework.Mustf(err, "ask %s", r.pod)
	return answer.StatusCode, body
}

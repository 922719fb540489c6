// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

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
	pod := types.NamespacedName{Namespace: r.namespace, Name: r.pod}
	address, stop, err := kube.ForwardPort(ctx, w.config, pod, r.port)
	framework.Must(err)
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

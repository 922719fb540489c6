// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// startKubelet makes a node whose kubelet can only forward ports, all of them to the gateway of the tests.
func (x *tenant) startKubelet(name string) {
	x.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(forwardToGateway))
	x.Cleanup(server.Close)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	x.createUntilEnd(node)
	address := server.Listener.Addr().(*net.TCPAddr)
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address.IP.String()}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(address.Port)
	x.Must(world.Admin.Status().Update(x.Context(), node))
}

// forwardToGateway is the part of a kubelet's interface that forwards ports: each connection has a stream for its data,
// and one for its error, which ends with it.
func forwardToGateway(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return // the caller has the error
	}
	streams := make(chan httpstream.Stream, 10)
	c := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if c == nil {
		return
	}
	var forwarded sync.WaitGroup
	defer forwarded.Wait()
	defer c.Close()
	faults := map[string]httpstream.Stream{}
	for {
		select {
		case s := <-streams:
			id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
			if s.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				faults[id] = s
				continue
			}
			forwarded.Go(func() { copyBoth(s, faults[id]) })
		case <-c.CloseChan():
			return
		}
	}
}

func copyBoth(data, fault httpstream.Stream) {
	defer fault.Close()
	defer data.Close()
	gateway, err := net.Dial("tcp", strings.TrimPrefix(world.gateway, "http://"))
	if err != nil {
		_, _ = io.WriteString(fault, err.Error()) // to a caller that may be gone
		return
	}
	go func() {
		defer gateway.Close()
		_, _ = io.Copy(gateway, data) // until either ends
	}()
	_, _ = io.Copy(data, gateway)
}

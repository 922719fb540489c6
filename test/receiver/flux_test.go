// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// fluxEvent is what notification-controller documents as the body of its providers
// generic and generic-hmac (docs/spec/v1beta3/providers.md), with a message of ours.
const fluxEvent = `{
  "involvedObject": {
    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
    "kind": "Kustomization",
    "name": "webapp",
    "namespace": "apps",
    "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632"
  },
  "metadata": {
    "kustomize.toolkit.fluxcd.io/revision": "main/731f7eaddfb6af01cb2173e18f0f75b0ba780ef1"
  },
  "severity":"error",
  "reason": "ValidationFailed",
  "message":"` + secretText + `",
  "reportingController":"kustomize-controller",
  "reportingInstance":"kustomize-controller-7c7b47f5f-8bhrp",
  "timestamp":"2022-10-28T07:26:19Z"
}
`

// TestFlux posts what notification-controller documents: signed with its Secret's token
// (generic-hmac), or with the headers of its Secret (generic). It retries with the same
// body.
func TestFlux(t *testing.T) {
	for provider, tc := range map[string]struct {
		edit    func(*v1alpha1.TeamTalkReceiver)
		headers []string
	}{
		"generic-hmac": {withSignature, signed(fluxEvent, secretToken)},
		"generic": {
			func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type = v1alpha1.ReceiverGeneric },
			[]string{"Authorization", "Bearer " + secretToken},
		},
	} {
		t.Run(provider, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t)
			x.receiver("flux", tc.edit)
			headers := append(tc.headers, "Accept-Encoding", "gzip", "Content-Type", "application/json",
				"Gotk-Component", "kustomize-controller", "User-Agent", "Go-http-client/1.1")
			for range 3 {
				if r := x.post(x.url(world.shared, "flux"), fluxEvent, headers...); r.Code != 200 {
					t.Fatalf("%+v", r)
				}
			}
			if got := x.awaitTexts(x.Alice, 1); got[0] != "[error] Kustomization/webapp in apps: ValidationFailed: "+secretText {
				t.Errorf("%q", got)
			}
			// Another event of the same object is another message.
			other := strings.Replace(fluxEvent, "07:26:19Z", "07:26:20Z", 1)
			if provider == "generic-hmac" {
				headers = signed(other, secretToken)
			}
			if r := x.post(x.url(world.shared, "flux"), other, headers...); len(r.Messages) != 1 {
				t.Errorf("%+v", r)
			}
			if n := x.settled(); n != 2 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

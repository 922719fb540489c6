// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// gitOpsTool returns the tool that tracks the message and creates it again after a deletion, or "". The label
// app.kubernetes.io/instance, which Argo CD may use, does not count: most charts set it.
func gitOpsTool(m *v1alpha1.TeamTalkMessage) string {
	switch {
	case m.Labels["kustomize.toolkit.fluxcd.io/name"] != "", m.Labels["helm.toolkit.fluxcd.io/name"] != "":
		return "Flux"
	case m.Labels["argocd.argoproj.io/instance"] != "", m.Annotations["argocd.argoproj.io/tracking-id"] != "":
		return "Argo CD"
	}
	return ""
}

// gitOpsEvent warns of a TTL on a message that a tool creates again. The event is sent with the first status, and when
// a TTL is added.
func gitOpsEvent(before, after *v1alpha1.TeamTalkMessage) statusEvent {
	isNew := before.Status.StartTime == nil || before.Status.Settled && !after.Status.Settled
	tool := gitOpsTool(after)
	if !isNew || tool == "" || after.Spec.TTLSecondsAfterFinished == nil {
		return statusEvent{}
	}
	return statusEvent{corev1.EventTypeWarning, v1alpha1.ReasonRecreatedByGitOps, fmt.Sprintf(
		"%s creates this message again each time ttlSecondsAfterFinished has deleted it; the same content is not sent again "+
			"as long as the store can be searched back to it: remove ttlSecondsAfterFinished, or the manifest", tool)}
}

// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Slim is the cache's transform of all objects: it drops managed fields. Finished messages are many. It keeps of
// them what the controller still needs: identity, version, times, time to live, annotations and finalizers. It
// drops their content and recipients. Other messages are kept whole, also one that is not finished after an edit.
// It may be given what it has returned.
//
// A slim message must not be written back, and no status may be computed from it:
// writeStatus refuses to. The whole message is read from the API server.
func Slim(in any) (any, error) {
	m, ok := in.(*v1alpha1.TeamTalkMessage)
	if !ok {
		return cache.TransformStripManagedFields()(in)
	}
	m.ManagedFields = nil
	m.TypeMeta = metav1.TypeMeta{}
	if !m.Finished() {
		return m, nil
	}
	slim := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: intern(m.Namespace), Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
			Generation: m.Generation, CreationTimestamp: m.CreationTimestamp,
			DeletionTimestamp: m.DeletionTimestamp, Finalizers: m.Finalizers,
		},
		Spec: v1alpha1.TeamTalkMessageSpec{TTLSecondsAfterFinished: m.Spec.TTLSecondsAfterFinished},
		Status: v1alpha1.TeamTalkMessageStatus{
			Conditions: finishedCondition(m.Generation), LastHandledRetry: m.Status.LastHandledRetry,
		},
	}
	if m.Spec.TTLSecondsAfterFinished != nil {
		slim.Status.CompletionTime = m.Status.CompletionTime
	}
	for name, value := range m.Annotations {
		if name == lastApplied {
			continue // a copy of the whole message
		}
		if slim.Annotations == nil {
			slim.Annotations = map[string]string{}
		}
		slim.Annotations[intern(name)] = value
	}
	return slim, nil
}

// neverEdited is shared by the messages that were never edited: nearly all.
var neverEdited = []metav1.Condition{{
	Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, ObservedGeneration: 1,
}}

// finishedCondition says that a message has finished at a generation.
func finishedCondition(generation int64) []metav1.Condition {
	if generation == neverEdited[0].ObservedGeneration {
		return neverEdited
	}
	c := neverEdited[0]
	c.ObservedGeneration = generation
	return []metav1.Condition{c}
}

// lastApplied is where `kubectl apply` keeps what it applied.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// intern returns the one copy of a string that many objects have.
func intern(s string) string { return unique.Make(s).Value() }

// slimmed reports whether Slim has dropped the content and the recipients: a whole message has recipients.
func slimmed(m *v1alpha1.TeamTalkMessage) bool {
	return len(m.Spec.To.Users) == 0 && len(m.Spec.To.Groups) == 0
}

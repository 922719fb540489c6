package teamtalkmessage

import (
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Slim is a cache's transform, of all kinds: none needs its managed fields. Of a
// message that has finished it keeps what is still asked of it, as finished ones
// are many: which object it is, at which version, when it was made and finished,
// its time to live, annotations, finalizers and server. Its content, recipients
// and their fates are dropped. One that is not finished, by an edit too, is kept
// whole. It may be given what it has returned.
//
// A slim message must never be written back, nor a status be computed from it:
// write refuses to. Who needs the whole one reads it from the API server.
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
		Spec:   v1alpha1.TeamTalkMessageSpec{TTLSecondsAfterFinished: m.Spec.TTLSecondsAfterFinished},
		Status: v1alpha1.TeamTalkMessageStatus{Conditions: finished(m.Generation), LastHandledRetry: m.Status.LastHandledRetry},
	}
	if m.Spec.TTLSecondsAfterFinished != nil {
		slim.Status.CompletionTime = m.Status.CompletionTime
	}
	for name, value := range m.Annotations {
		if name == lastApplied {
			continue // the whole message once more
		}
		if slim.Annotations == nil {
			slim.Annotations = map[string]string{}
		}
		slim.Annotations[intern(name)] = value
	}
	return slim, nil
}

// neverEdited is what the messages that finished as they were created have in
// common: nearly all.
var neverEdited = []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, ObservedGeneration: 1}}

// finished returns what tells that a message of a generation has finished.
func finished(generation int64) []metav1.Condition {
	if generation == neverEdited[0].ObservedGeneration {
		return neverEdited
	}
	return []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, ObservedGeneration: generation}}
}

// lastApplied is where `kubectl apply` keeps what it applied.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// intern returns the one copy of a string that many objects bear.
func intern(s string) string { return unique.Make(s).Value() }

// slimmed reports whether Slim has dropped what a message says and to whom: no
// whole message lacks recipients.
func slimmed(m *v1alpha1.TeamTalkMessage) bool {
	return len(m.Spec.To.Users) == 0 && len(m.Spec.To.Groups) == 0
}

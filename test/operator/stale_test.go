// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"syscall"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestStaleLeader stops the operator past its Lease, and tells it to end when it is
// woken. By then the Lease is another's, which sends: to mark it as drained, or to
// release it, would let a third one send the same again.
func TestStaleLeader(t *testing.T) {
	x := newTenantWithServer(t)
	x.Timeout = 2 * framework.Timeout
	x.Deliver("first", "is first")
	before, stale := x.lease(), world.Leader
	t.Cleanup(stale.Kill)

	x.Must(stale.Signal(syscall.SIGSTOP))
	x.StartLeader()
	x.Eventually("nobody takes the Lease over", func() bool { return holder(x.lease()) != holder(before) })
	x.Deliver("second", "is second") // the new term has begun
	taken := x.lease()
	x.Must(stale.Signal(syscall.SIGTERM))
	x.Must(stale.Signal(syscall.SIGCONT))
	<-stale.Ended()

	x.Deliver("third", "is third")
	after := x.lease()
	if holder(after) != holder(taken) || *after.Spec.LeaseTransitions != *taken.Spec.LeaseTransitions {
		t.Errorf("the Lease of %q has passed to %q, %d transitions later", holder(taken), holder(after),
			*after.Spec.LeaseTransitions-*taken.Spec.LeaseTransitions)
	}
	if mark, marked := after.Annotations[leadership.DrainedAnnotation]; marked {
		t.Errorf("the Lease of a leader that sends is marked as drained: %s", mark)
	}
}

// lease returns the Lease that the operators share.
func (x *tenant) lease() *coordinationv1.Lease {
	x.Helper()
	l := &coordinationv1.Lease{}
	x.Must(world.Admin.Get(x.Context(), client.ObjectKey{Namespace: "default", Name: "teamtalk-operator"}, l))
	return l
}

func holder(l *coordinationv1.Lease) string { return ptr.Deref(l.Spec.HolderIdentity, "") }

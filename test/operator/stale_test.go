package operator

import (
	"context"
	"syscall"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// TestStaleLeader stops the operator past its Lease, and tells it to end when it is
// woken. By then the Lease is another's, which sends: to mark it as drained, or to
// release it, would let a third one send the same again.
func TestStaleLeader(t *testing.T) {
	x := newTenant(t).withServer().within(2 * patience)
	x.deliver("first")
	before, stale := x.lease(), world.operator
	t.Cleanup(stale.Kill)

	x.must(stale.Signal(syscall.SIGSTOP))
	x.restart()
	x.eventually(2*patience, func() string { return "nobody takes the Lease over" }, func(context.Context) (bool, error) {
		return holder(x.lease()) != holder(before), nil
	})
	x.deliver("second") // the new term has begun
	taken := x.lease()
	x.must(stale.Signal(syscall.SIGTERM))
	x.must(stale.Signal(syscall.SIGCONT))
	<-stale.Ended()

	x.deliver("third")
	after := x.lease()
	if holder(after) != holder(taken) || *after.Spec.LeaseTransitions != *taken.Spec.LeaseTransitions {
		t.Errorf("the Lease of %q has passed to %q, %d transitions later", holder(taken), holder(after),
			*after.Spec.LeaseTransitions-*taken.Spec.LeaseTransitions)
	}
	if mark, marked := after.Annotations[leadership.DrainedAnnotation]; marked {
		t.Errorf("the Lease of a leader that sends is marked as drained: %s", mark)
	}
}

// deliver sends a message and waits for its end.
func (x *tenant) deliver(name string) {
	x.t.Helper()
	m := x.message(name, "is "+name)
	x.create(m)
	x.awaitDelivered(m)
}

// lease returns the Lease that the operators share.
func (x *tenant) lease() *coordinationv1.Lease {
	x.t.Helper()
	l := &coordinationv1.Lease{}
	x.must(world.Admin.Get(x.t.Context(), client.ObjectKey{Namespace: "default", Name: "teamtalk-operator"}, l))
	return l
}

func holder(l *coordinationv1.Lease) string { return ptr.Deref(l.Spec.HolderIdentity, "") }

package leadership

import (
	"context"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Times of the election, those of client-go's own leaders but for RetryPeriod: a
// standby looks at the Lease at intervals of one to 2.2 times that, so it takes a
// Lease that was released within about a second. The leader writes it no sooner
// than RenewInterval after its last write. The gate closes with RenewDeadline,
// before the Lease can pass to another.
const (
	LeaseDuration = 15 * time.Second
	RenewDeadline = 10 * time.Second
	RetryPeriod   = 500 * time.Millisecond
	RenewInterval = 2 * time.Second
)

// lock is the election's Lease; it opens the gate with every write that makes or
// keeps this process the holder, and closes it before any that lets go.
//
// A process takes the Lease once. The elector of a process that was stopped past
// its Lease does not notice that others have led meanwhile: it would take a Lease
// that was released, and go on as if its term had never ended; and when it ends, it
// would release a Lease that is another's. Once the Lease is seen not to be its own
// any more, the gate stays shut, and every write is refused until the elector ends
// the process.
//
// Only the elector calls it, from one goroutine.
type lock struct {
	resourcelock.Interface
	gate *FencingGate
	// led: the Lease was this process's. lost: it is not any more.
	led, lost bool
}

// NewLock returns the lock on the Lease for the election, which works the gate.
func NewLock(cfg *rest.Config, lease types.NamespacedName, gate *FencingGate) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this leader: %w", err)
	}
	// Unique, so that a restart is a change of holders.
	identity := host + "_" + string(uuid.NewUUID())
	inner, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, lease.Namespace, lease.Name,
		resourcelock.ResourceLockConfig{Identity: identity}, cfg, RenewDeadline)
	if err != nil {
		return nil, fmt.Errorf("set up the Lease %s: %w", lease, err)
	}
	return &lock{Interface: inner, gate: gate}, nil
}

// Get implements resourcelock.Interface. What is written next is written over the
// version that it has read.
func (l *lock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	r, raw, err := l.Interface.Get(ctx)
	if l.led && (apierrors.IsNotFound(err) || err == nil && r.HolderIdentity != l.Identity()) {
		l.lost = true
		l.gate.close()
	}
	return r, raw, err
}

// Create implements resourcelock.Interface.
func (l *lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.write(r, func() error { return l.Interface.Create(ctx, r) })
}

// Update implements resourcelock.Interface. It leaves out renewals that come too
// soon: the elector renews as often as a standby looks.
func (l *lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if r.HolderIdentity == l.Identity() && l.gate.renewedWithin(RenewInterval) {
		return nil
	}
	return l.write(r, func() error { return l.Interface.Update(ctx, r) })
}

func (l *lock) write(r resourcelock.LeaderElectionRecord, do func() error) error {
	mine := r.HolderIdentity == l.Identity()
	if !mine {
		l.gate.close()
	}
	if l.lost {
		return fmt.Errorf("%w any more: the process must end, and does not take it again", ErrNotHeld)
	}
	// The Lease runs from some moment after this one: counting from here errs on
	// the side of closing early.
	began := l.gate.now()
	if err := do(); err != nil {
		return err
	}
	l.led, l.lost = true, !mine
	if mine {
		l.gate.renew(began)
	}
	return nil
}

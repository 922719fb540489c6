// SPDX-License-Identifier: Apache-2.0

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

// Times of the leader election. All but RetryPeriod are the defaults of client-go. A standby reads the
// Lease at intervals of 1 to 2.2 times RetryPeriod, so it acquires a released Lease within about a
// second. The leader writes the Lease every RenewInterval. The gate closes after RenewDeadline,
// before another process can acquire the Lease.
const (
	LeaseDuration = 15 * time.Second
	RenewDeadline = 10 * time.Second
	RetryPeriod   = 500 * time.Millisecond
	RenewInterval = 2 * time.Second
	// TakeoverAfter is how long a Lease must be absent or unchanged before an operator with another Lease takes over its
	// servers. Its holder can begin a renewal for LeaseDuration, and send for another RenewDeadline. The rest is for
	// clocks that run at different speeds.
	TakeoverAfter = LeaseDuration + RenewDeadline + 5*time.Second
)

// lock is the lock on the Lease for the elector. It opens the gate with each write that acquires or renews
// the Lease, and closes the gate before a write that releases it.
//
// A process acquires the Lease once. The elector of a process that was suspended past its Lease does not notice that
// another process has led. It would acquire a released Lease and continue its term, or release the Lease of another
// process when it ends. So once the Lease names another holder, the gate stays closed and all writes fail until the
// elector ends the process.
//
// The same applies if it has not renewed the Lease for LeaseDuration, even if the Lease still names it. An operator
// with another Lease may have taken over its servers (see TakeoverAfter).
//
// Only the elector calls it, from one goroutine.
type lock struct {
	resourcelock.Interface
	gate *FencingGate
	// led is true after this process has held the Lease, and lost after it has lost it.
	led, lost bool
}

// NewLock returns the lock on the Lease for the elector. It opens and closes the gate.
func NewLock(cfg *rest.Config, lease types.NamespacedName, gate *FencingGate) (resourcelock.Interface, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("get the hostname: %w", err)
	}
	// Unique, so that a restarted process is another holder.
	identity := host + "_" + string(uuid.NewUUID())
	inner, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, lease.Namespace, lease.Name,
		resourcelock.ResourceLockConfig{Identity: identity}, cfg, RenewDeadline)
	if err != nil {
		return nil, fmt.Errorf("set up the Lease %s: %w", lease, err)
	}
	return &lock{Interface: inner, gate: gate}, nil
}

// Get implements resourcelock.Interface. The next write updates the version that it returns.
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

// Update implements resourcelock.Interface. It skips the elector's renewals within RenewInterval.
func (l *lock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if r.HolderIdentity == l.Identity() && l.gate.renewedWithin(RenewInterval) {
		return nil
	}
	return l.write(r, func() error { return l.Interface.Update(ctx, r) })
}

func (l *lock) write(r resourcelock.LeaderElectionRecord, do func() error) error {
	mine := r.HolderIdentity == l.Identity()
	if l.led && !l.gate.renewedWithin(LeaseDuration) {
		l.lost = true
	}
	if !mine {
		l.gate.close()
	}
	if l.lost {
		return fmt.Errorf("%w any more: the process must end", ErrNotHeld)
	}
	// The Lease is renewed after this time, so the gate closes early rather than late.
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

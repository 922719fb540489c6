// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// lookAgain is how often the Lease of another operator is read.
	lookAgain = RenewDeadline
	// gateRetry is the retry interval of a claim while the gate is closed.
	gateRetry = time.Second
)

// Claims are the TeamTalkServers that this process may send through. The status of each names the Lease and the
// process. Every process writes it in its term before it sends anything, with the version that it has read in its term.
// So of two operators with different Leases that claim a server at the same time, one sees a conflict.
type Claims struct {
	terms *TermTracker
	gate  func() error

	mu   sync.Mutex
	held map[types.NamespacedName]claim
	// refused are the servers that another operator sends through.
	refused map[types.NamespacedName]v1alpha1.Cause
	// takeovers are the servers that another operator may have been sending through. Each counts as a term of its own, as
	// long as this process runs, even if the server is deleted. One that is not dated yet may have been written.
	takeovers map[types.NamespacedName]Term
	// others are the Leases of other operators, as they were last read, by server. A server that is created again under
	// a name in it may have been theirs.
	others map[types.NamespacedName]observation
}

// claim is a server that this process may send through.
type claim struct {
	uid types.UID
	// version is that of the server whose status shows the claim.
	version string
}

// observation is the last observed state of a Lease, and the time since when it has not changed.
type observation struct {
	seen  string
	since time.Time
}

// Refusal is why this process does not send through a server. Without a Reason, this process does not lead at the
// moment.
type Refusal struct {
	v1alpha1.Cause
	// RetryAfter is when to claim the server again. If it is 0, claim it when it changes.
	RetryAfter time.Duration
}

// NewClaims returns Claims for the terms. gate returns nil while this process may send.
func NewClaims(terms *TermTracker, gate func() error) *Claims {
	c := &Claims{
		terms: terms, gate: gate, held: map[types.NamespacedName]claim{}, refused: map[types.NamespacedName]v1alpha1.Cause{},
		takeovers: map[types.NamespacedName]Term{}, others: map[types.NamespacedName]observation{},
	}
	terms.claims = c
	return c
}

// Claim claims a server, and updates it to the version whose status shows the claim. It returns why this process may
// not send through it, or nil.
func (c *Claims) Claim(ctx context.Context, server *v1alpha1.TeamTalkServer) (*Refusal, error) {
	key := client.ObjectKeyFromObject(server)
	if c.Shows(server) {
		return nil, nil
	}
	c.mu.Lock()
	delete(c.held, key)
	c.mu.Unlock()
	if _, err := c.terms.Term(ctx); err != nil {
		return nil, err
	}
	if c.gate() != nil {
		return &Refusal{RetryAfter: gateRetry}, nil //nolint:nilerr // the gate opens again, or the process ends
	}
	live := &v1alpha1.TeamTalkServer{}
	if err := c.terms.reader.Get(ctx, key, live); err != nil {
		return nil, fmt.Errorf("read TeamTalkServer %s: %w", key, err)
	}
	// The server is read before the Lease. A process that acquires that Lease in between also writes the claim, so
	// one of the two gets a conflict.
	takeover, refusal, err := c.mayClaim(ctx, live)
	if refusal != nil || err != nil {
		if refusal != nil && refusal.Reason != "" {
			c.mu.Lock()
			c.refused[key] = refusal.Cause
			c.mu.Unlock()
		}
		return refusal, err
	}
	if err := c.write(ctx, live, takeover); err != nil {
		return nil, err
	}
	live.DeepCopyInto(server)
	return nil, nil
}

// Shows reports whether this process has claimed the server, and its status does not show otherwise since.
func (c *Claims) Shows(server *v1alpha1.TeamTalkServer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, ok := c.held[client.ObjectKeyFromObject(server)]
	if !ok || held.uid != server.UID {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(server.ResourceVersion, held.version)
	isOlder := err == nil && order < 0 // a cache
	return isOlder || server.Status.ManagedBy != nil && *server.Status.ManagedBy == c.self()
}

// self is this process in the status of a server.
func (c *Claims) self() v1alpha1.ManagedBy {
	t := c.terms
	return v1alpha1.ManagedBy{LeaseNamespace: t.lease.Namespace, LeaseName: t.lease.Name, HolderIdentity: t.identity}
}

// mayClaim decides whether the server may be claimed, and whether another operator may have been sending through it.
func (c *Claims) mayClaim(ctx context.Context, live *v1alpha1.TeamTalkServer) (
	takeover bool, refusal *Refusal, err error,
) {
	key := client.ObjectKeyFromObject(live)
	switch by := live.Status.ManagedBy; {
	case by == nil:
		// A server without a status is new, or was created again. Otherwise a user has removed the claim.
		c.mu.Lock()
		defer c.mu.Unlock()
		_, contested := c.others[key]
		return contested || len(live.Status.Conditions) > 0, nil, nil
	case *by == c.self():
		return false, nil, nil
	case by.LeaseNamespace == c.terms.lease.Namespace && by.LeaseName == c.terms.lease.Name:
		// An earlier process of this Lease, about which the term says enough; or the next one, if the Lease is lost.
		_, err := c.terms.heldLease(ctx)
		if errors.Is(err, ErrNotHeld) {
			return false, &Refusal{RetryAfter: gateRetry}, nil
		}
		return false, nil, err
	default:
		refusal, err = c.awaitEnd(ctx, key, *by)
		return true, refusal, err
	}
}

// awaitEnd refuses a server of another operator until that operator has certainly stopped sending. That is so if it
// has released its Lease, or if the Lease has been absent or unchanged for TakeoverAfter.
func (c *Claims) awaitEnd(ctx context.Context, server types.NamespacedName, by v1alpha1.ManagedBy) (
	*Refusal, error,
) {
	name := types.NamespacedName{Namespace: by.LeaseNamespace, Name: by.LeaseName}
	lease := &coordinationv1.Lease{}
	now := observation{seen: name.String() + "/" + by.HolderIdentity, since: time.Now()}
	switch err := c.terms.reader.Get(ctx, name, lease); {
	case apierrors.IsForbidden(err):
		return refuse("TeamTalkServer %q is managed by the operator with the Lease %s, which this operator may not "+
			"read: grant it get of that Lease; or, if that operator is gone, see \"Taking over by hand\" in "+
			"docs/how-to/operations.md", server.Name, name), nil
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, fmt.Errorf("read Lease %s: %w", name, err)
	case ptr.Deref(lease.Spec.HolderIdentity, "") == "":
		return nil, nil
	default:
		now.seen += "/" + string(lease.UID) + "/" + lease.ResourceVersion
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if before, ok := c.others[server]; ok && before.seen == now.seen {
		now.since = before.since
	}
	c.others[server] = now
	if time.Since(now.since) >= TakeoverAfter {
		return nil, nil
	}
	return refuse("TeamTalkServer %q is managed by the operator with the Lease %s: this one, with the Lease %s, takes "+
		"over when that one has ended; run one operator only, see \"Two installations\" in docs/how-to/operations.md",
		server.Name, name, c.terms.lease), nil
}

func refuse(format string, args ...any) *Refusal {
	return &Refusal{
		Cause:      v1alpha1.Cause{Reason: v1alpha1.ReasonManagedByAnother, Message: fmt.Sprintf(format, args...)},
		RetryAfter: lookAgain,
	}
}

// write records the claim in the status, against the version that was read.
func (c *Claims) write(ctx context.Context, live *v1alpha1.TeamTalkServer, takeover bool) error {
	key := client.ObjectKeyFromObject(live)
	c.mu.Lock()
	term, taken := c.takeovers[key]
	if taken = taken && term.Local.IsZero() || takeover; taken {
		c.takeovers[key] = Term{Start: endOfTime}
	}
	c.mu.Unlock()
	before := live.DeepCopy()
	live.Status.ManagedBy = ptr.To(c.self())
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.terms.client.Status().Patch(ctx, live, patch); err != nil {
		return fmt.Errorf("claim TeamTalkServer %s: %w", key, err)
	}
	if by := live.Status.ManagedBy; by == nil || *by != c.self() {
		return fmt.Errorf("claim TeamTalkServer %s: the API server does not keep status.managedBy: "+
			"apply the CRDs of this version", key)
	}
	if taken {
		version, err := c.terms.version(ctx)
		if err != nil {
			return err
		}
		term = Term{Start: lastWrite(live), Local: time.Now(), Version: version}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if taken {
		c.takeovers[key] = term
	}
	c.held[key] = claim{uid: live.UID, version: live.ResourceVersion}
	delete(c.refused, key)
	delete(c.others, key)
	return nil
}

// endOfTime is the start of a takeover whose write was not confirmed: it includes all messages.
var endOfTime = metav1.Unix(1<<40, 0)

// lastWrite returns when an object was last written, by the API server's clock, as creation timestamps are.
func lastWrite(o metav1.Object) metav1.Time {
	last := o.GetCreationTimestamp()
	for _, f := range o.GetManagedFields() {
		if f.Time != nil && f.Time.After(last.Time) {
			last = *f.Time
		}
	}
	return last
}

// Drop drops the claim of a removed server. It keeps the record that another operator may have sent through it.
func (c *Claims) Drop(server types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.held, server)
	delete(c.refused, server)
}

// Holds reports whether this process may send through a server, and has claimed this object of its name.
func (c *Claims) Holds(server types.NamespacedName, uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	held, ok := c.held[server]
	return ok && held.uid == uid
}

// Refused returns why this process may not send through a server. It returns nil if it may, or if that is not known
// yet.
func (c *Claims) Refused(server types.NamespacedName) *v1alpha1.Cause {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cause, ok := c.refused[server]; ok {
		return &cause
	}
	return nil
}

// Contested reports whether this process has seen another operator manage a server of the name.
func (c *Claims) Contested(server types.NamespacedName) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, seen := c.others[server]
	return seen
}

// TermOf returns the term for the messages of a server. It is that of a takeover from an operator with another Lease,
// or own, that of this process. claimed is false if this process may not send through the server.
func (c *Claims) TermOf(server types.NamespacedName, own Term) (term Term, claimed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, claimed = c.held[server]
	if takeover, ok := c.takeovers[server]; ok {
		return takeover, claimed
	}
	return own, claimed
}

// allTakeovers returns the takeovers from operators with another Lease, by server.
func (c *Claims) allTakeovers() map[types.NamespacedName]Term {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.takeovers)
}

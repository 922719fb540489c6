// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// versioned is a cache with a resourceVersion.
type versioned interface {
	// LastStoreSyncResourceVersion returns the version up to which the cache is complete, or "".
	LastStoreSyncResourceVersion() string
}

// storeOf returns the store behind the cache of messages.
func storeOf(ctx context.Context, c cache.Cache) (versioned, error) {
	informer, err := c.GetInformer(ctx, &v1alpha1.TeamTalkMessage{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("get the cache of messages: %w", err)
	}
	shared, ok := informer.(toolscache.SharedInformer)
	if !ok {
		return nil, fmt.Errorf("get the cache of messages: %T has no store", informer)
	}
	return shared.GetStore(), nil
}

// writtenVersion is the last version of a message that this process wrote.
type writtenVersion struct {
	uid     types.UID
	version string
}

func (w writtenVersion) isNewer(m *v1alpha1.TeamTalkMessage) bool {
	order, err := resourceversion.CompareResourceVersion(m.ResourceVersion, w.version)
	return w.uid == m.UID && err == nil && order < 0
}

// isStale reports whether a newer version of the message exists: written by this process, or before this leader's term,
// whose records must not be missed. The event of the newer version wakes the message.
//
// A message from before the term is read from the API server, until the whole cache is as new as the term. Both
// versions are of TeamTalkMessages, and comparable. The store sets its version under the same lock as the objects of a
// list or event, so it is complete up to its version. The message is read again, because the passed one may be older
// than the store.
func (r *Reconciler) isStale(ctx context.Context, s *scope) (bool, error) {
	m := s.message
	key := client.ObjectKeyFromObject(m)
	if s.underWay() {
		return false, nil
	}
	if own, ok := r.written.Load(key); ok && own.(writtenVersion).isNewer(m) {
		return true, nil
	}
	if m.CreationTimestamp.After(s.term.Start.Time) {
		return false, nil
	}
	now := &v1alpha1.TeamTalkMessage{}
	isCacheCurrent := reached(r.store, s.term.Version)
	var err error
	if isCacheCurrent {
		err = r.Client.Get(ctx, key, now)
	}
	if !isCacheCurrent || apierrors.IsNotFound(err) { // the cache does not hold messages that are marked as finished
		err = r.Live.Get(ctx, key, now)
	}
	if err != nil {
		return true, client.IgnoreNotFound(err)
	}
	return now.ResourceVersion != m.ResourceVersion, nil
}

// reached reports whether the store is complete up to a version.
func reached(store versioned, version string) bool {
	order, err := resourceversion.CompareResourceVersion(store.LastStoreSyncResourceVersion(), version)
	return err == nil && order >= 0 // the version is malformed
}

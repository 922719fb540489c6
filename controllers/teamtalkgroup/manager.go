// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// lockedInterval is the retry interval while another resource is reconciling the same group.
const lockedInterval = time.Second

// sharedGroup identifies a group among the servers of a namespace, which may be one TeamTalk installation.
type sharedGroup struct {
	namespace string
	id        v1alpha1.GroupID
}

// lockGroup acquires the lock of the group until the end of the pass. No other resource manages the group meanwhile.
func (r *Reconciler) lockGroup(s *scope) bool {
	if s.unlock != nil {
		return true
	}
	key := sharedGroup{s.server.Namespace, s.group.ChatGroup()}
	if _, locked := r.locked.LoadOrStore(key, s.group.UID); locked {
		return false
	}
	s.unlock = func() { r.locked.Delete(key) }
	return true
}

// requireOneManager refuses a group that another resource manages. Of the resources that declare one group, the first
// that may manage it does. Passes for a group do not overlap, and each sees the results of the pass before. So two
// resources never manage one group concurrently.
func (r *Reconciler) requireOneManager(ctx context.Context, s *scope) (outcome, error) {
	id := s.group.ChatGroup()
	if id == 0 {
		return proceed, nil
	}
	if !r.lockGroup(s) {
		return leave(lockedInterval), nil
	}
	if isCurrent, err := r.isCurrent(ctx, s); err != nil || !isCurrent {
		return leave(cacheLag), err
	}
	list := &v1alpha1.TeamTalkGroupList{}
	if err := r.Client.List(ctx, list, client.MatchingFields{groupIndex: groupKey(id)}); err != nil {
		return proceed, fmt.Errorf("list the TeamTalkGroups of group %d: %w", id, err)
	}
	for i := range list.Items {
		other := &list.Items[i]
		if other.UID == s.group.UID || !precedes(other, s.group) {
			continue
		}
		switch server, err := r.mayManage(ctx, other); {
		case err != nil:
			return proceed, err
		case server == nil || !isSameStore(server, s.server):
		case r.isBehind(other):
			return leave(cacheLag), nil
		case isRefused(other):
		case other.Namespace != s.group.Namespace:
			return notAdoptable(s, "is managed by a TeamTalkGroup of another namespace"), nil
		default:
			return notAdoptable(s, "is managed by TeamTalkGroup %q: delete one of the two", other.Name), nil
		}
	}
	return proceed, nil
}

// isCurrent reports whether the resource has not changed between its read and the acquisition of the lock.
func (r *Reconciler) isCurrent(ctx context.Context, s *scope) (bool, error) {
	own := &v1alpha1.TeamTalkGroup{}
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.group), own); err != nil {
		return false, fmt.Errorf("read TeamTalkGroup %s/%s: %w", s.group.Namespace, s.group.Name, err)
	}
	server, err := r.mayManage(ctx, own)
	return server != nil && own.UID == s.group.UID && own.Generation == s.group.Generation &&
		server.UID == s.server.UID && server.Generation == s.server.Generation, err
}

// precedes reports whether the first of two resources that declare one group manages it: the one that created it, or
// else the older one.
func precedes(a, b *v1alpha1.TeamTalkGroup) bool {
	switch {
	case a.Adopts() != b.Adopts():
		return !a.Adopts()
	case !a.CreationTimestamp.Equal(&b.CreationTimestamp):
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// mayManage returns the server of a resource, or nil if the resource may not manage its group. That is so if it is
// being deleted, its namespace may not use the server, or the server does not list the group.
func (r *Reconciler) mayManage(ctx context.Context, g *v1alpha1.TeamTalkGroup) (*v1alpha1.TeamTalkServer, error) {
	if !g.DeletionTimestamp.IsZero() {
		return nil, nil
	}
	server, err := tenancy.FindServer(ctx, r.Client, g.ServerKey(), g.Namespace)
	if _, missing := errors.AsType[*tenancy.NotFoundError](err); missing {
		return nil, nil
	}
	if err != nil || !isAdoptable(g, server) {
		return nil, err
	}
	return server, nil
}

// isRefused reports whether the status refuses the spec of a resource. The reason GroupNotAdoptable does not count: it
// may mean that another resource manages the group, and mayManage checks the other cases.
func isRefused(g *v1alpha1.TeamTalkGroup) bool {
	c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionStalled)
	return c != nil && c.ObservedGeneration == g.Generation && c.Reason != v1alpha1.ReasonGroupNotAdoptable
}

// isBehind reports whether this process has written a newer status of the resource than the one passed.
func (r *Reconciler) isBehind(g *v1alpha1.TeamTalkGroup) bool {
	version, ok := r.versions.Load(g.UID)
	if !ok {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(g.ResourceVersion, version.(string))
	return err == nil && order < 0
}

// isSameStore reports whether two servers are one TeamTalk installation: they are the same resource, or are in one
// namespace and have a common address. Servers of other tenants must not block the manager of a group.
func isSameStore(a, b *v1alpha1.TeamTalkServer) bool {
	addresses := connection.AddressesOf(b)
	isShared := func(address string) bool { return slices.Contains(addresses, address) }
	return a.UID == b.UID || a.Namespace == b.Namespace && slices.ContainsFunc(connection.AddressesOf(a), isShared)
}

// withRivals returns the resources, and all others that declare the same groups.
func (r *Reconciler) withRivals(ctx context.Context, groups []v1alpha1.TeamTalkGroup) (keys []types.NamespacedName) {
	ids := map[v1alpha1.GroupID]bool{0: true}
	for i := range groups {
		keys = append(keys, client.ObjectKeyFromObject(&groups[i]))
		if id := groups[i].ChatGroup(); !ids[id] {
			ids[id] = true
			for _, rival := range r.list(ctx, client.MatchingFields{groupIndex: groupKey(id)}) {
				keys = append(keys, client.ObjectKeyFromObject(&rival))
			}
		}
	}
	return keys
}

// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// caches are the informers that must have synced before the operator takes part in the election. By default,
// controllers start their informers after the election, so a standby would not detect missing permissions.
type caches struct {
	log       logr.Logger
	informers map[string]toolscache.SharedInformer // by name of the type

	mu sync.Mutex
	// logged are the last errors that were logged, by name of the type.
	logged map[string]string
}

// controllerTypes returns the types that the operator's controllers watch, by their names.
func controllerTypes() map[string]client.Object {
	namespaces := &metav1.PartialObjectMetadata{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return map[string]client.Object{
		"TeamTalkMessage":  &v1alpha1.TeamTalkMessage{},
		"TeamTalkServer":   &v1alpha1.TeamTalkServer{},
		"TeamTalkReceiver": &v1alpha1.TeamTalkReceiver{},
		"TeamTalkSchedule": &v1alpha1.TeamTalkSchedule{},
		"TeamTalkGroup":    &v1alpha1.TeamTalkGroup{},
		"Namespace":        namespaces,
	}
}

// newCaches adds informers to a cache that was not started yet. The manager starts them with the cache, and waits for
// them before the election.
func newCaches(ctx context.Context, c cache.Cache, log logr.Logger, types map[string]client.Object) (*caches, error) {
	all := &caches{log: log, informers: map[string]toolscache.SharedInformer{}, logged: map[string]string{}}
	for name, object := range types {
		added, err := c.GetInformer(ctx, object, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("get the informer of %s: %w", name, err)
		}
		informer, ok := added.(toolscache.SharedInformer)
		if !ok {
			return nil, fmt.Errorf("get the informer of %s: %T does not report errors", name, added)
		}
		if err := informer.SetWatchErrorHandlerWithContext(func(
			ctx context.Context, r *toolscache.Reflector, err error,
		) {
			all.logError(name, err)
			toolscache.DefaultWatchErrorHandler(ctx, r, err)
		}); err != nil {
			return nil, fmt.Errorf("get the informer of %s: %w", name, err)
		}
		all.informers[name] = informer
	}
	return all, nil
}

// logError logs each reason once until the informer has synced. client-go logs later errors.
func (c *caches) logError(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.informers[name].HasSynced() || err.Error() == c.logged[name] {
		return
	}
	c.logged[name] = err.Error()
	if apierrors.IsBadRequest(err) {
		err = fmt.Errorf("%w: the CRD is older than this operator: update the CRDs, see docs/how-to/install.md", err)
	}
	c.log.Info("not ready: a type cannot be read; retrying", "kind", name, "reason", err.Error())
}

// Check is a healthz.Checker. An informer that has synced once stays ready: without an API server no replica can
// lead, and the informer resumes when it is back.
func (c *caches) Check(*http.Request) error {
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(c.informers)) {
		if !c.informers[name].HasSynced() {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not synced yet: %s; the log holds the reason", strings.Join(missing, ", "))
	}
	return nil
}

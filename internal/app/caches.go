package app

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// caches are the kinds that a process must have read before it can do its work. Left to
// themselves, controllers begin to read theirs when they start, which is after an
// election: a standby would not know whether it may.
type caches struct {
	log   logr.Logger
	kinds []*kind
}

// kind is one of them.
type kind struct {
	name     string
	informer toolscache.SharedInformer

	mu   sync.Mutex
	said string
}

// ofLeaders are the kinds that the operator's controllers follow.
func ofLeaders() map[string]client.Object {
	namespaces := &metav1.PartialObjectMetadata{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return map[string]client.Object{
		"TeamTalkMessage":  &v1alpha1.TeamTalkMessage{},
		"TeamTalkServer":   &v1alpha1.TeamTalkServer{},
		"TeamTalkReceiver": &v1alpha1.TeamTalkReceiver{},
		"Namespace":        namespaces,
	}
}

// newCaches has a cache that was not started yet read kinds as soon as it is: the
// manager waits for all of them before it stands for election.
func newCaches(ctx context.Context, c cache.Cache, log logr.Logger, kinds map[string]client.Object) (*caches, error) {
	all := &caches{log: log}
	for name, of := range kinds {
		informer, err := c.GetInformer(ctx, of, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("get the cache of the kind %s: %w", name, err)
		}
		shared, ok := informer.(toolscache.SharedInformer)
		if !ok {
			return nil, fmt.Errorf("get the cache of the kind %s: %T says nothing of errors", name, informer)
		}
		k := &kind{name: name, informer: shared}
		if err := shared.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *toolscache.Reflector, err error) {
			all.failed(k, err)
			toolscache.DefaultWatchErrorHandler(ctx, r, err)
		}); err != nil {
			return nil, fmt.Errorf("get the cache of the kind %s: %w", name, err)
		}
		all.kinds = append(all.kinds, k)
	}
	slices.SortFunc(all.kinds, func(a, b *kind) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// failed says, once for each reason, why a kind could not be read yet. What fails later
// is client-go's to say: then there is something to work with.
func (c *caches) failed(k *kind, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.informer.HasSynced() || err.Error() == k.said {
		return
	}
	k.said = err.Error()
	c.log.Info("not ready: a kind cannot be read; trying again", "kind", k.name, "reason", err.Error())
}

// Check is a healthz.Checker. What was read once stays known: while the API server is
// away nobody could lead, and who comes to lead when it is back reads on from there.
func (c *caches) Check(*http.Request) error {
	var missing []string
	for _, k := range c.kinds {
		if !k.informer.HasSynced() {
			missing = append(missing, k.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not read yet: %s; the log says why", strings.Join(missing, ", "))
	}
	return nil
}

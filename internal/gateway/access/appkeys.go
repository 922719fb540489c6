// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// The one Secret, by the name that it has in config/ and in the chart.
// +kubebuilder:rbac:groups="",namespace=teamtalk-system,resources=secrets,resourceNames=teamtalk-app-keys,verbs=get;list;watch,roleName=teamtalk-gateway-app-keys

const (
	// minAppKey is the shortest app_key, in bytes: it is the only credential of its callers.
	minAppKey = 16
	// reloadInterval is the time between attempts to read the Secret.
	reloadInterval = 5 * time.Second
)

// app is an entry of the Secret, in YAML.
type app struct {
	AppKey string `json:"appKey"`
	// Groups permits the app to create and change groups.
	Groups bool `json:"groups,omitempty"`
	Caller
}

// AppKeys are the app_keys of a Secret. They follow its changes. AppKeys is a manager's Runnable.
type AppKeys struct {
	reader client.Reader
	secret types.NamespacedName
	log    logr.Logger
	// apps are by hash of their key: the time of a lookup reveals nothing about it. It is nil before the Secret was read.
	apps    atomic.Pointer[map[[sha256.Size]byte]app]
	watcher *apiwatch.Objects
	changed chan struct{}
}

// NewAppKeys returns the keys of a Secret, which is read and watched through live.
func NewAppKeys(live client.WithWatch, secret types.NamespacedName, log logr.Logger) *AppKeys {
	k := &AppKeys{
		reader: live, secret: secret, changed: make(chan struct{}, 1), log: log.WithValues("secret", secret.String()),
	}
	k.watcher = apiwatch.NewObjects(live, "Secret", k.log, func(types.NamespacedName) {
		select {
		case k.changed <- struct{}{}:
		default: // a change is pending
		}
	})
	return k
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: every replica serves.
func (*AppKeys) NeedLeaderElection() bool { return false }

// Start follows the Secret until ctx is done.
func (k *AppKeys) Start(ctx context.Context) error {
	k.watcher.Watch(k.secret, k.secret)
	var watching sync.WaitGroup
	watching.Go(func() { _ = k.watcher.Start(ctx) }) // it returns no error
	defer watching.Wait()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.changed:
		case <-retry.C:
		}
		if err := k.load(ctx); err != nil && ctx.Err() == nil {
			// The previous keys remain valid, so that an outage of the API server does not lock callers out.
			k.log.Info("reading the app keys failed, will retry", "reason", err.Error())
			retry.Reset(reloadInterval)
		}
	}
}

// Ready returns an error before the Secret was read.
func (k *AppKeys) Ready(context.Context) error {
	if k.apps.Load() == nil {
		return fmt.Errorf("the Secret %s has not been read yet", k.secret)
	}
	return nil
}

// load reads the Secret. A Secret that does not exist has no keys. An invalid entry is skipped.
func (k *AppKeys) load(ctx context.Context) error {
	secret := &corev1.Secret{}
	if err := k.reader.Get(ctx, k.secret, secret); client.IgnoreNotFound(err) != nil {
		return err
	} else if err != nil {
		k.log.Info("there are no app keys: the Secret does not exist")
	}
	apps := map[[sha256.Size]byte]app{}
	for _, name := range slices.Sorted(maps.Keys(secret.Data)) {
		a, err := parseApp(name, secret.Data[name])
		hash := sha256.Sum256([]byte(a.AppKey))
		if other, taken := apps[hash]; err == nil && taken {
			err = fmt.Errorf("its appKey is also that of %s", other.Name)
		}
		if err != nil {
			k.log.Info("skipped an entry of the app keys", "entry", name, "reason", err.Error())
			continue
		}
		a.AppKey = ""
		apps[hash] = a
	}
	k.apps.Store(&apps)
	k.log.Info("app keys loaded", "apps", len(apps))
	return nil
}

// parseApp reads an entry. Its errors do not contain the YAML parser's, which quote the entry.
func parseApp(name string, data []byte) (app, error) {
	a := app{}
	err := yaml.UnmarshalStrict(data, &a)
	a.Name = "app " + name
	switch {
	case err != nil:
		return a, errors.New("it must be YAML with appKey, namespace, senders and optionally server and groups")
	case len(a.AppKey) < minAppKey:
		return a, fmt.Errorf("its appKey must have at least %d characters", minAppKey)
	case a.Namespace == "":
		return a, errors.New("it needs a namespace")
	case len(a.Senders) == 0:
		return a, errors.New("it needs senders: the user ids that the app may speak as")
	}
	return a, nil
}

// admit returns the caller with the key. namespace is from the path, or empty.
func (k *AppKeys) admit(right Right, key, namespace string) (Caller, *Denial) {
	apps := k.apps.Load()
	if apps == nil {
		return Caller{}, &Denial{Unavailable, "the app keys have not been read yet: try again later"}
	}
	a, ok := (*apps)[sha256.Sum256([]byte(key))]
	switch {
	case !ok:
		return Caller{}, &Denial{UnknownKey, "no such app_key"}
	case namespace != "" && namespace != a.Namespace:
		return Caller{}, &Denial{WrongNamespace, fmt.Sprintf("the app_key is not for namespace %q", namespace)}
	case right != SendMessages && !a.Groups:
		return Caller{}, &Denial{NoGroups, "the app_key is for messages only: its entry in the Secret needs groups: true"}
	}
	return a.Caller, nil
}

package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/internal/objectwatch"
)

// The one Secret, by the name that it has in config/ and in the chart.
// +kubebuilder:rbac:groups="",namespace=teamtalk-system,resources=secrets,resourceNames=teamtalk-app-keys,verbs=get;list;watch,roleName=teamtalk-gateway-app-keys

// minAppKey is how short an app_key may be: it is all that its callers prove.
const minAppKey = 16

// app is one entry of the Secret: who may send with one app_key.
type app struct {
	// AppKey is the key itself.
	AppKey string `json:"appKey"`
	// Namespace whose messages the app's are.
	Namespace string `json:"namespace"`
	// Server in it; left out: the default one.
	Server string `json:"server,omitempty"`
	// Senders that the app may speak as; at least one.
	Senders []int64 `json:"senders"`
	// Groups lets the app create and change groups, too.
	Groups bool `json:"groups,omitempty"`

	name string
}

// AppKeys are the app_keys of a Secret, as it is now. Each entry of it describes one
// app, in YAML: appKey, namespace, senders and, where they are needed, server and groups.
type AppKeys struct {
	reader client.Reader
	secret types.NamespacedName
	log    logr.Logger
	// byKey is by a hash: how long a look-up takes tells nothing of the keys.
	byKey atomic.Pointer[map[[sha256.Size]byte]app]
	wake  chan struct{}
}

// NewAppKeys returns the keys of a Secret, read through reader, which must not cache.
func NewAppKeys(reader client.Reader, secret types.NamespacedName, log logr.Logger) *AppKeys {
	return &AppKeys{reader: reader, secret: secret, log: log, wake: make(chan struct{}, 1)}
}

// Start follows the Secret until ctx is done. It is a manager's Runnable.
func (k *AppKeys) Start(ctx context.Context, watch *objectwatch.Watcher) error {
	watch.Watch(k.secret, k.secret)
	defer watch.Release(k.secret)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-retry.C:
		}
		if err := k.load(ctx); err != nil && ctx.Err() == nil {
			// The keys from before go on: an API server that is away locks nobody out.
			k.log.Info("the app keys could not be read; trying again", "secret", k.secret.String(), "reason", err.Error())
			retry.Reset(5 * time.Second)
		}
	}
}

// Changed tells that the Secret may have changed; it does not block.
func (k *AppKeys) Changed() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Ready says why no keys are known yet; nil: they are.
func (k *AppKeys) Ready(context.Context) error {
	if k.byKey.Load() == nil {
		return fmt.Errorf("the Secret %s has not been read yet", k.secret)
	}
	return nil
}

// load reads the Secret anew. Where it does not exist there are no keys.
func (k *AppKeys) load(ctx context.Context) error {
	secret := &corev1.Secret{}
	if err := k.reader.Get(ctx, k.secret, secret); apierrors.IsNotFound(err) {
		k.log.Info("there are no app keys: the Secret does not exist", "secret", k.secret.String())
	} else if err != nil {
		return err
	}
	k.set(secret.Data)
	return nil
}

// set takes the entries over; one that is wrong is left out, and said so.
func (k *AppKeys) set(entries map[string][]byte) {
	byKey := map[[sha256.Size]byte]app{}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		a := app{}
		// Errors of the parser quote what they stumble over.
		wrong := ""
		if yaml.UnmarshalStrict(entries[name], &a) != nil {
			wrong = "it must be YAML with appKey, namespace, senders and optionally server and groups"
		}
		a.name = name
		sum := sha256.Sum256([]byte(a.AppKey))
		other, taken := byKey[sum]
		switch {
		case wrong != "":
		case len(a.AppKey) < minAppKey:
			wrong = fmt.Sprintf("its appKey must have at least %d characters", minAppKey)
		case a.Namespace == "":
			wrong = "it needs a namespace"
		case len(a.Senders) == 0:
			wrong = "it needs senders: the user ids that the app may speak as"
		case taken:
			wrong = fmt.Sprintf("its appKey is the one of entry %q", other.name)
		}
		if wrong != "" {
			k.log.Info("an entry of the app keys is left out", "secret", k.secret.String(), "entry", name, "reason", wrong)
			continue
		}
		a.AppKey = ""
		byKey[sum] = a
	}
	k.byKey.Store(&byKey)
	k.log.Info("app keys loaded", "secret", k.secret.String(), "apps", len(byKey))
}

// admit returns the caller with the key; namespace is what the path names, or empty.
func (k *AppKeys) admit(right Right, key, namespace string) (Caller, *Denial) {
	byKey := k.byKey.Load()
	if byKey == nil {
		return Caller{}, &Denial{Unavailable, "the app keys have not been read yet: try again later"}
	}
	a, ok := (*byKey)[sha256.Sum256([]byte(key))]
	switch {
	case !ok:
		return Caller{}, &Denial{UnknownKey, "no such app_key"}
	case namespace != "" && namespace != a.Namespace:
		return Caller{}, &Denial{WrongNamespace, fmt.Sprintf("the app_key is not for namespace %q", namespace)}
	}
	if right != SendMessages && !a.Groups {
		return Caller{}, &Denial{NoGroups, "the app_key is for messages alone: its entry in the Secret needs groups: true"}
	}
	return Caller{Name: "app " + a.name, Namespace: a.Namespace, Server: a.Server, Senders: a.Senders}, nil
}

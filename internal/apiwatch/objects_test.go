// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func named(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// objectsAPI is as much of an API server as Objects needs. An empty name is that of all objects of a namespace.
type objectsAPI struct {
	t *testing.T

	mu        sync.Mutex
	version   int
	requests  int
	permitted sets.Set[types.NamespacedName]
	watches   map[*watch.RaceFreeFakeWatcher]types.NamespacedName
}

func (a *objectsAPI) client() client.WithWatch {
	return interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			list.SetResourceVersion(strconv.Itoa(a.version + 1))
			_, err := a.request(list, opts)
			return err
		},
		Watch: func(ctx context.Context, _ client.WithWatch, list client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			target, err := a.request(list, opts)
			if err != nil {
				return nil, err
			}
			events := watch.NewRaceFreeFake()
			context.AfterFunc(ctx, events.Stop)
			a.watches[events] = target
			return events, nil
		},
	})
}

// request needs mu.
func (a *objectsAPI) request(list client.ObjectList, opts []client.ListOption) (types.NamespacedName, error) {
	a.requests++
	if _, ok := list.(*metav1.PartialObjectMetadataList); !ok || list.GetObjectKind().GroupVersionKind().Kind != "SecretList" {
		a.t.Errorf("a request for a %T", list)
	}
	o := (&client.ListOptions{}).ApplyOptions(opts)
	target := named(o.Namespace, "")
	if o.FieldSelector != nil {
		target.Name, _ = o.FieldSelector.RequiresExactMatch("metadata.name")
	}
	if !a.permitted.HasAny(target, named(o.Namespace, "")) {
		return target, apierrors.NewForbidden(corev1.Resource("secrets"), target.Name, errors.New("no"))
	}
	return target, nil
}

// permit replaces the permissions.
func (a *objectsAPI) permit(permitted ...types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.permitted = sets.New(permitted...)
}

// change sends an event to all watches of the object.
func (a *objectsAPI) change(kind watch.EventType, namespace, name string) {
	a.mu.Lock()
	a.version++
	o := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, ResourceVersion: strconv.Itoa(a.version),
	}}
	for events, target := range a.watches {
		if target.Namespace == namespace && (target.Name == name || target.Name == "") && !events.IsStopped() {
			events.Action(kind, o)
		}
	}
	a.mu.Unlock()
	synctest.Wait()
}

// expire ends all watches, which cannot continue at their version.
func (a *objectsAPI) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for events := range a.watches {
		if !events.IsStopped() {
			events.Error(&apierrors.NewResourceExpired("too old").ErrStatus)
		}
	}
}

// wantWatches checks that exactly these are watched, each once.
func (a *objectsAPI) wantWatches(want ...types.NamespacedName) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	got := map[types.NamespacedName]int{}
	for events, target := range a.watches {
		if !events.IsStopped() {
			got[target]++
		}
	}
	for _, target := range want {
		if got[target] != 1 {
			a.t.Errorf("%d watches of %s", got[target], target)
		}
	}
	if len(got) != len(want) {
		a.t.Errorf("watches %v, want %v", got, want)
	}
}

// requestsIn returns the number of requests during a time.
func (a *objectsAPI) requestsIn(d time.Duration) int {
	a.mu.Lock()
	before := a.requests
	a.mu.Unlock()
	advance(d)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests - before
}

// objectsTest is the running Objects of a test.
type objectsTest struct {
	*objectsAPI
	*Objects
	stop func()

	mu       sync.Mutex
	notified []string // owners
	lines    []string // of the log
}

// runObjects runs Objects in a bubble, whose clock the test advances.
func runObjects(t *testing.T, script func(x *objectsTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &objectsTest{objectsAPI: &objectsAPI{t: t, watches: map[*watch.RaceFreeFakeWatcher]types.NamespacedName{}}}
		log := funcr.New(func(_, args string) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.lines = append(x.lines, args)
		}, funcr.Options{})
		x.Objects = NewObjects(x.client(), "Secret", log, func(owner types.NamespacedName) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.notified = append(x.notified, owner.Name)
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- x.Start(ctx) }()
		x.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Start: %v", err)
			}
		})
		defer x.stop()
		script(x)
	})
}

// want checks the owners that have been notified since the last call.
func (x *objectsTest) want(owners ...string) {
	x.t.Helper()
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	if slices.Sort(x.notified); !slices.Equal(x.notified, owners) {
		x.t.Errorf("notified %q, want %q", x.notified, owners)
	}
	x.notified = nil
}

// TestObjectsNotify: only the owners of an object are notified when it changes, by the watch of the namespace or,
// without the permission for it, by that of the object.
func TestObjectsNotify(t *testing.T) {
	for name, permitted := range map[string][]types.NamespacedName{
		"namespace": {named("chat", "")},
		"by name":   {named("chat", "a"), named("chat", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			runObjects(t, func(x *objectsTest) {
				x.permit(permitted...)
				x.Watch(named("chat", "one"), named("chat", "a"))
				x.want("one")
				advance(time.Minute)
				x.Watch(named("chat", "two"), named("chat", "b"))
				synctest.Wait()
				if x.wantWatches(permitted...); name == "by name" {
					x.want("two")
				}
				x.change(watch.Added, "chat", "b")
				x.want("two")
				x.change(watch.Modified, "chat", "a")
				x.want("one")
				x.change(watch.Deleted, "chat", "a")
				x.want("one")
				x.change(watch.Added, "chat", "c")
				x.change(watch.Added, "work", "a")
				x.want()
				if n := x.requestsIn(time.Hour); n != 0 {
					t.Errorf("%d requests without a change", n)
				}
				if len(x.lines) != 0 {
					t.Errorf("logged %q", x.lines)
				}
			})
		})
	}
}

// TestObjectsOwners: an owner watches one object at a time. A watch ends after its last owner.
func TestObjectsOwners(t *testing.T) {
	for name, permitted := range map[string][]types.NamespacedName{
		"namespace": {named("chat", "")},
		"by name":   {named("chat", "a"), named("chat", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			runObjects(t, func(x *objectsTest) {
				x.permit(permitted...)
				x.Watch(named("chat", "one"), named("chat", "a"))
				x.want("one")
				x.Watch(named("chat", "two"), named("chat", "a"))
				x.Watch(named("chat", "two"), named("chat", "a"))
				x.change(watch.Modified, "chat", "a")
				x.want("one", "two")
				x.Watch(named("chat", "two"), named("chat", "b"))
				advance(time.Second)
				x.notified = nil
				x.change(watch.Modified, "chat", "a")
				x.want("one")
				x.change(watch.Modified, "chat", "b")
				x.want("two")
				x.Release(named("chat", "one"))
				x.Release(named("chat", "one"))
				x.Release(named("chat", "nobody"))
				x.change(watch.Modified, "chat", "a")
				x.want()
				if name == "by name" {
					x.wantWatches(named("chat", "b"))
				}
				x.Release(named("chat", "two"))
				advance(2 * objectsIdle)
				x.wantWatches()
				if len(x.targets) != 0 || len(x.namespaces.entries) != 0 {
					t.Errorf("%d targets and %d namespaces are kept", len(x.targets), len(x.namespaces.entries))
				}
			})
		})
	}
}

// TestObjectsMissed: all owners of a watch that cannot continue are notified once the next one has begun.
func TestObjectsMissed(t *testing.T) {
	runObjects(t, func(x *objectsTest) {
		x.permit(named("chat", ""), named("work", "a"))
		x.Watch(named("chat", "one"), named("chat", "a"))
		x.Watch(named("work", "two"), named("work", "a"))
		advance(time.Second)
		x.want("one", "two")
		x.Watch(named("chat", "three"), named("chat", "b"))
		x.expire()
		advance(time.Second)
		x.wantWatches(named("chat", ""), named("work", "a"))
		if x.notified = slices.DeleteFunc(x.notified, func(owner string) bool { return owner == "two" }); len(x.lines) > 0 {
			t.Errorf("logged %q", x.lines)
		}
		x.want("one", "three")
	})
}

// TestObjectsPermissions: watches follow the permissions, in both directions.
func TestObjectsPermissions(t *testing.T) {
	runObjects(t, func(x *objectsTest) {
		x.Watch(named("chat", "one"), named("chat", "a"))
		x.Watch(named("chat", "two"), named("chat", "b"))
		advance(time.Hour)
		x.want()
		x.permit(named("chat", "a"))
		advance(time.Minute)
		x.wantWatches(named("chat", "a"))
		x.want("one")
		x.permit(named("chat", ""))
		advance(time.Minute)
		x.wantWatches(named("chat", "a"), named("chat", ""))
		x.want("two")
		x.permit(named("chat", "b"))
		x.expire()
		advance(time.Minute)
		x.wantWatches(named("chat", "b"))
		x.notified = nil
		x.permit(named("chat", ""))
		advance(time.Minute)
		x.wantWatches(named("chat", "b"), named("chat", ""))
		x.want("one")
	})
}

// TestObjectsMany: what objects cost does not depend on their number, whether they may be watched or not. All owners
// are notified of a permission within a minute. Other namespaces are not delayed.
func TestObjectsMany(t *testing.T) {
	const objects = 2000
	runObjects(t, func(x *objectsTest) {
		x.permit(named("permitted", ""), named("other", "a"))
		goroutines := runtime.NumGoroutine()
		for i := range objects {
			for _, namespace := range []string{"permitted", "forbidden"} {
				x.Watch(named(namespace, fmt.Sprint(namespace, i)), named(namespace, fmt.Sprint(i)))
			}
		}
		// A round of attempts takes 30 seconds, and so does the wait for the next one.
		if n := x.requestsIn(time.Hour); n > 3600*triesPerSecond*6/10 {
			t.Errorf("%d requests in an hour", n)
		}
		if n := runtime.NumGoroutine() - goroutines; n > 10 {
			t.Errorf("%d goroutines", n)
		}
		if len(x.lines) != 1 {
			t.Errorf("logged %q", x.lines)
		}
		x.wantWatches(named("permitted", ""))

		x.Watch(named("other", "other"), named("other", "a"))
		advance(time.Second)
		x.wantWatches(named("permitted", ""), named("other", "a"))

		x.notified = nil
		x.permit(named("permitted", ""), named("forbidden", ""), named("other", "a"))
		advance(time.Minute)
		x.wantWatches(named("permitted", ""), named("forbidden", ""), named("other", "a"))
		if n := len(x.notified); n != objects {
			t.Errorf("%d owners were notified of the permission", n)
		}
		if n := x.requestsIn(time.Hour); n != 0 {
			t.Errorf("%d requests in an hour without a change", n)
		}
	})
}

// TestObjectsPermittedWhileTrying: a permission for the namespace that comes while its objects are tried one by one does
// not have them watched one by one.
func TestObjectsPermittedWhileTrying(t *testing.T) {
	runObjects(t, func(x *objectsTest) {
		for i := range 2000 {
			name := named("chat", fmt.Sprint(i))
			x.Watch(name, name)
		}
		advance(10 * time.Second)
		x.permit(named("chat", ""))
		advance(time.Second)
		x.wantWatches(named("chat", ""))
		if n := len(x.notified); n != 2000 {
			t.Errorf("%d owners were notified", n)
		}
	})
}

// TestObjectsByNameAmongMany: each of many objects is tried in turn.
func TestObjectsByNameAmongMany(t *testing.T) {
	runObjects(t, func(x *objectsTest) {
		for i := range 2000 {
			name := named("chat", fmt.Sprint(i))
			x.Watch(name, name)
		}
		advance(time.Hour)
		x.permit(named("chat", "1"), named("chat", "1000"), named("chat", "1999"))
		advance(4 * time.Minute) // 600 are tried each minute
		x.want("1", "1000", "1999")
	})
}

// TestObjectsEnd: all watches end with Start, and none begins afterwards.
func TestObjectsEnd(t *testing.T) {
	runObjects(t, func(x *objectsTest) {
		x.permit(named("chat", ""), named("work", "a"))
		x.Watch(named("chat", "one"), named("chat", "a"))
		x.Watch(named("work", "two"), named("work", "a"))
		x.Watch(named("work", "three"), named("work", "b"))
		advance(time.Second)
		x.wantWatches(named("chat", ""), named("work", "a"))
		x.stop()
		x.wantWatches()
		x.Watch(named("chat", "four"), named("chat", "b"))
		if _, ok := x.targets[named("chat", "four")]; ok {
			t.Error("a watch began after the end")
		}
		x.Release(named("chat", "one"))
		x.Release(named("chat", "four"))
	})
}

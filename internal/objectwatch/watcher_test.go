// SPDX-License-Identifier: Apache-2.0

package objectwatch

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// timeout limits every wait.
const timeout = 20 * time.Second

func named(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "chat", Name: name}
}

type event struct {
	Type   string         `json:"type"`
	Object *corev1.Secret `json:"object"`
}

// api is as much of an API server as a watch of single Secrets needs.
type api struct {
	mu      sync.Mutex
	version int
	objects map[types.NamespacedName]*corev1.Secret
	watches map[chan event]types.NamespacedName
}

// serve returns the API and a client of it.
func serve(t *testing.T) (*api, rest.Interface) {
	t.Helper()
	a := &api{objects: map[types.NamespacedName]*corev1.Secret{}, watches: map[chan event]types.NamespacedName{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	httpClient := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(httpClient.CloseIdleConnections)
	client, err := rest.RESTClientForConfigAndClient(&rest.Config{
		Host: server.URL, APIPath: "/api",
		ContentConfig: rest.ContentConfig{
			GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: scheme.Codecs.WithoutConversion(),
		},
	}, httpClient)
	if err != nil {
		t.Fatal(err)
	}
	return a, client
}

// ServeHTTP serves watches that begin with the existing object.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/")
	name, single := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	if !single || r.URL.Path != "/api/v1/namespaces/"+namespace+"/secrets" || r.URL.Query().Get("sendInitialEvents") != "true" {
		http.Error(w, "not a watch of one object", http.StatusForbidden)
		return
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	events := make(chan event, 100)
	a.mu.Lock()
	if o, ok := a.objects[key]; ok {
		events <- event{"ADDED", o}
	}
	end := a.newSecret(key)
	end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	events <- event{"BOOKMARK", end}
	a.watches[events] = key
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.watches, events)
		a.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	for {
		select {
		case e := <-events:
			_ = json.NewEncoder(w).Encode(e)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// newSecret needs mu.
func (a *api) newSecret(key types.NamespacedName) *corev1.Secret {
	a.version++
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, ResourceVersion: strconv.Itoa(a.version)},
		Data:       map[string][]byte{"key": []byte("secret")},
	}
}

// put writes the object.
func (a *api) put(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	event := "MODIFIED"
	if a.objects[key] == nil {
		event = "ADDED"
	}
	a.objects[key] = a.newSecret(key)
	a.send(key, event)
}

// remove deletes the object.
func (a *api) remove(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.objects, key)
	a.send(key, "DELETED")
}

// send needs mu.
func (a *api) send(key types.NamespacedName, kind string) {
	for events, watched := range a.watches {
		if watched == key {
			events <- event{kind, a.newSecret(key)}
		}
	}
}

// wantWatches waits until exactly these objects are watched, each once.
func (a *api) wantWatches(t *testing.T, names ...string) {
	t.Helper()
	var got []string
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, timeout, true, func(context.Context) (bool, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		got = nil
		for _, key := range a.watches {
			got = append(got, key.Name)
		}
		slices.Sort(got)
		return slices.Equal(got, names), nil
	}); err != nil {
		t.Fatalf("watches %q, want %q", got, names)
	}
}

// start runs a Watcher. The channel gets the owners that it notifies.
func start(t *testing.T, client rest.Interface) (w *Watcher, notified chan string) {
	t.Helper()
	notified = make(chan string, 100)
	w = New(client, "secrets", &corev1.Secret{}, func(owner types.NamespacedName) { notified <- owner.Name })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	return w, notified
}

// want waits until these owners are notified, in any order, and no others.
func want(t *testing.T, notified <-chan string, owners ...string) {
	t.Helper()
	limit := time.After(timeout)
	var got []string
	for range owners {
		select {
		case owner := <-notified:
			got = append(got, owner)
		case <-limit:
			t.Fatalf("notified %q, want %q", got, owners)
		}
	}
	if slices.Sort(got); !slices.Equal(got, owners) {
		t.Errorf("notified %q, want %q", got, owners)
	}
}

// TestNotify: an owner is notified when its object is added, changed or deleted.
func TestNotify(t *testing.T) {
	a, client := serve(t)
	w, notified := start(t, client)
	a.put(named("there"))
	w.Watch(named("one"), named("there"))
	want(t, notified, "one")
	w.Watch(named("two"), named("absent"))
	a.wantWatches(t, "absent", "there")

	a.put(named("there"))
	want(t, notified, "one")
	a.put(named("absent"))
	want(t, notified, "two")
	a.remove(named("there"))
	want(t, notified, "one")
	a.put(named("unwatched"))
	a.put(named("there"))
	want(t, notified, "one")
}

// TestOwners: owners of one object share its watch, which ends with the last of them.
func TestOwners(t *testing.T) {
	a, client := serve(t)
	w, notified := start(t, client)
	a.put(named("x"))
	w.Watch(named("one"), named("x"))
	want(t, notified, "one")
	w.Watch(named("two"), named("x"))
	w.Watch(named("two"), named("x"))
	a.wantWatches(t, "x")
	a.put(named("x"))
	want(t, notified, "one", "two")

	// An owner watches one object at a time.
	w.Watch(named("two"), named("y"))
	a.wantWatches(t, "x", "y")
	a.put(named("x"))
	want(t, notified, "one")
	a.put(named("y"))
	want(t, notified, "two")

	w.Release(named("one"))
	w.Release(named("one"))
	w.Release(named("nobody"))
	a.wantWatches(t, "y")
	w.Watch(named("one"), named("y"))
	a.put(named("y"))
	want(t, notified, "one", "two")
	w.Release(named("one"))
	w.Release(named("two"))
	a.wantWatches(t)
	if len(w.targets) != 0 || len(w.watches) != 0 {
		t.Errorf("%d targets and %d watches are kept", len(w.targets), len(w.watches))
	}
}

// TestEnd: all watches end with Start, and none begins afterwards.
func TestEnd(t *testing.T) {
	a, client := serve(t)
	w := New(client, "secrets", &corev1.Secret{}, func(types.NamespacedName) {})
	w.Watch(named("one"), named("x"))
	a.wantWatches(t, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Start(ctx); err != nil {
		t.Fatal(err)
	}
	w.Watch(named("two"), named("y"))
	if _, ok := w.targets[named("two")]; ok {
		t.Error("a watch began after the end")
	}
	w.Release(named("one"))
	a.wantWatches(t)
}

// TestStrip: only the identity of an object is kept.
func TestStrip(t *testing.T) {
	w := New(nil, "secrets", &corev1.Secret{}, nil)
	full := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: "x", UID: "u", ResourceVersion: "7", Labels: map[string]string{"a": "b"},
		},
		Data: map[string][]byte{"key": []byte("secret")},
	}
	tombstone := cache.DeletedFinalStateUnknown{Key: "chat/x"}
	bare, err := w.strip(full)
	if err != nil {
		t.Fatal(err)
	}
	s := bare.(*corev1.Secret)
	if len(s.Data) != 0 || len(s.Labels) != 0 || s.Name != "x" || s.Namespace != "chat" || s.UID != "u" || s.ResourceVersion != "7" {
		t.Errorf("kept %v", s)
	}
	if got, err := w.strip(tombstone); err != nil || got != any(tombstone) {
		t.Errorf("tombstone: %v, %v", got, err)
	}
	if len(full.Data) != 1 {
		t.Error("the object itself was changed")
	}
}

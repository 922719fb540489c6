// SPDX-License-Identifier: Apache-2.0

package objectwatch

import (
	"context"
	"encoding/json"
	"maps"
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
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waiting for what must come.
const patience = 20 * time.Second

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
	changed chan struct{} // closed and replaced as watches come and go
}

// serve returns the API and a client of it.
func serve(t *testing.T) (*api, rest.Interface) {
	t.Helper()
	a := &api{
		version: 1, objects: map[types.NamespacedName]*corev1.Secret{},
		watches: map[chan event]types.NamespacedName{}, changed: make(chan struct{}),
	}
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

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	namespace, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/")
	name, single := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	if !single || r.URL.Path != "/api/v1/namespaces/"+namespace+"/secrets" {
		http.Error(w, "more than one object was asked for", http.StatusForbidden)
		return
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("watch") == "" {
		a.mu.Lock()
		defer a.mu.Unlock()
		list := &corev1.SecretList{TypeMeta: metav1.TypeMeta{Kind: "SecretList", APIVersion: "v1"}}
		list.ResourceVersion = strconv.Itoa(a.version)
		if o, ok := a.objects[key]; ok {
			list.Items = append(list.Items, *o)
		}
		_ = json.NewEncoder(w).Encode(list)
		return
	}
	a.watch(w, r, key)
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, key types.NamespacedName) {
	events := make(chan event, 100)
	a.mu.Lock()
	if r.URL.Query().Get("sendInitialEvents") == "true" {
		if o, ok := a.objects[key]; ok {
			events <- event{"ADDED", o}
		}
		end := a.secret(key)
		end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
		events <- event{"BOOKMARK", end}
	}
	a.watches[events] = key
	a.tell()
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.watches, events)
		a.tell()
		a.mu.Unlock()
	}()
	flusher, _ := w.(http.Flusher)
	flusher.Flush()
	for {
		select {
		case e := <-events:
			_ = json.NewEncoder(w).Encode(e)
			flusher.Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// tell and secret need the lock.
func (a *api) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *api) secret(key types.NamespacedName) *corev1.Secret {
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, ResourceVersion: strconv.Itoa(a.version)},
	}
}

// put writes the object; remove deletes it.
func (a *api) put(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	kind := "MODIFIED"
	if a.objects[key] == nil {
		kind = "ADDED"
	}
	a.objects[key] = a.secret(key)
	a.objects[key].Data = map[string][]byte{"key": []byte("secret")}
	a.send(key, event{kind, a.objects[key]})
}

func (a *api) remove(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	delete(a.objects, key)
	a.send(key, event{"DELETED", a.secret(key)})
}

func (a *api) send(key types.NamespacedName, e event) {
	for events, of := range a.watches {
		if of == key {
			events <- e
		}
	}
}

// wantWatches waits until exactly these objects are watched, each once.
func (a *api) wantWatches(t *testing.T, names ...string) {
	t.Helper()
	limit := time.After(patience)
	for {
		a.mu.Lock()
		var got []string
		for _, key := range a.watches {
			got = append(got, key.Name)
		}
		changed := a.changed
		a.mu.Unlock()
		slices.Sort(got)
		if slices.Equal(got, names) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("watches %q, want %q", got, names)
		}
	}
}

// start runs a Watcher; told gets the owners that it tells.
func start(t *testing.T, client rest.Interface) (w *Watcher, told chan string) {
	t.Helper()
	told = make(chan string, 100)
	w = New(client, "secrets", &corev1.Secret{}, func(owner types.NamespacedName) { told <- owner.Name })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	return w, told
}

// want waits for these owners to be told, in whatever order, and for no others.
func want(t *testing.T, told <-chan string, owners ...string) {
	t.Helper()
	limit := time.After(patience)
	got := map[string]int{}
	for range owners {
		select {
		case owner := <-told:
			got[owner]++
		case <-limit:
			t.Fatalf("told %v, want %q", got, owners)
		}
	}
	wanted := map[string]int{}
	for _, o := range owners {
		wanted[o]++
	}
	if !maps.Equal(got, wanted) {
		t.Errorf("told %v, want %q", got, owners)
	}
}

func TestTells(t *testing.T) {
	a, client := serve(t)
	w, told := start(t, client)
	a.put(named("there"))
	w.Watch(named("one"), named("there"))
	want(t, told, "one")
	w.Watch(named("two"), named("absent"))
	a.wantWatches(t, "absent", "there")

	a.put(named("there"))
	want(t, told, "one")
	a.put(named("absent"))
	want(t, told, "two")
	a.remove(named("there"))
	want(t, told, "one")
	a.put(named("nobody's"))
	a.put(named("there"))
	want(t, told, "one")
}

func TestOwners(t *testing.T) {
	a, client := serve(t)
	w, told := start(t, client)
	a.put(named("x"))
	w.Watch(named("one"), named("x"))
	want(t, told, "one")
	w.Watch(named("two"), named("x"))
	w.Watch(named("two"), named("x"))
	a.wantWatches(t, "x")
	a.put(named("x"))
	want(t, told, "one", "two")

	// An owner watches one object at a time.
	w.Watch(named("two"), named("y"))
	a.wantWatches(t, "x", "y")
	a.put(named("x"))
	want(t, told, "one")
	a.put(named("y"))
	want(t, told, "two")

	w.Release(named("one"))
	w.Release(named("one"))
	w.Release(named("nobody"))
	a.wantWatches(t, "y")
	w.Watch(named("one"), named("y"))
	a.put(named("y"))
	want(t, told, "one", "two")
	w.Release(named("one"))
	w.Release(named("two"))
	a.wantWatches(t)
	if len(w.targets) != 0 || len(w.watches) != 0 {
		t.Errorf("%d targets and %d watches are kept", len(w.targets), len(w.watches))
	}
}

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

// TestStrip: nothing secret is kept.
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

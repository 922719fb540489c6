// SPDX-License-Identifier: Apache-2.0

package pagedlist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// api answers lists of TeamTalkMessages as an API server does.
type api struct {
	objects int
	// expired fails the first request for a page other than the first one. forbidden fails all requests.
	expired, forbidden bool
	// requests are the limits and continue tokens that were requested.
	requests chan string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a.requests <- q.Get("limit") + " " + q.Get("continue")
	limit, _ := strconv.Atoi(q.Get("limit"))
	from, _ := strconv.Atoi(q.Get("continue"))
	w.Header().Set("Content-Type", "application/json")
	var fault *apierrors.StatusError
	switch {
	case a.forbidden || r.URL.Path != "/apis/teamtalk.io/v1alpha1/teamtalkmessages":
		fault = apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("teamtalkmessages").GroupResource(), "", nil)
	case a.expired && from > 0:
		a.expired = false
		fault = apierrors.NewResourceExpired("the pages are gone")
	}
	if fault != nil {
		fault.ErrStatus.Kind, fault.ErrStatus.APIVersion = "Status", "v1"
		w.WriteHeader(int(fault.ErrStatus.Code))
		_ = json.NewEncoder(w).Encode(fault.ErrStatus)
		return
	}
	list := &v1alpha1.TeamTalkMessageList{ListMeta: metav1.ListMeta{ResourceVersion: "42"}}
	end := a.objects
	if limit > 0 && from+limit < end {
		end = from + limit
		list.Continue = strconv.Itoa(end)
	}
	for i := from; i < end; i++ {
		m := v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: fmt.Sprint("m", i), ResourceVersion: "7",
		}}
		m.Spec.IdempotencyKey = "dropped by the transform"
		list.Items = append(list.Items, m)
	}
	_ = json.NewEncoder(w).Encode(list)
}

// newInformer serves the api, and returns a constructor of informers that list it.
func newInformer(t *testing.T, a *api, transform cache.TransformFunc) Constructor {
	t.Helper()
	a.requests = make(chan string, 10)
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	constructor, err := NewInformer(&rest.Config{Host: server.URL}, v1alpha1.GroupVersion, "teamtalkmessages",
		&v1alpha1.TeamTalkMessage{}, &v1alpha1.TeamTalkMessageList{}, transform)
	if err != nil {
		t.Fatal(err)
	}
	return constructor
}

// keepName drops everything but the name.
func keepName(in any) (any, error) {
	m := in.(*v1alpha1.TeamTalkMessage)
	return &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Name: m.Name}}, nil
}

// run runs an informer of the type until it has synced. It returns the names in its store, and the options of the
// lists and watches of the type's own cache.ListerWatcher, which lists one object.
func run(t *testing.T, constructor Constructor, of runtime.Object) (names []string, lists, watches chan metav1.ListOptions) {
	t.Helper()
	lists, watches = make(chan metav1.ListOptions, 10), make(chan metav1.ListOptions, 10)
	lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			lists <- o
			return &corev1.ConfigMapList{Items: []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Name: "other"}}}}, nil
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			watches <- o
			return watch.NewFake(), nil
		},
	}, unsupported{})
	informer := constructor(lw, of, 0, cache.Indexers{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		informer.RunWithContext(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("not synced")
	}
	for _, o := range informer.GetStore().List() {
		if m, ok := o.(*v1alpha1.TeamTalkMessage); ok && m.Spec.IdempotencyKey != "" {
			t.Fatalf("%s was not transformed", m.Name)
		}
		m, err := meta.Accessor(o)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, m.GetName())
	}
	return names, lists, watches
}

// unsupported is a client without streaming lists.
type unsupported struct{}

func (unsupported) IsWatchListSemanticsUnSupported() bool { return true }

// TestInformer: all pages are read, also if the API server drops the version of the first one meanwhile. The watch
// begins at the version of the list.
func TestInformer(t *testing.T) {
	for name, tc := range map[string]struct {
		api          api
		wantRequests []string
	}{
		"no object":       {api{}, []string{"500 "}},
		"one page":        {api{objects: 1}, []string{"500 "}},
		"full pages":      {api{objects: 2 * pageSize}, []string{"500 ", "500 500"}},
		"several pages":   {api{objects: 2*pageSize + 1}, []string{"500 ", "500 500", "500 1000"}},
		"version dropped": {api{objects: 2*pageSize + 1, expired: true}, []string{"500 ", "500 500", " "}},
	} {
		t.Run(name, func(t *testing.T) {
			names, lists, watches := run(t, newInformer(t, &tc.api, keepName), &v1alpha1.TeamTalkMessage{})
			seen := map[string]bool{}
			for _, name := range names {
				seen[name] = strings.HasPrefix(name, "m")
			}
			if len(seen) != tc.api.objects || len(names) != tc.api.objects {
				t.Errorf("%d objects, want %d", len(names), tc.api.objects)
			}
			close(tc.api.requests)
			var requests []string
			for r := range tc.api.requests {
				requests = append(requests, r)
			}
			if diff := cmp.Diff(tc.wantRequests, requests); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if o := <-watches; o.ResourceVersion != "42" || o.SendInitialEvents != nil || len(lists) != 0 {
				t.Errorf("watched with %+v after %d other lists", o, len(lists))
			}
		})
	}
}

// TestOtherTypes: other types are not paged.
func TestOtherTypes(t *testing.T) {
	a := &api{}
	names, lists, _ := run(t, newInformer(t, a, keepName), &corev1.ConfigMap{})
	if diff := cmp.Diff([]string{"other"}, names); diff != "" || len(lists) == 0 || len(a.requests) != 0 {
		t.Errorf("%d lists, %d requests, objects (-want +got):\n%s", len(lists), len(a.requests), diff)
	}
}

// TestReadAhead: the next page is requested before the objects of the last one are transformed.
func TestReadAhead(t *testing.T) {
	a := &api{objects: 2 * pageSize}
	first := true
	run(t, newInformer(t, a, func(in any) (any, error) {
		if first {
			first = false
			for _, want := range []string{"500 ", "500 500"} {
				select {
				case got := <-a.requests:
					if got != want {
						t.Errorf("requested %q, want %q", got, want)
					}
				case <-time.After(time.Minute):
					t.Errorf("%q is not requested", want)
				}
			}
		}
		return keepName(in)
	}), &v1alpha1.TeamTalkMessage{})
	if first {
		t.Error("nothing was transformed")
	}
}

// TestErrors: a list fails with the error of the API server or of the transform.
func TestErrors(t *testing.T) {
	fails := errors.New("cannot")
	for name, tc := range map[string]struct {
		forbidden bool
		transform cache.TransformFunc
		is        func(error) bool
	}{
		"forbidden":       {true, keepName, apierrors.IsForbidden},
		"transform fails": {false, func(any) (any, error) { return nil, fails }, func(err error) bool { return errors.Is(err, fails) }},
		"not an object":   {false, func(any) (any, error) { return 7, nil }, func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			informer := newInformer(t, &api{objects: 1, forbidden: tc.forbidden}, tc.transform)(
				&cache.ListWatch{}, &v1alpha1.TeamTalkMessage{}, 0, cache.Indexers{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var got error
			if err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
				got = err
				cancel()
			}); err != nil {
				t.Fatal(err)
			}
			informer.RunWithContext(ctx)
			if !tc.is(got) {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestMetaOf: the metadata of the list is found wherever it is, and not confused with that of an object.
func TestMetaOf(t *testing.T) {
	const own = `"metadata":{"continue":"next","resourceVersion":"42"}`
	const item = `{"metadata":{"continue":"an item's","resourceVersion":"7","name":"m"}`
	for name, list := range map[string]string{
		"at the end":           `{"items":[` + item + `}],"kind":"L",` + own + `}` + "\n",
		"at the start":         `{"kind":"L",` + own + `,"items":[` + item + `}]}`,
		"in between":           `{` + own + `,"items":[` + item + `,"spec":{"text":"\"metadata\":{}"}}],"kind":"L"}`,
		"with blanks":          `{"items": [` + item + `}], "metadata" : {"continue": "next", "resourceVersion": "42"} }`,
		"a text that looks so": `{"items":[{"spec":{"text":"\"metadata\":{\"continue\":\"x\"}}"}}],` + own + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			m, err := metaOf([]byte(list))
			if err != nil || m.Continue != "next" || m.ResourceVersion != "42" {
				t.Errorf("continue %q, version %q, %v", m.Continue, m.ResourceVersion, err)
			}
		})
	}
	for _, broken := range []string{"", "{", `{"items":[],"metadata":{"continue":"next"}`} {
		if m, err := metaOf([]byte(broken)); err == nil {
			t.Errorf("%q is taken for a list: %+v", broken, m)
		}
	}
}

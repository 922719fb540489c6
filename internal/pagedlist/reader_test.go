// SPDX-License-Identifier: Apache-2.0

package pagedlist

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// api answers lists of TeamTalkMessages as an API server does.
type api struct {
	*server
	paths []string
	// asked gets a value whenever a list is asked for.
	arrived chan string
	// deny: nobody may list.
	deny bool
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	o := metav1.ListOptions{Limit: int64(limit), Continue: r.URL.Query().Get("continue")}
	a.paths = append(a.paths, r.URL.Path)
	if a.arrived != nil {
		a.arrived <- o.Continue
	}
	list, err := a.ListWithContext(r.Context(), o)
	if a.deny {
		err = apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("teamtalkmessages").GroupResource(), "", nil)
	}
	w.Header().Set("Content-Type", "application/json")
	if status, ok := err.(apierrors.APIStatus); ok {
		s := status.Status()
		s.Kind, s.APIVersion = "Status", "v1"
		w.WriteHeader(int(s.Code))
		_ = json.NewEncoder(w).Encode(s)
		return
	}
	out := &v1alpha1.TeamTalkMessageList{ListMeta: list.(*corev1.ConfigMapList).ListMeta}
	for _, c := range list.(*corev1.ConfigMapList).Items {
		m := v1alpha1.TeamTalkMessage{ObjectMeta: c.ObjectMeta}
		m.Spec.IdempotencyKey = "dropped"
		out.Items = append(out.Items, m)
	}
	_ = json.NewEncoder(w).Encode(out)
}

// reading returns what lists with a Reader of the api.
func (a *api) reading(t *testing.T, transform cache.TransformFunc) *listerWatcher {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	served := httptest.NewServer(a)
	t.Cleanup(served.Close)
	r, err := NewReader(&rest.Config{Host: served.URL}, scheme, &v1alpha1.TeamTalkMessage{}, "teamtalkmessages")
	if err != nil {
		t.Fatal(err)
	}
	if !r.reads(&v1alpha1.TeamTalkMessage{}) || r.reads(&corev1.ConfigMap{}) || r.reads(&metav1.PartialObjectMetadata{}) {
		t.Error("it reads other kinds than its own")
	}
	return &listerWatcher{transform: transform, read: r.read}
}

// names drops everything else.
func names(in any) (any, error) {
	m := in.(*v1alpha1.TeamTalkMessage)
	return &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Name: m.Name}}, nil
}

// TestReader: a Reader reads every page once, also where the last ones cannot be had
// any more.
func TestReader(t *testing.T) {
	for name, expire := range map[string]bool{"plain": false, "expired": true} {
		t.Run(name, func(t *testing.T) {
			a := &api{server: &server{objects: 2*pageSize + 1, expire: expire}}
			list, err := a.reading(t, names).List(metav1.ListOptions{ResourceVersion: "0"})
			if err != nil {
				t.Fatal(err)
			}
			items, version := itemsOf(t, list)
			if len(items) != a.objects || version != "42" {
				t.Errorf("%d objects of version %q, want %d of 42", len(items), version, a.objects)
			}
			for i, name := range items {
				if want := "m" + strconv.Itoa(i); name != want {
					t.Fatalf("object %d is %s, want %s", i, name, want)
				}
			}
			if got := slices.Compact(a.paths); !slices.Equal(got, []string{"/apis/teamtalk.io/v1alpha1/teamtalkmessages"}) {
				t.Errorf("asked for %q", got)
			}
		})
	}
}

// TestReadsAhead: the next page is asked for before the objects of the last one are
// looked at.
func TestReadsAhead(t *testing.T) {
	a := &api{server: &server{objects: 2 * pageSize}, arrived: make(chan string, 2)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ahead bool
	l := a.reading(t, func(in any) (any, error) {
		if !ahead {
			for _, want := range []string{"", "500"} {
				select {
				case got := <-a.arrived:
					if got != want {
						t.Errorf("asked for the page at %q, want %q", got, want)
					}
				case <-ctx.Done():
					t.Error("the next page is not asked for")
				}
			}
			ahead = true
		}
		return names(in)
	})
	if _, err := l.ListWithContext(ctx, metav1.ListOptions{}); err != nil || !ahead {
		t.Errorf("%v, ahead: %v", err, ahead)
	}
}

// TestMetaOf: a list's metadata is found wherever it is, and is no object's.
func TestMetaOf(t *testing.T) {
	const own = `"metadata":{"continue":"next","resourceVersion":"42"}`
	const item = `{"metadata":{"continue":"an item's","resourceVersion":"7","name":"m"}`
	for name, list := range map[string]string{
		"at the end":           `{"items":[` + item + `}],"kind":"L",` + own + `}` + "\n",
		"at the begin":         `{"kind":"L",` + own + `,"items":[` + item + `}]}`,
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

// TestReaderDenied: what the API server says is what the caller gets.
func TestReaderDenied(t *testing.T) {
	a := &api{server: &server{objects: 1}, deny: true}
	if _, err := a.reading(t, names).List(metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("got %v", err)
	}
}

func itemsOf(t *testing.T, list runtime.Object) (names []string, version string) {
	t.Helper()
	all, ok := list.(interface{ GetResourceVersion() string })
	if !ok {
		t.Fatalf("got a %T", list)
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		m := o.(*v1alpha1.TeamTalkMessage)
		if m.Spec.IdempotencyKey != "" {
			t.Fatalf("%s is whole", m.Name)
		}
		names = append(names, m.Name)
	}
	return names, all.GetResourceVersion()
}

// SPDX-License-Identifier: Apache-2.0

package pagedlist

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// server serves a number of ConfigMaps, in pages as they are asked for.
type server struct {
	objects int
	// expire: the first list's pages cannot be had any more after the first one.
	expire  bool
	asked   []metav1.ListOptions
	watched chan metav1.ListOptions
}

func (s *server) ListWithContext(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
	s.asked = append(s.asked, o)
	from, _ := strconv.Atoi(o.Continue)
	if s.expire && from > 0 {
		s.expire = false
		return nil, apierrors.NewResourceExpired("the pages are gone")
	}
	out := &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "42"}}
	end := s.objects
	if o.Limit > 0 {
		end = min(end, from+int(o.Limit))
	}
	for i := from; i < end; i++ {
		out.Items = append(out.Items, corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: fmt.Sprint("m", i), ResourceVersion: "7"},
			Data:       map[string]string{"text": "long"},
		})
	}
	if end < s.objects {
		out.Continue = strconv.Itoa(end)
	}
	return out, nil
}

func (s *server) WatchWithContext(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.watched <- o
	return watch.NewFake(), nil
}

func (s *server) List(o metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), o)
}

func (s *server) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), o)
}

// bare drops what the ConfigMap says.
func bare(in any) (any, error) {
	in.(*corev1.ConfigMap).Data = nil
	return in, nil
}

// run runs an informer until it has synced.
func run(t *testing.T, s *server) cache.SharedIndexInformer {
	t.Helper()
	s.watched = make(chan metav1.ListOptions, 1)
	informer := NewInformer(bare)(s, &corev1.ConfigMap{}, 0, cache.Indexers{})
	ended := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	go func() {
		defer close(ended)
		informer.RunWithContext(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("not synced")
	}
	return informer
}

// TestPages: client-go asks for one page after the other, and watches from the
// version of the list; every object is there, and what is dropped is not.
func TestPages(t *testing.T) {
	s := &server{objects: 2*pageSize + 1}
	informer := run(t, s)
	o := <-s.watched
	if o.ResourceVersion != "42" || o.SendInitialEvents != nil {
		t.Errorf("watched with %+v", o)
	}
	page := func(from string) metav1.ListOptions { return metav1.ListOptions{Limit: pageSize, Continue: from} }
	if diff := cmp.Diff([]metav1.ListOptions{page(""), page("500"), page("1000")}, s.asked); diff != "" {
		t.Errorf("asked for: %s", diff)
	}
	if n := len(informer.GetStore().List()); n != s.objects {
		t.Errorf("%d objects, want %d", n, s.objects)
	}
	for _, o := range informer.GetStore().List() {
		if m := o.(*corev1.ConfigMap); m.Data != nil {
			t.Fatalf("%s is whole", m.Name)
		}
	}
}

// TestExpired: where the pages that are left cannot be had any more, nothing is missing.
func TestExpired(t *testing.T) {
	s := &server{objects: 2 * pageSize, expire: true}
	informer := run(t, s)
	<-s.watched
	if n := len(informer.GetStore().List()); n != s.objects || s.expire {
		t.Errorf("%d objects, want %d", n, s.objects)
	}
}

// TestTransformFails: the list fails with the transform.
func TestTransformFails(t *testing.T) {
	fails := errors.New("cannot")
	s := &server{objects: 1}
	l := &listerWatcher{ListerWatcherWithContext: s, transform: func(any) (any, error) { return nil, fails }}
	l.read = l.decoded
	if _, err := l.List(metav1.ListOptions{}); !errors.Is(err, fails) {
		t.Errorf("got %v", err)
	}
	l.transform = func(any) (any, error) { return 7, nil }
	if _, err := l.List(metav1.ListOptions{}); err == nil {
		t.Error("what is no object is taken for one")
	}
}

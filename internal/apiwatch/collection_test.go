// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// server is an API server whose watches the test controls.
type watchServer struct {
	mu sync.Mutex
	// versions are those that watches were asked to begin at.
	versions []string
	// refuse is what the next watches are answered with.
	refuse []error
	events *watch.RaceFreeFakeWatcher
}

func (s *watchServer) client() client.WithWatch {
	return interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Watch: func(ctx context.Context, _ client.WithWatch, _ client.ObjectList, opts ...client.ListOption) (watch.Interface, error) {
			o := (&client.ListOptions{}).ApplyOptions(opts)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.versions = append(s.versions, o.AsListOptions().ResourceVersion)
			if len(s.refuse) > 0 {
				err := s.refuse[0]
				s.refuse = s.refuse[1:]
				return nil, err
			}
			events := watch.NewRaceFreeFake()
			context.AfterFunc(ctx, events.Stop)
			s.events = events
			return events, nil
		},
	})
}

// now returns the watch that is open now.
func (s *watchServer) now() *watch.RaceFreeFakeWatcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// recorder is a CollectionHandler that records its calls.
type recorder struct {
	mu            sync.Mutex
	begun         int
	refuse        error
	changes, lost []string
}

func (s *recorder) Begin(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return "", s.refuse
	}
	s.begun++
	return fmt.Sprintf("begin-%d", s.begun), nil
}

func (s *recorder) Change(kind watch.EventType, o client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, string(kind)+" "+o.GetName())
}

func (s *recorder) Lost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, err.Error())
}

// check checks how often Begin and Lost were called.
func (s *recorder) check(t *testing.T, begun, lost int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun != begun || len(s.lost) != lost {
		t.Errorf("begun %d times, lost %q, want %d and %d", s.begun, s.lost, begun, lost)
	}
}

func object(name, version string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
}

// runCollection runs a Collection in a bubble, whose clock the test advances.
func runCollection(t *testing.T, api *watchServer, to *recorder, script func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		collection := Collection{Client: api.client(), NewList: func() client.ObjectList { return &corev1.ConfigMapList{} }}
		go func() {
			collection.Run(ctx, to)
			close(ended)
		}()
		synctest.Wait()
		script()
		cancel()
		<-ended
	})
}

func advance(d time.Duration) {
	time.Sleep(d) // of the bubble
	synctest.Wait()
}

// TestCollectionRun: all changes are reported. After the end of a watch the next one continues, or begins again if it cannot.
func TestCollectionRun(t *testing.T) {
	api, to := &watchServer{}, &recorder{}
	runCollection(t, api, to, func() {
		api.now().Add(object("a", "11"))
		api.now().Modify(object("a", "12"))
		api.now().Action(watch.Bookmark, object("", "20"))
		synctest.Wait()
		api.now().Stop() // as API servers do now and then
		advance(minBackoff)
		api.now().Delete(object("a", "21"))
		synctest.Wait()
		api.mu.Lock()
		api.refuse = []error{errors.New("connection refused")}
		api.mu.Unlock()
		api.now().Stop()
		advance(2 * minBackoff)
		api.now().Error(&apierrors.NewResourceExpired("too old").ErrStatus)
		advance(minBackoff)
		api.mu.Lock()
		api.refuse = []error{apierrors.NewResourceExpired("too old")}
		api.mu.Unlock()
		api.now().Stop()
		advance(2 * minBackoff)
		api.now().Add(object("b", "31"))
		synctest.Wait()
	})
	if want := []string{"ADDED a", "MODIFIED a", "DELETED a", "ADDED b"}; !slices.Equal(to.changes, want) {
		t.Errorf("changes %q, want %q", to.changes, want)
	}
	if want := []string{"begin-1", "20", "21", "21", "begin-2", "begin-2", "begin-3"}; !slices.Equal(api.versions, want) {
		t.Errorf("watches began at %q, want %q", api.versions, want)
	}
	if len(to.lost) != 0 {
		t.Errorf("lost: %q", to.lost)
	}
}

// TestCollectionLost: failures are retried with a backoff. The first one after a watch is reported.
func TestCollectionLost(t *testing.T) {
	forbidden := apierrors.NewForbidden(corev1.Resource("configmaps"), "", errors.New("no"))
	api, to := &watchServer{}, &recorder{refuse: errors.New("connection refused")}
	runCollection(t, api, to, func() {
		advance(5 * minBackoff)
		to.mu.Lock()
		if len(to.lost) != 1 || to.begun != 0 {
			t.Errorf("lost %q, begun %d times", to.lost, to.begun)
		}
		to.refuse = nil
		to.mu.Unlock()
		api.mu.Lock()
		api.refuse = slices.Repeat([]error{forbidden}, 100)
		api.mu.Unlock()
		advance(10 * maxBackoff)
		to.mu.Lock()
		if n := to.begun; n < 8 || n > 13 {
			t.Errorf("begun %d times", n)
		}
		to.mu.Unlock()
		api.mu.Lock()
		api.refuse = nil
		api.mu.Unlock()
		advance(maxBackoff)
		api.now().Add(object("a", "11"))
		synctest.Wait()
		api.mu.Lock()
		api.refuse = []error{forbidden}
		api.mu.Unlock()
		api.now().Stop()
		advance(minBackoff)
	})
	if !slices.Equal(to.changes, []string{"ADDED a"}) || len(to.lost) != 2 {
		t.Errorf("changes %q, lost %q", to.changes, to.lost)
	}
}

// TestCollectionGivesUp: a watch that cannot be opened again begins again in the end, with a backoff.
func TestCollectionGivesUp(t *testing.T) {
	api, to := &watchServer{}, &recorder{}
	runCollection(t, api, to, func() {
		api.mu.Lock()
		api.refuse = slices.Repeat([]error{apierrors.NewInternalError(errors.New("no"))}, 2*resumeLimit)
		api.mu.Unlock()
		api.now().Stop()
		advance(resumeLimit*minBackoff - minBackoff/2)
		to.check(t, 1, 0)
		advance(2 * minBackoff)
		to.check(t, 2, 1)
		advance(2 * resumeLimit * minBackoff)
		api.now().Add(object("a", "11"))
		synctest.Wait()
	})
	to.check(t, 3, 1)
	if !slices.Equal(to.changes, []string{"ADDED a"}) {
		t.Errorf("changes %q", to.changes)
	}
}

// TestCollectionRead reads all pages.
func TestCollectionRead(t *testing.T) {
	builder := fake.NewClientBuilder()
	for i := range 3 {
		builder.WithObjects(object(fmt.Sprint("a", i), ""))
	}
	pages := 0
	c := interceptor.NewClient(builder.Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			o := (&client.ListOptions{}).ApplyOptions(opts)
			if o.Limit != pageSize {
				t.Errorf("limit %d", o.Limit)
			}
			if err := c.List(ctx, list); err != nil {
				return err
			}
			if pages++; o.Continue == "" {
				list.SetContinue("more")
			}
			list.SetResourceVersion("7")
			return nil
		},
	})
	n := 0
	version, err := Collection{Client: c, NewList: func() client.ObjectList { return &corev1.ConfigMapList{} }}.Read(t.Context(), func(client.Object) { n++ })
	if err != nil || version != "7" || n != 6 || pages != 2 {
		t.Errorf("version %q, %v; %d objects on %d pages", version, err, n, pages)
	}
}

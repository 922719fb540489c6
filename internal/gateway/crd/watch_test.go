package crd

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// fakeAPI is an API server whose watches the test ends.
type fakeAPI struct {
	client.WithWatch
	mu      sync.Mutex
	watches []*apiwatch.RaceFreeFakeWatcher
}

func newAPI(t *testing.T) *fakeAPI {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	x := &fakeAPI{}
	stored := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.TeamTalkMessage{}).Build()
	x.WithWatch = interceptor.NewClient(stored, interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			list.SetResourceVersion("1")
			return nil
		},
		Watch: func(ctx context.Context, _ client.WithWatch, _ client.ObjectList, _ ...client.ListOption) (apiwatch.Interface, error) {
			w := apiwatch.NewRaceFreeFake()
			context.AfterFunc(ctx, w.Stop)
			x.mu.Lock()
			defer x.mu.Unlock()
			x.watches = append(x.watches, w)
			return w, nil
		},
	})
	return x
}

// opened waits for the n-th watch.
func (x *fakeAPI) opened(t *testing.T, n int) *apiwatch.RaceFreeFakeWatcher {
	t.Helper()
	var opened *apiwatch.RaceFreeFakeWatcher
	until(t, fmt.Sprintf("%d watches are opened", n), func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(x.watches) >= n {
			opened = x.watches[n-1]
		}
		return opened != nil
	})
	return opened
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		t.Fatalf("wait until %s: %v", what, err)
	}
}

// delivered has the operator deliver the one message that there is, and returns it.
func (x *fakeAPI) delivered(t *testing.T, name string) *v1alpha1.TeamTalkMessage {
	t.Helper()
	m := &v1alpha1.TeamTalkMessage{}
	until(t, "message "+name+" is there", func() bool {
		return x.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, m) == nil
	})
	m.Status.ObservedGeneration = 1
	for _, kind := range []string{v1alpha1.ConditionFinished, v1alpha1.ConditionDelivered, v1alpha1.ConditionReady} {
		m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Delivered"})
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StateRouted, MessageIDs: []int64{18}}}
	if err := x.Status().Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestWaiting: whoever waits is told, also of what happened while nothing was watched,
// and nothing is kept once nobody waits.
func TestWaiting(t *testing.T) {
	for name, tell := range map[string]func(*testing.T, *fakeAPI, string){
		"by the watch": func(t *testing.T, x *fakeAPI, message string) {
			x.opened(t, 1).Modify(x.delivered(t, message))
		},
		"after the watch was lost": func(t *testing.T, x *fakeAPI, message string) {
			w := x.opened(t, 1)
			x.delivered(t, message)
			w.Error(&metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: 410})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newAPI(t)
			s := New(x, 0, logr.Discard())
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Start(ctx) }()
			r := api.Request{Namespace: "chat", Sender: 1, Type: v1alpha1.RecipientUser, Recipients: []uint32{2}, Text: "hello", Key: "k", Wait: time.Minute}
			type answer struct {
				api.Result
				err error
			}
			answered := make(chan answer, 1)
			go func() {
				result, err := s.Send(t.Context(), r)
				answered <- answer{result, err}
			}()
			tell(t, x, nameOf(r, 1))
			if a := <-answered; a.err != nil || a.State != api.Delivered || len(a.Recipients) != 1 || a.Recipients[0].MessageID != 18 {
				t.Errorf("%+v", a)
			}
			watch := s.watches.namespaces["chat"]
			watch.mu.Lock()
			if len(watch.waiters) != 0 {
				t.Errorf("kept: %v", watch.waiters)
			}
			watch.mu.Unlock()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWatchesEnd: watches that nobody uses are few, and none is kept for good; one that
// is used is.
func TestWatchesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newAPI(t)
		s := New(x, 0, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Start(ctx) }()
		used, err := s.watches.acquire(ctx, "used")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 * maxIdle {
			if err := s.Ready(ctx, fmt.Sprint("namespace-", i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if got := x.open(); got != maxIdle+1 {
			t.Errorf("%d watches are open, want %d that are not used and one that is", got, maxIdle)
		}
		time.Sleep(2 * idleTimeout)
		if got := x.open(); got != 1 {
			t.Errorf("%d watches are open after a while, want the one that is used", got)
		}
		s.watches.release(used)
		time.Sleep(2 * idleTimeout)
		if got := x.open(); got != 0 {
			t.Errorf("%d watches are open when none is used", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// open counts the watches that have not ended.
func (x *fakeAPI) open() (n int) {
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, w := range x.watches {
		if !w.IsStopped() {
			n++
		}
	}
	return n
}

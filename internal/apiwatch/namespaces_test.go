// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestNamespaces: unused values are limited in number and end after a while. Values in use do not.
func TestNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle, maxUnused = time.Hour, 3
		var mu sync.Mutex
		var running []string
		n := NewNamespaces(func(namespace string) (string, func(context.Context)) {
			return "value of " + namespace, func(ctx context.Context) {
				mu.Lock()
				running = append(running, namespace)
				mu.Unlock()
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				running = slices.DeleteFunc(running, func(r string) bool { return r == namespace })
			}
		}, idle, maxUnused)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			n.Run(ctx)
			close(ended)
		}()
		want := func(what string, namespaces ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(running, namespaces) {
				t.Errorf("%s: running for %q, want %q", what, running, namespaces)
			}
		}
		acquire := func(namespace string) (release func()) {
			t.Helper()
			value, release, err := n.Acquire(namespace)
			if err != nil || value != "value of "+namespace {
				t.Fatalf("%q, %v", value, err)
			}
			synctest.Wait()
			time.Sleep(time.Second) // of the bubble
			return release
		}
		used := acquire("used")
		for i := range 3 {
			acquire(fmt.Sprint(i))()
		}
		acquire("0")()
		want("few", "used", "0", "1", "2")
		acquire("3")()
		want("too many", "used", "0", "2", "3")
		time.Sleep(idle / 2)
		acquire("2")()
		time.Sleep(3 * idle / 4)
		want("idle", "used", "2")
		time.Sleep(2 * idle)
		want("in use", "used")
		used()
		want("not in use any more", "used")
		time.Sleep(2 * idle)
		want("idle in the end")
		used = acquire("used")
		cancel()
		<-ended
		want("shut down")
		used()
		if _, _, err := n.Acquire("late"); err == nil {
			t.Error("a value begins after the end")
		}
	})
}

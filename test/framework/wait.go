// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// Timeout bounds a wait in a test. A busy machine must not fail a test.
	Timeout = 90 * time.Second
	// minPause and maxPause bound the time between two looks at a condition.
	minPause, maxPause = 50 * time.Millisecond, 250 * time.Millisecond
)

// Condition reports whether it is met, and what it saw, for the error of a timeout. An error ends the wait.
type Condition func(ctx context.Context) (seen string, met bool, err error)

// Await waits until a condition is met or ctx ends. Its error has what was seen last.
//
// It pauses for a tenth of the time waited, or for as long as the last check took if that is longer, within minPause
// and maxPause. Checks take processor time from the programs under test.
func Await(ctx context.Context, what string, condition Condition) error {
	began := time.Now()
	return await(ctx, what, condition, func(took time.Duration) time.Duration {
		return min(maxPause, max(minPause, took, time.Since(began)/10))
	})
}

// AwaitEvery is Await, which checks the condition at an interval.
func AwaitEvery(ctx context.Context, interval time.Duration, what string, condition Condition) error {
	return await(ctx, what, condition, func(took time.Duration) time.Duration { return max(0, interval-took) })
}

// await pauses between two looks for as long as pause says, which is told how long the last one took.
func await(ctx context.Context, what string, condition Condition, pause func(took time.Duration) time.Duration) error {
	for last := ""; ; {
		began := time.Now()
		seen, met, err := condition(ctx)
		switch {
		case met && err == nil:
			return nil
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("wait until %s: %w", what, err)
		case ctx.Err() == nil:
			last = seen
		}
		select {
		case <-time.After(pause(time.Since(began))):
		case <-ctx.Done():
			if last != "" {
				last = "; last seen: " + last
			}
			return fmt.Errorf("timed out waiting until %s: %w%s", what, context.Cause(ctx), last)
		}
	}
}

// AwaitListening waits until the process accepts connections at an address.
func (p *Process) AwaitListening(ctx context.Context, address string) error {
	return p.retry(ctx, "it listens at "+address, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// AwaitOK waits until the process answers GET requests for a URL with 200.
func (p *Process) AwaitOK(ctx context.Context, url string) error {
	// A probe may hang until caches have synced: a short one sees it at once.
	c := http.Client{Timeout: time.Second}
	return p.retry(ctx, "it answers with 200 at "+url, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// retry waits until try succeeds, for Timeout at most and no longer than the process runs.
func (p *Process) retry(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return p.Await(ctx, what, Retried(func(ctx context.Context) (string, bool, error) { return "", true, try(ctx) }))
}

// Await is the function Await, which also ends with the process.
func (p *Process) Await(ctx context.Context, what string, condition Condition) error {
	return Await(ctx, what, func(ctx context.Context) (string, bool, error) {
		select {
		case <-p.Ended():
			return "", false, fmt.Errorf("the process has ended: %w", p.Err())
		default:
			return condition(ctx)
		}
	})
}

// Retried is a condition that may fail for a while.
func Retried(condition Condition) Condition {
	return func(ctx context.Context) (string, bool, error) {
		seen, met, err := condition(ctx)
		if err != nil {
			return err.Error(), false, nil //nolint:nilerr // the condition is checked again
		}
		return seen, met, nil
	}
}

// Checked is a condition that may call Must.
func Checked(check func(ctx context.Context) (seen string, met bool)) Condition {
	return func(ctx context.Context) (seen string, met bool, err error) {
		err = Try(func() { seen, met = check(ctx) })
		return seen, met, err
	}
}

// ServerReady is the condition that the namespace's TeamTalkServer is Ready.
func ServerReady(c client.Reader, namespace string) Condition {
	return func(ctx context.Context) (string, bool, error) {
		s := &v1alpha1.TeamTalkServer{}
		err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.DefaultServerName}, s)
		conditions := s.Status.Conditions
		return fmt.Sprintf("%+v", conditions), meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady), err
	}
}

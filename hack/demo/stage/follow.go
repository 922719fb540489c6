// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// expectAnnotation names the reason that a sample must end with. The default is Delivered.
const expectAnnotation = "demo.teamtalk.io/expect"

// row is a line of the table of messages.
const row = "demo:   %-10s %-22s %-6s %-20s %-9s %s\n"

// follow prints the changes of each message's status until all have finished. It returns an
// error if one ends with another reason than expected.
func (s *stage) follow(ctx context.Context, reasons map[client.ObjectKey]string) error {
	ctx, cancel := context.WithTimeout(ctx, samplesTimeout)
	defer cancel()
	open := maps.Clone(reasons)
	seen := map[client.ObjectKey]string{}
	var failures []string
	// The messages are few, so polling is simpler than a watch.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for len(open) > 0 {
		list := &v1alpha1.TeamTalkMessageList{}
		if err := s.client.List(ctx, list); err != nil && ctx.Err() == nil {
			return fmt.Errorf("list the messages: %w", err)
		}
		for i := range list.Items {
			m := &list.Items[i]
			key := client.ObjectKeyFromObject(m)
			want, ok := open[key]
			ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
			if !ok || ready == nil {
				continue
			}
			if line := fmt.Sprintf(row, m.Name, m.Status.ToSummary, ready.Status, ready.Reason,
				m.Status.RecipientsSummary, ready.Message); line != seen[key] {
				seen[key] = line
				fmt.Print(line)
			}
			if !m.Finished() {
				continue
			}
			delete(open, key)
			s.ended[ready.Reason]++
			if ready.Reason != want {
				failures = append(failures, fmt.Sprintf("%s ended with %s, not %s", m.Name, ready.Reason, want))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return context.Canceled
			}
			for key := range open {
				failures = append(failures, key.Name+" has not finished in time")
			}
			return fmt.Errorf("not as expected: %s", strings.Join(failures, "; "))
		}
	}
	if len(failures) > 0 {
		return fmt.Errorf("not as expected: %s", strings.Join(failures, "; "))
	}
	return nil
}

// expectedReasons returns the reason that each sample must end with.
func expectedReasons(samples []*unstructured.Unstructured) map[client.ObjectKey]string {
	reasons := map[client.ObjectKey]string{}
	for _, o := range samples {
		want := o.GetAnnotations()[expectAnnotation]
		if want == "" {
			want = v1alpha1.ReasonDelivered
		}
		reasons[client.ObjectKeyFromObject(o)] = want
	}
	return reasons
}

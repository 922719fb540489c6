// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"math"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var created = time.Unix(1_700_000_000, 0)

func at(d time.Duration) *metav1.Time { return &metav1.Time{Time: created.Add(d)} }

func of[T any](v T) *T { return &v }

func TestDeadlineTime(t *testing.T) {
	tests := map[string]struct {
		spec TeamTalkMessageSpec
		want *metav1.Time
	}{
		"none":                    {TeamTalkMessageSpec{}, nil},
		"a time":                  {TeamTalkMessageSpec{Deadline: at(time.Hour)}, at(time.Hour)},
		"from creation":           {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60))}, at(time.Minute)},
		"from sendAfter":          {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), SendAfter: at(time.Hour)}, at(time.Hour + time.Minute)},
		"sendAfter is past":       {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), SendAfter: at(-time.Hour)}, at(time.Minute)},
		"the time is earlier":     {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), Deadline: at(time.Second)}, at(time.Second)},
		"the seconds are earlier": {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), Deadline: at(time.Hour)}, at(time.Minute)},
		"more than time holds":    {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(math.MaxInt64)), Deadline: at(time.Hour)}, at(time.Hour)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *at(0)}, Spec: tc.spec}
			got := m.DeadlineTime()
			if tc.want == nil && !got.IsZero() || tc.want != nil && !got.Equal(tc.want.Time) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestNeverDueBefore: an edit may have moved what was sent before to a later time.
func TestNeverDueBefore(t *testing.T) {
	tests := map[string]struct {
		generation int64
		spec       TeamTalkMessageSpec
		want       bool
	}{
		"at once":                      {1, TeamTalkMessageSpec{}, false},
		"scheduled for later":          {1, TeamTalkMessageSpec{SendAfter: at(time.Hour)}, true},
		"scheduled for later, edited":  {2, TeamTalkMessageSpec{SendAfter: at(time.Hour)}, false},
		"scheduled for before":         {1, TeamTalkMessageSpec{SendAfter: at(-time.Hour)}, false},
		"as clocks differ":             {1, TeamTalkMessageSpec{SendAfter: at(30 * time.Second)}, false},
		"suspended":                    {1, TeamTalkMessageSpec{Suspend: of(true)}, true},
		"suspended after it was begun": {2, TeamTalkMessageSpec{Suspend: of(true)}, false},
		"not suspended":                {1, TeamTalkMessageSpec{Suspend: of(false)}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Generation: tc.generation}, Spec: tc.spec}
			if got := m.NeverDueBefore(created); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestExpiresAt(t *testing.T) {
	tests := map[string]struct {
		ttl       *int32
		completed *metav1.Time
		want      time.Time
	}{
		"kept":           {nil, at(0), time.Time{}},
		"not completed":  {of(int32(60)), nil, time.Time{}},
		"at once":        {of(int32(0)), at(0), created},
		"a minute later": {of(int32(60)), at(time.Hour), created.Add(time.Hour + time.Minute)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{Spec: TeamTalkMessageSpec{TTLSecondsAfterFinished: tc.ttl}, Status: TeamTalkMessageStatus{CompletionTime: tc.completed}}
			if got := m.ExpiresAt(); !got.Equal(tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestIdempotencyKey(t *testing.T) {
	tests := map[string]struct {
		spec TeamTalkMessageSpec
		want string
	}{
		"none":                    {TeamTalkMessageSpec{}, ""},
		"declared":                {TeamTalkMessageSpec{IdempotencyKey: "k"}, "k"},
		"deleted in time":         {TeamTalkMessageSpec{TTLSecondsAfterFinished: of(int32(60))}, "m"},
		"both":                    {TeamTalkMessageSpec{IdempotencyKey: "k", TTLSecondsAfterFinished: of(int32(60))}, "k"},
		"audio, deleted in time":  {TeamTalkMessageSpec{TTLSecondsAfterFinished: of(int32(60)), Content: Content{Audio: &AudioContent{}}}, ""},
		"audio, kept for a while": {TeamTalkMessageSpec{Content: Content{Audio: &AudioContent{}}}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Spec: tc.spec}
			if got := m.IdempotencyKey(); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

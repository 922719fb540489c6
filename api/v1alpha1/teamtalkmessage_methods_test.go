// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestServerKey(t *testing.T) {
	tests := map[string]struct {
		ref  *ServerReference
		want string
	}{
		"left out":          {nil, "im/default"},
		"by name":           {&ServerReference{Name: "other"}, "im/other"},
		"another namespace": {&ServerReference{Name: "other", Namespace: "ops"}, "ops/other"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: "im"}, Spec: TeamTalkMessageSpec{ServerRef: tc.ref}}
			if got := m.ServerKey().String(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestFinished(t *testing.T) {
	condition := func(status metav1.ConditionStatus, generation int64) []metav1.Condition {
		return []metav1.Condition{{Type: ConditionFinished, Status: status, ObservedGeneration: generation}}
	}
	tests := map[string]struct {
		conditions []metav1.Condition
		want       bool
	}{
		"new":          {nil, false},
		"under way":    {condition(metav1.ConditionFalse, 2), false},
		"finished":     {condition(metav1.ConditionTrue, 2), true},
		"edited since": {condition(metav1.ConditionTrue, 1), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: TeamTalkMessageStatus{Conditions: tc.conditions}}
			if got := m.Finished(); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestNothingStored(t *testing.T) {
	tests := map[string]struct {
		recipients []RecipientStatus
		want       bool
	}{
		"failed":             {[]RecipientStatus{{State: StateFailed, Reason: ReasonGroupNotFound}}, true},
		"one has it":         {[]RecipientStatus{{State: StateFailed}, {State: StateRouted}}, false},
		"one may have it":    {[]RecipientStatus{{State: StateFailed}, {State: StateInDoubt}}, false},
		"nobody knows of it": {[]RecipientStatus{{State: StateFailed, Reason: ReasonOutcomeUnknown}}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := (&TeamTalkMessageStatus{Recipients: tc.recipients}).NothingStored(); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	s := SendersSpec{Default: 1, Allowed: []UserID{2}}
	for id, want := range map[UserID]bool{1: true, 2: true, 3: false} {
		if got := s.Check(id); (got == nil) != want {
			t.Errorf("user %d: %v, want it permitted: %v", id, got, want)
		}
	}
}

// TestJSONValue keeps values as they were written.
func TestJSONValue(t *testing.T) {
	const written = `{"a":1.50,"b":{"c":[null,"<"]},"d":null}`
	var object map[string]JSONValue
	if err := json.Unmarshal([]byte(written), &object); err != nil {
		t.Fatal(err)
	}
	if got := string(object["a"].Raw); got != "1.50" {
		t.Errorf("a is %s", got)
	}
	object["e"] = JSONValue{}
	got, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":1.50,"b":{"c":[null,"\u003c"]},"d":null,"e":null}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

var created = time.Unix(1_700_000_000, 0)

func sinceCreation(d time.Duration) *metav1.Time { return &metav1.Time{Time: created.Add(d)} }

func of[T any](v T) *T { return &v }

func TestDeadlineTime(t *testing.T) {
	tests := map[string]struct {
		spec TeamTalkMessageSpec
		want *metav1.Time
	}{
		"none":                    {TeamTalkMessageSpec{}, nil},
		"a time":                  {TeamTalkMessageSpec{Deadline: sinceCreation(time.Hour)}, sinceCreation(time.Hour)},
		"from creation":           {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60))}, sinceCreation(time.Minute)},
		"from sendAfter":          {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), SendAfter: sinceCreation(time.Hour)}, sinceCreation(time.Hour + time.Minute)},
		"sendAfter is past":       {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), SendAfter: sinceCreation(-time.Hour)}, sinceCreation(time.Minute)},
		"the time is earlier":     {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), Deadline: sinceCreation(time.Second)}, sinceCreation(time.Second)},
		"the seconds are earlier": {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(60)), Deadline: sinceCreation(time.Hour)}, sinceCreation(time.Minute)},
		"more than time holds":    {TeamTalkMessageSpec{ActiveDeadlineSeconds: of(int64(math.MaxInt64)), Deadline: sinceCreation(time.Hour)}, sinceCreation(time.Hour)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: *sinceCreation(0)}, Spec: tc.spec}
			got := m.DeadlineTime()
			if tc.want == nil && !got.IsZero() || tc.want != nil && !got.Equal(tc.want.Time) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestWaitsUnsent: a reason proves that nothing was sent only if no operator sends with that reason.
func TestWaitsUnsent(t *testing.T) {
	tests := map[string]bool{
		"": false, ReasonScheduled: true, ReasonSuspended: true, ReasonKeyNotFound: true, ReasonKeyInvalid: true,
		ReasonContentNotFound: true, ReasonGroupNotReady: true, ReasonSending: false, ReasonNoAnswer: false, ReasonRetryScheduled: false,
		ReasonRecipientNotFound: false,
		// The engine has the message, and sends it once db_proxy is connected.
		ReasonServerNotReady: false,
		// An operator that does not know of the server yet may write it while another one sends.
		ReasonServerNotFound: false,
	}
	for reason, want := range tests {
		t.Run(reason, func(t *testing.T) {
			s := &TeamTalkMessageStatus{}
			if reason != "" {
				s.Conditions = []metav1.Condition{{Type: ConditionReady, Reason: reason}}
			}
			if got := s.WaitsUnsent(); got != want {
				t.Errorf("%v, want %v", got, want)
			}
			// The next segment may have been sent before this status was written.
			for _, state := range []RecipientState{StateAcknowledged, StateStored} {
				s.Recipients = []RecipientStatus{{State: StateRouted}, {State: state}}
				if s.WaitsUnsent() {
					t.Errorf("a recipient is %s, and what follows counts as not sent", state)
				}
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
		"kept":           {nil, sinceCreation(0), time.Time{}},
		"not completed":  {of(int32(60)), nil, time.Time{}},
		"at once":        {of(int32(0)), sinceCreation(0), created},
		"a minute later": {of(int32(60)), sinceCreation(time.Hour), created.Add(time.Hour + time.Minute)},
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

// TestReadDue: a readPolicy is due until the condition Read is decided, and a TTL begins then.
func TestReadDue(t *testing.T) {
	policy := &ReadPolicy{DeadlineSeconds: of(int32(600))}
	tests := map[string]struct {
		policy     *ReadPolicy
		unfinished bool
		reason     string // of the condition Read, since five minutes
		want       bool
		wantBegins time.Duration // of a TTL; -1: it does not begin
	}{
		"no policy":        {wantBegins: 0},
		"no policy, read":  {reason: ReasonRead, wantBegins: 0},
		"nothing is known": {policy: policy, want: true, wantBegins: -1},
		"unread":           {policy: policy, reason: ReasonUnread, want: true, wantBegins: -1},
		"missed":           {policy: policy, reason: ReasonReadsMissed, want: true, wantBegins: -1},
		"suspended":        {policy: policy, reason: ReasonSuspended, want: true, wantBegins: -1},
		"read":             {policy: policy, reason: ReasonRead, wantBegins: 5 * time.Minute},
		"too late":         {policy: policy, reason: ReasonReadDeadlineExceeded, wantBegins: 10 * time.Minute},
		"default deadline": {policy: &ReadPolicy{}, reason: ReasonReadDeadlineExceeded, wantBegins: 24 * time.Hour},
		"not routed":       {policy: policy, reason: ReasonNotRouted, wantBegins: 0},
		"unfinished":       {policy: policy, unfinished: true, wantBegins: 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{Spec: TeamTalkMessageSpec{TTLSecondsAfterFinished: of(int32(60)), ReadPolicy: tc.policy}}
			m.Status.CompletionTime = sinceCreation(0)
			if !tc.unfinished {
				m.Status.Conditions = []metav1.Condition{{Type: ConditionFinished, Status: metav1.ConditionTrue}}
			}
			if tc.reason != "" {
				m.Status.Conditions = append(m.Status.Conditions,
					metav1.Condition{Type: ConditionRead, Reason: tc.reason, LastTransitionTime: *sinceCreation(5 * time.Minute)})
			}
			if got := m.ReadDue(); got != tc.want {
				t.Errorf("due: %v, want %v", got, tc.want)
			}
			want := created.Add(tc.wantBegins + time.Minute)
			if tc.wantBegins < 0 {
				want = time.Time{}
			}
			if got := m.ExpiresAt(); !got.Equal(want) {
				t.Errorf("expires at %v, want %v", got, want)
			}
		})
	}
}

func TestIdentifiedByName(t *testing.T) {
	ttl := of(int32(60))
	tests := map[string]struct {
		spec         TeamTalkMessageSpec
		generateName string
		want         bool
	}{
		"neither":                      {},
		"a key":                        {spec: TeamTalkMessageSpec{IdempotencyKey: "k"}},
		"a TTL":                        {spec: TeamTalkMessageSpec{TTLSecondsAfterFinished: ttl}, want: true},
		"both":                         {spec: TeamTalkMessageSpec{IdempotencyKey: "k", TTLSecondsAfterFinished: ttl}},
		"a TTL, and a name of its own": {spec: TeamTalkMessageSpec{TTLSecondsAfterFinished: ttl}, generateName: "m-"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Name: "m-1", GenerateName: tc.generateName}, Spec: tc.spec}
			if got := m.IdentifiedByName(); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestMayBeRepeated(t *testing.T) {
	made := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	key, ttl := GenerateKey(made), int32(60)
	if other := GenerateKey(made); other == key {
		t.Errorf("the key %s was generated twice", key)
	}
	tests := map[string]struct {
		key     string
		ttl     *int32
		created time.Time
		want    bool
	}{
		"no key":                         {created: made},
		"a key":                          {key: "release-1.4", created: made, want: true},
		"a name":                         {ttl: &ttl, created: made, want: true},
		"a generated key":                {key: key, ttl: &ttl, created: made.Add(2 * time.Second)},
		"the API server's clock is slow": {key: key, created: made.Add(-30 * time.Second)},
		"restored":                       {key: key, created: made.Add(2 * time.Minute), want: true},
		"like a generated key":           {key: "generated-x-1", created: made, want: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := &TeamTalkMessage{Spec: TeamTalkMessageSpec{IdempotencyKey: tc.key, TTLSecondsAfterFinished: tc.ttl}}
			m.CreationTimestamp = metav1.NewTime(tc.created)
			if got := m.MayBeRepeated(); got != tc.want {
				t.Errorf("may be repeated: %t, want %t", got, tc.want)
			}
		})
	}
}

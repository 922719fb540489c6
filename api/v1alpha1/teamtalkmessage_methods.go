package v1alpha1

import (
	"fmt"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
)

// ServerKey returns the TeamTalkServer that the message goes through.
func (m *TeamTalkMessage) ServerKey() types.NamespacedName {
	key := types.NamespacedName{Namespace: m.Namespace, Name: DefaultServerName}
	if ref := m.Spec.ServerRef; ref != nil {
		key.Name = ref.Name
		if ref.Namespace != "" {
			key.Namespace = ref.Namespace
		}
	}
	return key
}

// Finished reports whether nothing more will be tried for the spec as it is now.
func (m *TeamTalkMessage) Finished() bool {
	c := meta.FindStatusCondition(m.Status.Conditions, ConditionFinished)
	return c != nil && c.Status == "True" && c.ObservedGeneration == m.Generation
}

// NothingStored reports whether every recipient has failed with proof that
// nothing was stored: only then may a finished message be edited, and begin again.
func (s *TeamTalkMessageStatus) NothingStored() bool {
	for _, r := range s.Recipients {
		if !r.Retryable() || len(r.MessageIDs) > 0 {
			return false
		}
	}
	return true
}

// Retryable reports whether the recipient has failed with proof that what failed
// was not stored. Parts before it, of a text that is split, may have been.
func (r *RecipientStatus) Retryable() bool {
	return r.State == StateFailed && r.Reason != ReasonOutcomeUnknown
}

// Done reports whether nothing more is tried for the recipient.
func (r *RecipientStatus) Done() bool {
	return r.State == StateFailed || r.State == StateRouted || r.Reason == ReasonStoredNotRouted
}

// Check returns why messages of the server may not speak as the user; nil: they may.
func (s *SendersSpec) Check(id UserID) *Cause {
	if s.Permits(id) {
		return nil
	}
	return &Cause{ReasonSenderNotPermitted, fmt.Sprintf(
		"messages may not speak as user %d: use one of the server's senders, or ask its owner to allow it", id)}
}

// Permits reports whether messages of the server may speak as the user.
func (s *SendersSpec) Permits(id UserID) bool {
	if id == s.Default {
		return true
	}
	return slices.Contains(s.Allowed, id)
}

// ScheduledFor returns the time before which nothing is sent; zero: none. The
// creation is none: it is by another clock.
func (m *TeamTalkMessage) ScheduledFor() time.Time {
	if m.Spec.SendAfter == nil {
		return time.Time{}
	}
	return m.Spec.SendAfter.Time
}

// DeadlineTime returns the time from which on nothing is sent; zero: none.
func (m *TeamTalkMessage) DeadlineTime() time.Time {
	var deadline time.Time
	if d := m.Spec.Deadline; d != nil {
		deadline = d.Time
	}
	if s := m.Spec.ActiveDeadlineSeconds; s != nil {
		begin := m.CreationTimestamp.Time
		if after := m.ScheduledFor(); after.After(begin) {
			begin = after
		}
		active := begin.Add(time.Duration(min(*s, maxSeconds)) * time.Second)
		if deadline.IsZero() || active.Before(deadline) {
			deadline = active
		}
	}
	return deadline
}

// maxSeconds is what a time.Duration holds.
const maxSeconds = math.MaxInt64 / int64(time.Second)

// ExpiresAt returns when a finished message is to be deleted; zero: it is kept.
func (m *TeamTalkMessage) ExpiresAt() time.Time {
	if m.Spec.TTLSecondsAfterFinished == nil || m.Status.CompletionTime == nil {
		return time.Time{}
	}
	return m.Status.CompletionTime.Add(time.Duration(*m.Spec.TTLSecondsAfterFinished) * time.Second)
}

// IdempotencyKey returns the key that makes messages one across resources: the
// declared one, or the name of what is deleted by its TTL, so that a tool that
// creates it again sends nothing. Empty: the message is known by its UID.
func (m *TeamTalkMessage) IdempotencyKey() string {
	switch {
	case m.Spec.IdempotencyKey != "":
		return m.Spec.IdempotencyKey
	case m.Spec.TTLSecondsAfterFinished != nil && m.Spec.Content.Audio == nil:
		return m.Name
	}
	return ""
}

// RetryAsked reports whether RetryAnnotation has a value that was not acted
// upon yet. To remove it asks for nothing.
func (m *TeamTalkMessage) RetryAsked() bool {
	value := m.Annotations[RetryAnnotation]
	return value != "" && value != m.Status.LastHandledRetry
}

// NeverDueBefore reports that no operator can have sent the message before t: from
// its creation on it was suspended, or scheduled for a later time.
func (m *TeamTalkMessage) NeverDueBefore(t time.Time) bool {
	return m.Generation == 1 && (m.Suspended() || m.ScheduledFor().After(t.Add(clockSkew)))
}

// Suspended reports whether the message is kept from being sent.
func (m *TeamTalkMessage) Suspended() bool { return m.Spec.Suspend != nil && *m.Spec.Suspend }

// clockSkew is by how much the clocks of two operators, and of the API server,
// may differ.
const clockSkew = time.Minute

// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
)

// ServerKey returns the TeamTalkServer that sends the message.
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

// Finished reports whether the current generation has finished.
func (m *TeamTalkMessage) Finished() bool {
	c := meta.FindStatusCondition(m.Status.Conditions, ConditionFinished)
	return c != nil && c.Status == "True" && c.ObservedGeneration == m.Generation
}

// NeedsAttention reports whether the operator still has work for a finished message: its TTL, its reads, its
// escalation, or a retry.
func (m *TeamTalkMessage) NeedsAttention() bool {
	return m.Spec.TTLSecondsAfterFinished != nil || m.ReadDue() || m.Escalating() || m.RetryAsked()
}

// ReadDue reports whether a finished message has a readPolicy, and its condition Read is not decided yet.
func (m *TeamTalkMessage) ReadDue() bool {
	if m.Spec.ReadPolicy == nil || !m.Finished() {
		return false
	}
	c := meta.FindStatusCondition(m.Status.Conditions, ConditionRead)
	return c == nil || c.Reason == ReasonUnread || c.Reason == ReasonReadsMissed || c.Reason == ReasonSuspended
}

// ReadDeadline returns the time by which a finished message must be read, or the zero time if it has no readPolicy.
func (m *TeamTalkMessage) ReadDeadline() time.Time {
	if m.Spec.ReadPolicy == nil || m.Status.CompletionTime == nil {
		return time.Time{}
	}
	return m.Status.CompletionTime.Add(m.Spec.ReadPolicy.Deadline())
}

// Deadline returns how long the operator waits for reads.
func (p *ReadPolicy) Deadline() time.Duration {
	if p.DeadlineSeconds == nil {
		return defaultReadDeadline * time.Second
	}
	return time.Duration(*p.DeadlineSeconds) * time.Second
}

// defaultReadDeadline is the default of readPolicy.deadlineSeconds.
const defaultReadDeadline = 86400

// NothingStored reports whether every recipient has failed with proof that nothing was stored, and the message was not
// escalated.
func (s *TeamTalkMessageStatus) NothingStored() bool {
	if s.Escalated() {
		return false
	}
	for _, r := range s.Recipients {
		if !r.Retryable() || len(r.MessageIDs) > 0 {
			return false
		}
	}
	return true
}

// Retryable reports whether the recipient has failed with proof that the failed segment was not stored. Earlier
// segments may be stored.
func (r *RecipientStatus) Retryable() bool {
	return r.State == StateFailed && r.Reason != ReasonOutcomeUnknown && !r.FailedInDoubt()
}

// FailedInDoubt reports whether the recipient has failed because its group does not exist, but the message may have
// been stored before. The store is searched before a retry.
func (r *RecipientStatus) FailedInDoubt() bool {
	return r.State == StateFailed && r.Reason == ReasonGroupNotFound && r.InDoubtSince != nil
}

// Begun reports whether db_proxy or the store has confirmed a segment, and the recipient is not done.
func (r *RecipientStatus) Begun() bool {
	return (r.State == StateAcknowledged || r.State == StateStored) && !r.Done()
}

// Done reports whether the operator will not retry the recipient.
func (r *RecipientStatus) Done() bool {
	return r.State == StateFailed || r.State == StateRouted || r.Reason == ReasonStoredNotRouted
}

// Check returns the cause why messages may not be sent as the user, or nil.
func (s *SendersSpec) Check(id UserID) *Cause {
	if id == s.Default || slices.Contains(s.Allowed, id) {
		return nil
	}
	return &Cause{ReasonSenderNotPermitted, fmt.Sprintf(
		"nobody may speak as user %d: use one of the server's senders, or ask its owner to allow it", id)}
}

// ScheduledFor returns sendAfter, or the zero time.
func (m *TeamTalkMessage) ScheduledFor() time.Time {
	if m.Spec.SendAfter == nil {
		return time.Time{}
	}
	return m.Spec.SendAfter.Time
}

// DeadlineTime returns the earlier one of both deadlines, or the zero time.
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

// maxSeconds is the longest time.Duration in seconds.
const maxSeconds = math.MaxInt64 / int64(time.Second)

// ExpiresAt returns the time when a finished message is deleted. It is zero if the message has no TTL, or while its
// readPolicy or its escalation is due.
func (m *TeamTalkMessage) ExpiresAt() time.Time {
	if m.Spec.TTLSecondsAfterFinished == nil {
		return time.Time{}
	}
	if done := m.DoneAt(); !done.IsZero() {
		return done.Add(time.Duration(*m.Spec.TTLSecondsAfterFinished) * time.Second)
	}
	return time.Time{}
}

// DoneAt returns since when nothing is to happen with a message that has finished: its readPolicy is not due any more,
// and its escalation has ended. It returns the zero time if that is not so.
func (m *TeamTalkMessage) DoneAt() time.Time {
	if m.Status.CompletionTime == nil || m.ReadDue() || m.Escalating() {
		return time.Time{}
	}
	from := m.Status.CompletionTime.Time
	if c := meta.FindStatusCondition(m.Status.Conditions, ConditionRead); c != nil && m.Spec.ReadPolicy != nil {
		switch decided := c.LastTransitionTime.Time; {
		case c.Reason == ReasonReadDeadlineExceeded:
			from = m.ReadDeadline()
		case c.Reason == ReasonRead && decided.After(from):
			from = decided
		}
	}
	if e := m.Status.Escalation; e != nil && e.CompletionTime != nil && e.CompletionTime.After(from) {
		from = e.CompletionTime.Time
	}
	return from
}

// IdentifiedByName reports whether the name and the text identify the message: it has a TTL, and no idempotencyKey. A
// generated name does not identify it: each creation has another name.
func (m *TeamTalkMessage) IdentifiedByName() bool {
	return m.Spec.IdempotencyKey == "" && m.Spec.TTLSecondsAfterFinished != nil && m.GenerateName == ""
}

// GeneratedKeyPrefix is the prefix of keys that GenerateKey returns. The gateway refuses it in callers' keys.
const GeneratedKeyPrefix = "generated-"

// keyAge is the largest difference between the times of a generated key and its message. Clocks differ.
const keyAge = time.Minute

// GenerateKey returns an idempotencyKey that no other message has. It contains the time: if a backup restores the
// message later, the restored message has an old key.
func GenerateKey(now time.Time) string {
	return GeneratedKeyPrefix + strconv.FormatInt(now.Unix(), 10) + "-" + string(uuid.NewUUID())
}

// MayBeRepeated reports whether another resource may have been the same message. This is so if its idempotencyKey was
// not generated for this resource, or if its name and text identify it.
func (m *TeamTalkMessage) MayBeRepeated() bool {
	rest, generated := strings.CutPrefix(m.Spec.IdempotencyKey, GeneratedKeyPrefix)
	if !generated {
		return m.Spec.IdempotencyKey != "" || m.IdentifiedByName()
	}
	seconds, _, _ := strings.Cut(rest, "-")
	at, err := strconv.ParseInt(seconds, 10, 64)
	return err != nil || m.CreationTimestamp.Sub(time.Unix(at, 0)).Abs() > keyAge
}

// Resends reports whether an edit of the content or the recipients is sent.
func (m *TeamTalkMessage) Resends() bool { return m.Spec.OnChange == OnChangeResend }

// Revision returns the number of the revision that the status is about, from 1.
func (s *TeamTalkMessageStatus) Revision() int32 {
	if n := len(s.Revisions); n > 0 {
		return s.Revisions[n-1].Number
	}
	return 1
}

// Begins returns the time when the message was created. From the second revision on, it is when the current revision
// was accepted.
func (m *TeamTalkMessage) Begins() time.Time {
	if n := len(m.Status.Revisions); n > 0 && m.Status.Revision() > 1 {
		return m.Status.Revisions[n-1].StartTime.Time
	}
	return m.CreationTimestamp.Time
}

// RetryAsked reports whether RetryAnnotation has a value that was not handled yet.
func (m *TeamTalkMessage) RetryAsked() bool {
	value := m.RetryValue()
	return value != "" && value != m.Status.LastHandledRetry
}

// maxRetryValue is the longest value of RetryAnnotation that is recorded without hashing it, in bytes.
const maxRetryValue = 253

// RetryValue returns the value of RetryAnnotation as status.lastHandledRetry records it. A long value is replaced by
// its SHA-256, to keep the status small.
func (m *TeamTalkMessage) RetryValue() string {
	value := m.Annotations[RetryAnnotation]
	if len(value) > maxRetryValue {
		return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(value)))
	}
	return value
}

// WaitsUnsent reports whether the status shows that the message waits for its time, its key, its content or a group. If
// so, nothing was sent to pending recipients: an operator replaces such a status before it sends. After a segment is
// stored, the status proves nothing: an operator may have sent the next segment before another operator wrote the
// status.
func (s *TeamTalkMessageStatus) WaitsUnsent() bool {
	ready := meta.FindStatusCondition(s.Conditions, ConditionReady)
	if ready == nil || slices.ContainsFunc(s.Recipients, func(r RecipientStatus) bool { return r.Begun() }) {
		return false
	}
	switch ready.Reason {
	case ReasonScheduled, ReasonSuspended, ReasonKeyNotFound, ReasonKeyInvalid, ReasonContentNotFound,
		ReasonGroupNotReady:
		return true
	}
	return false
}

// Suspended reports whether spec.suspend is true.
func (m *TeamTalkMessage) Suspended() bool { return m.Spec.Suspend != nil && *m.Spec.Suspend }

package crd

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// maxAttempts is how many resources one key may take: each after the first tries again
// what ended with nothing stored. No caller comes to it: a attempt takes seconds, and
// finished messages are deleted.
const maxAttempts = 1 << 16

// nextAttempt returns the attempt to go on with after one that ended with nothing stored:
// the last one that is on record or, where that is the same, the next one. The attempts
// between are passed over by halves, not one by one.
func (s *Sender) nextAttempt(ctx context.Context, r api.Request, attempt int) (int, error) {
	there, free := attempt, attempt+1
	for step := 1; ; step *= 2 {
		found, err := s.recorded(ctx, r, free)
		if err != nil {
			return 0, err
		}
		if !found {
			break
		}
		there, free = free, free+step
	}
	for free-there > 1 {
		middle := (there + free) / 2
		found, err := s.recorded(ctx, r, middle)
		if err != nil {
			return 0, err
		}
		if found {
			there = middle
		} else {
			free = middle
		}
	}
	switch {
	case there > attempt:
		return there, nil
	case free > maxAttempts:
		return 0, &api.Refusal{Reason: v1alpha1.ReasonRetriesExhausted, Detail: fmt.Sprintf(
			"the key was tried %d times with nothing stored: use another key", maxAttempts)}
	}
	return free, nil
}

// recorded reports whether a attempt of a request is on record.
func (s *Sender) recorded(ctx context.Context, r api.Request, attempt int) (bool, error) {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessage"))
	err := s.client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: nameOf(r, attempt)}, m)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the attempts of a key: %w", err)
	}
	return true, nil
}

// nameOf makes the name of everything that makes a request the same one but its text,
// so that a repeat meets what was recorded before.
func nameOf(r api.Request, attempt int) string {
	h := sha256.New()
	add := func(s string) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		h.Write([]byte(s))
	}
	add(r.Key)
	add(r.Server)
	add(strconv.FormatInt(r.Sender, 10))
	add(string(r.Type))
	// In whichever order they are named.
	for _, id := range slices.Sorted(slices.Values(r.Recipients)) {
		add(strconv.FormatInt(id, 10))
	}
	name := "gateway-" + hex.EncodeToString(h.Sum(nil))[:32]
	if attempt > 1 {
		name += "-" + strconv.Itoa(attempt)
	}
	return name
}

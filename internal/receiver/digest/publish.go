// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// A digest can be written until writeUntil after its window, which is longer than a request takes. It is sent, and
// considered unchangeable, Delay after its window. The difference is for clocks that differ.
const (
	writeUntil = 15 * time.Second
	Delay      = 20 * time.Second
)

const (
	// TextKey is where the text is in the ConfigMap of a digest.
	TextKey = "text"
	// publishedKey is where publication is, as JSON.
	publishedKey = "published"
	// parallel is the number of digests that are published concurrently.
	parallel = 8
)

// publication is how much of a digest is published.
type publication struct {
	Count int `json:"count"`
	Lines int `json:"lines"`
}

// publishFor publishes the digests of the recipients of requests. A request fails if one of its notifications is
// suppressed for a recipient whose digest could not be published.
func (s *Store) publishFor(ctx context.Context, state *State, requests []*request) {
	addressed, r := sets.New[recipient](), requests[0].receiver
	for _, one := range requests {
		for _, n := range one.notifications {
			for _, to := range n.To {
				addressed.Insert(recipient(to))
			}
		}
	}
	digests := slices.DeleteFunc(slices.Clone(state.Digests), func(d *Digest) bool { return !addressed.HasAny(d.To...) })
	errs := forEachDigest(digests, func(_ int, d *Digest) error { return s.publish(ctx, r, state, d) })
	for i, d := range digests {
		if errs[i] == nil {
			continue
		}
		for _, one := range requests {
			if one.err == nil && one.suppressed().HasAny(d.To...) {
				one.err = errs[i]
			}
		}
	}
}

// suppressed returns the recipients for which a notification of the request is suppressed.
func (q *request) suppressed() sets.Set[recipient] {
	all := sets.New[recipient]()
	for i, n := range q.notifications {
		if d := q.decisions[i]; d.Suppressed {
			sent := sets.New(d.To...)
			for _, r := range n.To {
				if !sent.Has(r) {
					all.Insert(recipient(r))
				}
			}
		}
	}
	return all
}

// forEachDigest calls f for the digests, some at once. It returns the errors, by index.
func forEachDigest(digests []*Digest, f func(i int, d *Digest) error) []error {
	errs := make([]error, len(digests))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, d := range digests {
		group.Go(func() error {
			errs[i] = f(i, d)
			return nil
		})
	}
	_ = group.Wait()
	return errs
}

// publish copies a digest to its ConfigMap, unless that is as new, and creates its message.
func (s *Store) publish(ctx context.Context, r *v1alpha1.TeamTalkReceiver, state *State, d *Digest) error {
	name := digestName(r, state, d)
	if s.hasPublished(r, name, d.Count) {
		return nil
	}
	left := d.End().Add(writeUntil).Sub(s.options.Now())
	inTime, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	for {
		cm, published, err := s.readDigest(ctx, r, name)
		if err != nil {
			return err
		}
		if published.Count < d.Count {
			switch {
			case !isDigest(cm, r):
				return fmt.Errorf("ConfigMap %s is not a digest of the receiver: rename or delete it", name)
			case left <= 0:
				return fmt.Errorf("digest %s is about to be sent: alerts that are missing in it will be in the next one", name)
			}
			text, err := json.Marshal(publication{Count: d.Count, Lines: len(d.Lines)})
			if err != nil {
				return fmt.Errorf("encode digest %s: %w", name, err)
			}
			cm.Data = map[string]string{TextKey: d.text(), publishedKey: string(text)}
			if retry, err := s.put(inTime, cm); err != nil {
				return fmt.Errorf("write digest %s: %w", name, err)
			} else if retry {
				continue
			}
		}
		if err := s.send(ctx, r, d, cm); err != nil {
			return err
		}
		s.setPublished(r, name, d)
		return nil
	}
}

// settle removes the digests that cannot change any more from the state. What was not published of them, because a
// process has stopped before, is moved to digests of the current window. After the dedup window there is nothing to
// move: what was not acknowledged is a new notification by then, and the digest may be deleted already. A digest that
// cannot be settled is kept, and is retried with the next request.
func (s *Store) settle(ctx context.Context, r *v1alpha1.TeamTalkReceiver, state *State, now time.Time) (changed bool) {
	var closed, open []*Digest
	for _, d := range state.Digests {
		if now.Before(d.End().Add(Delay)) {
			open = append(open, d)
		} else {
			closed = append(closed, d)
		}
	}
	rests := make([]Digest, len(closed))
	errs := forEachDigest(closed, func(i int, d *Digest) (err error) {
		rests[i], err = s.unpublished(ctx, r, digestName(r, state, d), d, now)
		return err
	})
	for i, d := range closed {
		if errs[i] != nil {
			s.options.Report(r, errs[i])
			open = append(open, d)
		}
	}
	state.Digests = open
	current := newLimiter(state, r, now)
	for i, rest := range rests {
		if errs[i] == nil && rest.Count > 0 {
			current.carry(&rest)
		}
	}
	return slices.Contains(errs, nil)
}

// unpublished returns the unpublished notifications of a digest that cannot change any more. It creates the message for
// the published ones, if there is none.
func (s *Store) unpublished(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, name string, d *Digest, now time.Time,
) (rest Digest, err error) {
	if now.After(d.End().Add(r.DedupWindow())) || s.hasPublished(r, name, d.Count) {
		return Digest{}, nil
	}
	cm, published, err := s.readDigest(ctx, r, name)
	if err != nil {
		return Digest{}, err
	}
	rest = *d
	rest.Count, rest.Lines = d.Count-published.Count, d.Lines[min(published.Lines, len(d.Lines)):]
	if published.Count == 0 {
		return rest, nil
	}
	return rest, s.send(ctx, r, d, cm)
}

// readDigest returns the ConfigMap of a digest, or a new one, and how much of the digest is in it: nothing, if it was
// damaged.
func (s *Store) readDigest(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, name string,
) (*corev1.ConfigMap, publication, error) {
	cm := &corev1.ConfigMap{}
	err := s.options.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, cm)
	switch {
	case apierrors.IsNotFound(err):
		return newConfigMap(r, name), publication{}, nil
	case err != nil:
		return nil, publication{}, fmt.Errorf("read digest %s: %w", name, err)
	}
	p := parsePublication(cm)
	if p.Count == 0 || !isDigest(cm, r) {
		s.options.Report(r, fmt.Errorf("ConfigMap %s is not a digest of the receiver, or was damaged: its alerts are "+
			"written to it again, or to the next digest; delete it if this error persists", name))
		return cm, publication{}, nil
	}
	return cm, p, nil
}

// parsePublication returns how much of a digest is in its ConfigMap. The count is 0 if it cannot be read.
func parsePublication(cm *corev1.ConfigMap) (p publication) {
	if json.Unmarshal([]byte(cm.Data[publishedKey]), &p) != nil || p.Count < 0 || p.Lines < 0 {
		return publication{}
	}
	return p
}

// isDigest reports whether a ConfigMap with the name of a digest is one of the receiver. Others are not overwritten.
func isDigest(cm *corev1.ConfigMap, r *v1alpha1.TeamTalkReceiver) bool {
	return cm.Labels[v1alpha1.ReceiverLabel] == r.Name
}

// send creates the message of a digest, unless there is one. The ConfigMap is deleted with it.
func (s *Store) send(ctx context.Context, r *v1alpha1.TeamTalkReceiver, d *Digest, cm *corev1.ConfigMap) error {
	if owner := metav1.GetControllerOf(cm); owner == nil {
		return nil // the message owns it
	}
	to := make([]v1alpha1.Recipient, len(d.To))
	for i, r := range d.To {
		to[i] = v1alpha1.Recipient(r)
	}
	m, err := s.options.Create(ctx, r, cm.Name, to, d.End().Add(Delay))
	if err != nil || m == nil {
		return err
	}
	before := cm.DeepCopy()
	cm.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "TeamTalkMessage", Name: m.Name, UID: m.UID,
	}}
	// If it fails, the ConfigMap is kept for as long as the receiver.
	_ = s.options.Client.Patch(ctx, cm, client.MergeFrom(before))
	return nil
}

// digestName is the name of the message of a digest and of its ConfigMap.
func digestName(r *v1alpha1.TeamTalkReceiver, state *State, d *Digest) string {
	return fmt.Sprintf("%s-digest-%d-%s", r.Name, d.Begin,
		notification.Hash("digest", state.Epoch, strconv.FormatInt(d.Seconds, 10), fmt.Sprint(d.To)))
}

// hasPublished reports whether this process has published a digest up to a count.
func (s *Store) hasPublished(r *v1alpha1.TeamTalkReceiver, name string, count int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.published[types.NamespacedName{Namespace: r.Namespace, Name: name}].count >= count
}

// setPublished records that a digest is published.
func (s *Store) setPublished(r *v1alpha1.TeamTalkReceiver, name string, d *Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.published[types.NamespacedName{Namespace: r.Namespace, Name: name}] = published{
		count: d.Count, expires: d.End().Add(max(Delay, r.DedupWindow())),
	}
}

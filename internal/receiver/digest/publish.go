// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
)

// publication is how much of a digest is published.
type publication struct {
	Count int `json:"count"`
	Lines int `json:"lines"`
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
			if left <= 0 {
				return fmt.Errorf("digest %s is about to be sent: what is missing in it will be in the next one", name)
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
		s.setPublished(r, name, d.Count)
		return nil
	}
}

// settle removes the digests that cannot change any more from the state. What was not published of them, because a
// process has stopped before, is moved to digests of the current window. After the dedup window there is nothing to
// move: what was not acknowledged is a new notification by then, and the digest may be deleted already.
func (s *Store) settle(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, state *State, now time.Time,
) (changed bool, err error) {
	var closed, open []*Digest
	for _, d := range state.Digests {
		if now.Before(d.End().Add(Delay)) {
			open = append(open, d)
		} else {
			closed = append(closed, d)
		}
	}
	if len(closed) == 0 {
		return false, nil
	}
	err = each(ctx, closed, func(ctx context.Context, d *Digest) error {
		name := digestName(r, state, d)
		if now.After(d.End().Add(r.DedupWindow())) || s.hasPublished(r, name, d.Count) {
			d.Count, d.Lines = 0, nil
			return nil
		}
		cm, published, err := s.readDigest(ctx, r, name)
		if err != nil {
			return err
		}
		d.Count, d.Lines = d.Count-published.Count, d.Lines[min(published.Lines, len(d.Lines)):]
		if cm.ResourceVersion == "" {
			return nil
		}
		return s.send(ctx, r, d, cm)
	})
	if err != nil {
		return false, err
	}
	state.Digests = open
	current := newLimiter(state, r, now)
	for _, d := range closed {
		if d.Count > 0 {
			current.carry(d)
		}
	}
	return true, nil
}

// readDigest returns the ConfigMap of a digest, or a new one, and how much of the digest is in it.
func (s *Store) readDigest(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, name string,
) (*corev1.ConfigMap, publication, error) {
	var published publication
	cm := &corev1.ConfigMap{}
	err := s.options.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, cm)
	switch {
	case apierrors.IsNotFound(err):
		return newConfigMap(r, name), published, nil
	case err != nil:
		return nil, published, fmt.Errorf("read digest %s: %w", name, err)
	}
	if json.Unmarshal([]byte(cm.Data[publishedKey]), &published) != nil || cm.Labels[v1alpha1.ReceiverLabel] != r.Name {
		return nil, published, fmt.Errorf("ConfigMap %s is not a digest of the receiver, or was damaged: rename or delete it",
			name)
	}
	return cm, published, nil
}

// send creates the message of a digest, unless there is one. The ConfigMap is deleted with it.
func (s *Store) send(ctx context.Context, r *v1alpha1.TeamTalkReceiver, d *Digest, cm *corev1.ConfigMap) error {
	if owner := metav1.GetControllerOf(cm); owner == nil {
		return nil // the message owns it
	}
	to := make([]v1alpha1.Recipient, len(d.To))
	for i, id := range d.To {
		to[i] = recipientOf(id)
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
	return s.published[client.ObjectKeyFromObject(r)][name] >= count
}

// setPublished records that a digest is published up to a count.
func (s *Store) setPublished(r *v1alpha1.TeamTalkReceiver, name string, count int) {
	key := client.ObjectKeyFromObject(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.published[key] == nil {
		s.published[key] = map[string]int{}
	}
	s.published[key][name] = max(s.published[key][name], count)
}

// forgetPublished drops what is recorded of digests that are not in the state.
func (s *Store) forgetPublished(r *v1alpha1.TeamTalkReceiver, state *State) {
	key, kept := client.ObjectKeyFromObject(r), map[string]int{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range state.Digests {
		if name := digestName(r, state, d); s.published[key][name] > 0 {
			kept[name] = s.published[key][name]
		}
	}
	if s.published[key] = kept; len(kept) == 0 {
		delete(s.published, key)
	}
}

// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// A digest is a TeamTalkMessage that takes its text from a ConfigMap at its time:
// it is sent whatever becomes of who received its alerts. It is written to for
// digestOpen after its window, which is longer than a request of the window takes,
// and sent a good while after that.
const (
	digestOpen  = 10 * time.Second
	digestDelay = 20 * time.Second
)

const (
	// digestKey is where the text is in its ConfigMap, seqKey up to which entry of the
	// ledger it was written.
	digestKey = "text"
	seqKey    = "seq"
)

// writeDigest sees to it that a digest is written up to an entry at least, as the
// ledger has it, and that its message is there. A digest that is closed stays as it
// is: up to where it is written tells.
func (h *Handler) writeDigest(ctx context.Context, r *v1alpha1.TeamTalkReceiver, l *ledger, ref int,
	upTo int64) (written int64, err error) {
	d := l.Digests[ref-1]
	name := digestName(r, l, d)
	inTime, cancel := context.WithDeadline(ctx, time.Now().Add(d.end().Add(digestDelay-2*time.Second).Sub(h.now())))
	defer cancel()
	for {
		cm, written, err := h.readDigest(ctx, r, name)
		if err != nil {
			return 0, err
		}
		if written < upTo {
			if h.now().After(d.end().Add(digestOpen)) {
				if cm.ResourceVersion == "" {
					return 0, nil
				}
				return written, h.sendDigest(ctx, r, l, d, cm)
			}
			cm.Data = map[string]string{digestKey: l.text(ref), seqKey: strconv.FormatInt(d.Last, 10)}
			if cm.ResourceVersion == "" {
				err = h.client.Create(inTime, cm)
			} else {
				err = h.client.Update(inTime, cm)
			}
			if conflicted(err) && inTime.Err() == nil {
				continue // somebody else has written it, up to here or not
			}
			if err != nil {
				return 0, fmt.Errorf("write digest %s: %w", name, err)
			}
			written = d.Last
		}
		return written, h.sendDigest(ctx, r, l, d, cm)
	}
}

// readDigest returns the ConfigMap of a digest, or a new one, and up to which entry it
// is written.
func (h *Handler) readDigest(ctx context.Context, r *v1alpha1.TeamTalkReceiver,
	name string) (*corev1.ConfigMap, int64, error) {
	cm := &corev1.ConfigMap{}
	err := h.client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, cm)
	switch {
	case apierrors.IsNotFound(err):
		cm.ObjectMeta = metav1.ObjectMeta{
			Namespace: r.Namespace, Name: name,
			Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
			OwnerReferences: []metav1.OwnerReference{owned(r)},
		}
		return cm, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("read digest %s: %w", name, err)
	}
	written, err := strconv.ParseInt(cm.Data[seqKey], 10, 64)
	if err != nil || cm.Labels[v1alpha1.ReceiverLabel] != r.Name {
		return nil, 0, fmt.Errorf("ConfigMap %s is no digest of the receiver, or was damaged: rename or delete it", name)
	}
	return cm, written, nil
}

// sendDigest makes the message of a digest, unless it was made before. The ConfigMap
// goes with it.
func (h *Handler) sendDigest(ctx context.Context, r *v1alpha1.TeamTalkReceiver, l *ledger, d digest,
	cm *corev1.ConfigMap) error {
	if owner := metav1.GetControllerOf(cm); owner == nil {
		return nil // it is the message's
	}
	m := message(r, cm.Name, recipientsOf(l.to(d.To)))
	m.Spec.SendAfter = ptr.To(metav1.NewTime(d.end().Add(digestDelay)))
	m.Spec.Content.TextFrom = &v1alpha1.TextSource{ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: cm.Name,
		Key: digestKey}}
	err := h.client.Create(ctx, m)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create TeamTalkMessage %s: %w", m.Name, err)
	}
	before := cm.DeepCopy()
	cm.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "TeamTalkMessage", Name: m.Name, UID: m.UID,
	}}
	// If it fails, the ConfigMap is kept for as long as the receiver.
	_ = h.client.Patch(ctx, cm, client.MergeFrom(before))
	return nil
}

// digestName is of this window of this ledger, and of these recipients.
func digestName(r *v1alpha1.TeamTalkReceiver, l *ledger, d digest) string {
	return fmt.Sprintf("%s-digest-%d-%s", r.Name, d.Begin,
		hash("digest", l.Epoch, strconv.FormatInt(d.Seconds, 10), fmt.Sprint(l.to(d.To))))
}

// writeDigests writes the digests of entries, and returns how far each is.
func (h *Handler) writeDigests(ctx context.Context, r *v1alpha1.TeamTalkReceiver, l *ledger,
	entries []ledgerEntry) (map[int]int64, error) {
	upTo := map[int]int64{}
	for _, e := range entries {
		for _, ref := range l.digestsOf(e) {
			upTo[ref] = max(upTo[ref], e.Seq)
		}
	}
	refs := make([]int, 0, len(upTo))
	for ref := range upTo {
		refs = append(refs, ref)
	}
	done := make([]int64, len(refs))
	err := each(ctx, refs, func(i, ref int) (err error) {
		done[i], err = h.writeDigest(ctx, r, l, ref, upTo[ref])
		return err
	})
	written := map[int]int64{}
	for i, ref := range refs {
		written[ref] = done[i]
	}
	return written, err
}

// late are the recipients of an entry whose digest was closed before it was written.
func (l *ledger) late(e ledgerEntry, written map[int]int64) []int64 {
	var late []int64
	for _, ref := range l.digestsOf(e) {
		if upTo, tried := written[ref]; tried && upTo < e.Seq {
			late = append(late, l.to(l.Digests[ref-1].To)...)
		}
	}
	return late
}

var errNeverOpen = errors.New("write a digest: each window is over before it is written to")

// SPDX-License-Identifier: Apache-2.0

package teamtalkserver

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// keyMargin is the largest difference of the clocks of operators, which date rows and the record of keys.
const keyMargin = 5 * time.Minute

// loadedKeys are the keys of one version of a Secret.
type loadedKeys struct {
	uid     types.UID
	version string
	ref     v1alpha1.SecretKeyRef
	keys    cipher.Keys
}

// named returns the key under a name of the Secret, or nil.
func (l loadedKeys) named(name string) *cipher.Cipher {
	if name == l.ref.Key {
		return l.keys.Current
	}
	for i, key := range l.keys.Previous {
		if name == l.ref.PreviousKey(i+1) {
			return key
		}
	}
	return nil
}

// nameOf returns the name of a key in the Secret, or "".
func (l loadedKeys) nameOf(key *cipher.Cipher) string {
	if key == nil {
		return ""
	}
	if key.Equal(l.keys.Current) {
		return l.ref.Key
	}
	if i := slices.IndexFunc(l.keys.Previous, key.Equal); i >= 0 {
		return l.ref.PreviousKey(i + 1)
	}
	return ""
}

// isRecorded reports whether the record ends with the current key of this version.
func (l loadedKeys) isRecorded(record []v1alpha1.KeyInUse) bool {
	if len(record) == 0 {
		return false
	}
	last := record[len(record)-1]
	return last.SecretUID == l.uid && last.ResourceVersion == l.version && last.Name == l.ref.Key
}

// nextKeysInUse returns the record of keys once the current key of now is in use. before are the keys that this
// process has loaded last, or nil. Keys are only compared in memory: what the Secret held in a version that this
// process has not seen is not known.
func nextKeysInUse(record []v1alpha1.KeyInUse, before *loadedKeys, now loadedKeys, at metav1.Time) []v1alpha1.KeyInUse {
	if now.isRecorded(record) {
		return record
	}
	next := slices.Clone(record)
	seen := before != nil && before.isRecorded(record)
	for i := range next {
		name := ""
		if seen {
			name = now.nameOf(before.named(next[i].Name))
		}
		next[i].Name = name
	}
	if seen && before.keys.Current.Equal(now.keys.Current) {
		last := &next[len(next)-1]
		last.SecretUID, last.ResourceVersion = now.uid, now.version
		return next
	}
	next = append(next, v1alpha1.KeyInUse{
		Since: at, SecretUID: now.uid, ResourceVersion: now.version, Name: now.ref.Key,
	})
	return next[max(0, len(next)-v1alpha1.MaxKeysInUse):]
}

// periodsAtHand returns the periods in which only keys were in use that the Secret holds. The last key is one of them.
func periodsAtHand(record []v1alpha1.KeyInUse) (periods []cipher.Period) {
	if len(record) == 0 {
		return nil
	}
	begin := record[0].Since.Add(keyMargin)
	for i, key := range record[:len(record)-1] {
		if key.Name != "" {
			continue
		}
		if end := key.Since.Add(-keyMargin); end.After(begin) {
			periods = append(periods, cipher.Period{Begin: begin, End: end})
		}
		begin = record[i+1].Since.Add(keyMargin)
	}
	return append(periods, cipher.Period{Begin: begin})
}

// recordKeys records the current key before it is used, and completes the keys.
func (r *Reconciler) recordKeys(ctx context.Context, server *v1alpha1.TeamTalkServer, now loadedKeys) (
	cipher.Keys, error,
) {
	key := client.ObjectKeyFromObject(server)
	var before *loadedKeys
	if loaded, ok := r.loaded.Load(key); ok {
		before = new(loaded.(loadedKeys))
	}
	shown := server.DeepCopy()
	server.Status.KeysInUse = nextKeysInUse(server.Status.KeysInUse, before, now, metav1.Now())
	if err := r.writeStatus(ctx, shown, server); err != nil {
		return cipher.Keys{}, err
	}
	r.loaded.Store(key, now)
	now.keys.AtHand = periodsAtHand(server.Status.KeysInUse)
	return now.keys, nil
}

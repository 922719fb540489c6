// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

const (
	// ledgerKey is where a ledger is in its ConfigMap, as compressed JSON.
	ledgerKey = "ledger.json.gz"
	// maxLedger is the longest ledger, in bytes: a ConfigMap holds 1 MiB.
	maxLedger = 900 << 10
	// maxInflated bounds what a ledger is before it is compressed.
	maxInflated = 64 << 20
)

// ledger is what a receiver with flood control has decided lately. It is in a
// ConfigMap, whose version is what processes agree by: a notification is entered
// once, and everybody's budget is counted in one place. What many of its entries
// have in common is there once: references count from 1, and 0 is none.
type ledger struct {
	// Epoch is this ledger's own: digests of one that was deleted are not continued.
	Epoch string `json:"epoch"`
	// Seq numbers the entries. Who knows up to which one a digest was written knows
	// what is in it.
	Seq int64 `json:"seq"`
	// Names are lists of recipients: users as they are, groups negative.
	Names   [][]int64 `json:"names,omitempty"`
	Digests []digest  `json:"digests,omitempty"`
	// Folds are lists of references to digests.
	Folds   [][]int       `json:"folds,omitempty"`
	Lines   []line        `json:"lines,omitempty"`
	Entries []ledgerEntry `json:"entries,omitempty"`

	// Indices, made when they are needed.
	byHash   map[string]int
	byNames  map[string]int
	byFolds  map[string]int
	byDigest map[digestID]int
	// used is how long the lines of a digest are; 0: those of all.
	used map[int]int
	// entered is how many entries were added since it was read.
	entered int
}

// ledgerEntry is one notification.
type ledgerEntry struct {
	Hash   string `json:"h"`
	Number int    `json:"n"`
	// Time of the decision, in Unix seconds.
	Time int64 `json:"t"`
	Seq  int64 `json:"s"`
	// To are those who get a message now.
	To int `json:"to,omitempty"`
	// Fold are the digests in which the others get it.
	Fold int `json:"f,omitempty"`
}

// digestID tells digests of one ledger apart. The length of the window is part of
// it: windows of two lengths may begin at the same time.
type digestID struct {
	Begin   int64 `json:"begin"`
	Seconds int64 `json:"seconds"`
	To      int   `json:"to"`
}

// digest is what recipients are told at the end of a window, who share it since they
// are told of the same.
type digest struct {
	digestID
	// Count is how many notifications are in it, Last the Seq of the newest.
	Count int   `json:"count"`
	Last  int64 `json:"last"`
}

// end is when the digest's window is over.
func (d digest) end() time.Time { return time.Unix(d.Begin+d.Seconds, 0) }

// line stands for a notification in digests.
type line struct {
	Fold int    `json:"f"`
	Text string `json:"text"`
}

// find returns the newest entry of a notification; nil: there is none.
func (l *ledger) find(hash string) *ledgerEntry {
	if l.byHash == nil {
		l.byHash = make(map[string]int, len(l.Entries))
		for i, e := range l.Entries {
			l.byHash[e.Hash] = i
		}
	}
	if i, ok := l.byHash[hash]; ok {
		return &l.Entries[i]
	}
	return nil
}

// add appends an entry.
func (l *ledger) add(e ledgerEntry) *ledgerEntry {
	l.find(e.Hash)
	l.byHash[e.Hash] = len(l.Entries)
	l.Entries = append(l.Entries, e)
	l.entered++
	return &l.Entries[len(l.Entries)-1]
}

// names returns the reference to a list of recipients.
func (l *ledger) names(list []int64) int { return intern(&l.Names, &l.byNames, list) }

// folds returns the reference to a list of digests.
func (l *ledger) folds(list []int) int { return intern(&l.Folds, &l.byFolds, list) }

// intern returns the reference to a list, which is entered once.
func intern[T int | int64](lists *[][]T, index *map[string]int, list []T) int {
	if len(list) == 0 {
		return 0
	}
	key := func(list []T) string {
		var b []byte
		for _, v := range list {
			b = binary.AppendVarint(b, int64(v))
		}
		return string(b)
	}
	if *index == nil {
		*index = make(map[string]int, len(*lists))
		for i, known := range *lists {
			(*index)[key(known)] = i + 1
		}
	}
	k := key(list)
	if (*index)[k] == 0 {
		*lists = append(*lists, list)
		(*index)[k] = len(*lists)
	}
	return (*index)[k]
}

// to returns the list of a reference.
func (l *ledger) to(ref int) []int64 { return listOf(l.Names, ref) }

// digestsOf returns the digests that an entry is in.
func (l *ledger) digestsOf(e ledgerEntry) []int { return listOf(l.Folds, e.Fold) }

func listOf[T any](lists [][]T, ref int) []T {
	if ref == 0 {
		return nil
	}
	return lists[ref-1]
}

// digest returns the reference to a digest, which is made if there is none.
func (l *ledger) digest(id digestID) int {
	if l.byDigest == nil {
		l.byDigest = make(map[digestID]int, len(l.Digests))
		for i, d := range l.Digests {
			l.byDigest[d.digestID] = i + 1
		}
	}
	if l.byDigest[id] == 0 {
		l.Digests = append(l.Digests, digest{digestID: id})
		l.byDigest[id] = len(l.Digests)
	}
	return l.byDigest[id]
}

// decode reads a ledger, encode writes it.
func (l *ledger) decode(b []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxInflated))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, l); err != nil {
		return err
	}
	return l.check()
}

func (l *ledger) encode() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(z).Encode(l), z.Close()); err != nil {
		return nil, fmt.Errorf("write flood control's ledger: %w", err)
	}
	return b.Bytes(), nil
}

// check finds references to what is not there: somebody has edited it.
func (l *ledger) check() error {
	ok := l.Epoch != ""
	within := func(ref, count, least int) { ok = ok && ref >= least && ref <= count }
	for _, d := range l.Digests {
		within(d.To, len(l.Names), 1)
	}
	for _, list := range l.Folds {
		for _, ref := range list {
			within(ref, len(l.Digests), 1)
		}
	}
	for _, one := range l.Lines {
		within(one.Fold, len(l.Folds), 1)
	}
	for _, e := range l.Entries {
		within(e.To, len(l.Names), 0)
		within(e.Fold, len(l.Folds), 0)
	}
	if !ok {
		return errors.New("it refers to what is not in it")
	}
	return nil
}

// readLedger returns the ledger and its ConfigMap as they are now, or new ones.
func (h *Handler) readLedger(ctx context.Context, r *v1alpha1.TeamTalkReceiver) (*corev1.ConfigMap, *ledger, error) {
	cm := &corev1.ConfigMap{}
	err := h.client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: ledgerName(r)}, cm)
	switch {
	case apierrors.IsNotFound(err):
		cm.ObjectMeta = metav1.ObjectMeta{
			Namespace: r.Namespace, Name: ledgerName(r),
			Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
			OwnerReferences: []metav1.OwnerReference{owned(r)},
		}
		return cm, &ledger{Epoch: string(uuid.NewUUID())}, nil
	case err != nil:
		return nil, nil, fmt.Errorf("read flood control's ConfigMap %s: %w", ledgerName(r), err)
	case !metav1.IsControlledBy(cm, r):
		return nil, nil, fmt.Errorf("ConfigMap %s does not belong to the receiver, which needs it for flood control: rename "+
			"or delete it", cm.Name)
	}
	l := &ledger{}
	if err := l.decode(cm.BinaryData[ledgerKey]); err != nil {
		return nil, nil, fmt.Errorf("flood control's ConfigMap %s was damaged: delete it", cm.Name)
	}
	return cm, l, nil
}

// ledgerName is of this receiver alone: one of the same name that was deleted may
// have left its own behind, until that is deleted too.
func ledgerName(r *v1alpha1.TeamTalkReceiver) string {
	return fmt.Sprintf("teamtalk-receiver-%s-%.10s", r.Name, hash("ledger", string(r.UID)))
}

func conflicted(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

// beginning is a text's first two lines in one, for a digest.
func beginning(text string) string {
	lines := strings.SplitN(text, "\n", 3)
	return template.Abbreviate(160, strings.Join(strings.Fields(strings.Join(lines[:min(2, len(lines))], " ")), " "))
}

// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// The limits of DrainedExceptAnnotation: 39 KB of UIDs, and 66 KB of namespaces. The API server accepts 256 KiB of
// annotations.
const (
	maxUnrecordedUIDs       = 1000
	maxUnrecordedNamespaces = 1000
)

// errManyUnrecorded reports that there are too many messages for DrainedExceptAnnotation.
var errManyUnrecorded = fmt.Errorf("more than %d messages of more than %d namespaces are not recorded",
	maxUnrecordedUIDs, maxUnrecordedNamespaces)

// Unrecorded are the messages of which an earlier leader may not have recorded everything. The zero value has none.
type Unrecorded struct {
	UIDs sets.Set[types.UID]
	// Namespaces are those all of whose messages count.
	Namespaces sets.Set[string]
}

// Has reports whether the message is one of them.
func (u Unrecorded) Has(m *v1alpha1.TeamTalkMessage) bool {
	return u.UIDs.Has(m.UID) || u.Namespaces.Has(m.Namespace)
}

func (u Unrecorded) isEmpty() bool { return len(u.UIDs)+len(u.Namespaces) == 0 }

// limitUnrecorded names messages, given as their namespaces by UID. If there are too many, the namespaces with the
// most of them count as a whole. So the messages of one namespace do not affect those of another.
func limitUnrecorded(messages map[types.UID]string) (Unrecorded, error) {
	counts := map[string]int{}
	for _, namespace := range messages {
		counts[namespace]++
	}
	largest := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	u := Unrecorded{UIDs: sets.New[types.UID](), Namespaces: sets.New[string]()}
	rest := len(messages)
	for _, namespace := range largest {
		if rest <= maxUnrecordedUIDs {
			break
		}
		u.Namespaces.Insert(namespace)
		rest -= counts[namespace]
	}
	if len(u.Namespaces) > maxUnrecordedNamespaces {
		return Unrecorded{}, errManyUnrecorded
	}
	for uid, namespace := range messages {
		if !u.Namespaces.Has(namespace) {
			u.UIDs.Insert(uid)
		}
	}
	return u, nil
}

// drainedMark is the mark of a drained Lease. With unrecorded messages it is DrainedExceptAnnotation, as JSON.
type drainedMark struct {
	// Version is the resourceVersion of the TeamTalkMessages that includes everything that is recorded.
	Version string `json:"version"`
	// Transitions are those of the Lease in the term that was drained. A version that does not know the annotation leaves
	// it on the Lease. Then it is of an older term, and means nothing.
	Transitions int32       `json:"leaseTransitions"`
	UIDs        []types.UID `json:"uids,omitempty"`
	Namespaces  []string    `json:"namespaces,omitempty"`
}

// unrecorded returns the messages that the mark excludes.
func (m drainedMark) unrecorded() Unrecorded {
	return Unrecorded{UIDs: sets.New(m.UIDs...), Namespaces: sets.New(m.Namespaces...)}
}

// newDrainedMark returns the annotations of a Lease that is drained but for unrecorded messages.
func newDrainedMark(lease *coordinationv1.Lease, version string, u Unrecorded) (map[string]string, error) {
	if u.isEmpty() {
		return map[string]string{DrainedAnnotation: version}, nil
	}
	value, err := json.Marshal(drainedMark{
		Version: version, Transitions: ptr.Deref(lease.Spec.LeaseTransitions, 0),
		UIDs: sets.List(u.UIDs), Namespaces: sets.List(u.Namespaces),
	})
	if err != nil {
		return nil, fmt.Errorf("encode the mark of Lease %s: %w", lease.Name, err)
	}
	return map[string]string{DrainedExceptAnnotation: string(value)}, nil
}

// readDrainedMark returns the mark of the last holder of a Lease that has been acquired since. It returns false if
// there is none that this version understands.
func readDrainedMark(lease *coordinationv1.Lease) (drainedMark, bool) {
	if version, ok := lease.Annotations[DrainedAnnotation]; ok {
		return drainedMark{Version: version}, true
	}
	var mark drainedMark
	decoder := json.NewDecoder(strings.NewReader(lease.Annotations[DrainedExceptAnnotation]))
	decoder.DisallowUnknownFields()
	isValid := decoder.Decode(&mark) == nil && len(mark.UIDs)+len(mark.Namespaces) > 0 &&
		mark.Transitions+1 == ptr.Deref(lease.Spec.LeaseTransitions, 0)
	return mark, isValid
}

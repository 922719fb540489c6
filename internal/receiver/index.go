// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

const (
	// idleTimeout is how long a namespace is watched in which nothing is received.
	idleTimeout = time.Hour
	// maxWatches limits the namespaces that are watched.
	maxWatches = 256
	// listPage is the number of messages in a page.
	listPage = 500
)

// index knows the newest message of each notification. The API server would have to search all messages of a namespace
// to find it. So the index watches the metadata of the messages that receivers created, with one watch for each
// namespace in use. It keeps a number and a time for each notification. It may be behind: then the next number exists,
// see create.
type index struct {
	client     client.Reader
	running    atomic.Bool // before that, it is empty
	namespaces *apiwatch.Namespaces[*namespaceIndex]
}

// namespaceIndex is the index of one namespace. It is an apiwatch.CollectionHandler.
type namespaceIndex struct {
	messages apiwatch.Collection
	log      logr.Logger

	mu sync.Mutex
	// newest are by the notification's hash; nil while they are not known.
	newest map[string]messageInfo
}

// messageInfo is the data of a message in the index.
type messageInfo struct {
	// number in its notification. It is 0 if there is no such message, or if its name is not one of a receiver.
	number  int
	created metav1.Time
	// resolved: its alerts are resolved since.
	resolved bool
	// owner is the UID of the receiver that created it. It is empty if the message is being deleted.
	owner unique.Handle[types.UID]
}

// parseMessage returns the notification of a message, and the message's data for the index.
func parseMessage(m metav1.Object) (hash string, info messageInfo) {
	hash, info.number = parseName(m)
	info.created = m.GetCreationTimestamp()
	info.resolved = m.GetAnnotations()[v1alpha1.ResolvedAnnotation] != ""
	var owner types.UID
	if o := metav1.GetControllerOfNoCopy(m); o != nil && m.GetDeletionTimestamp() == nil {
		owner = o.UID
	}
	info.owner = unique.Make(owner)
	return hash, info
}

// parseName is the inverse of nameOf. The number is 0 if labels and name are not those of a receiver.
func parseName(m metav1.Object) (hash string, number int) {
	labels := m.GetLabels()
	hash = labels[v1alpha1.NotificationLabel]
	digits, ok := strings.CutPrefix(m.GetName(), labels[v1alpha1.ReceiverLabel]+"-"+hash+"-")
	n, err := strconv.ParseInt(digits, 10, 32)
	if !ok || err != nil || n < 1 {
		return hash, 0
	}
	return hash, int(n)
}

// isOf reports whether there is such a message, the receiver created it, and it is not being deleted. A deleted
// receiver of the same name may have left messages of the same notification.
func (m messageInfo) isOf(r *v1alpha1.TeamTalkReceiver) bool { return m.number > 0 && m.hasOwner(r) }

// isSame reports whether a notification with the same hash is the same, if it was created after a time: a key does not
// tell an alert that has fired before from one that fires again. Without a key, the hash does.
func (m messageInfo) isSame(source notification.Message, after time.Time) bool {
	firesAgain := m.resolved && len(source.Keys) > 0 && !source.Resolved
	return m.created.After(after) && !firesAgain
}

func (m messageInfo) hasOwner(r *v1alpha1.TeamTalkReceiver) bool {
	return m.owner == unique.Make(r.UID)
}

func newIndex(c client.WithWatch, log logr.Logger) *index {
	start := func(namespace string) (*namespaceIndex, func(context.Context)) {
		n := &namespaceIndex{log: log.WithValues("namespace", namespace), messages: apiwatch.Collection{
			Client: c, NewList: func() client.ObjectList { return metadataList() },
			Options: []client.ListOption{client.InNamespace(namespace), client.HasLabels{v1alpha1.NotificationLabel}},
		}}
		return n, func(ctx context.Context) { n.messages.Run(ctx, n) }
	}
	return &index{client: c, namespaces: apiwatch.NewNamespaces(start, idleTimeout, maxWatches)}
}

// run watches messages until ctx is done.
func (x *index) run(ctx context.Context) {
	x.running.Store(true)
	x.namespaces.Run(ctx)
}

// newest returns the newest messages of the notifications of some messages, by hash.
func (x *index) newest(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, messages []notification.Message,
) (map[string]messageInfo, error) {
	found := map[string]messageInfo{}
	for _, m := range messages {
		last, ok := x.lookup(r.Namespace, m.Hash)
		switch {
		case ok:
			found[m.Hash] = last
		case len(messages) > 1:
			// One list for all of them.
			return x.list(ctx, r, client.HasLabels{v1alpha1.NotificationLabel})
		default:
			return x.list(ctx, r, client.MatchingLabels{v1alpha1.NotificationLabel: m.Hash})
		}
	}
	return found, nil
}

// list returns the newest messages of notifications, as the API server lists them.
func (x *index) list(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, selected client.ListOption,
) (map[string]messageInfo, error) {
	list, found := metadataList(), map[string]messageInfo{}
	for {
		err := x.client.List(ctx, list, client.InNamespace(r.Namespace), selected,
			client.MatchingLabels{v1alpha1.ReceiverLabel: r.Name}, client.Limit(listPage), client.Continue(list.Continue))
		if err != nil {
			return nil, fmt.Errorf("list the messages of a notification: %w", err)
		}
		for i := range list.Items {
			recordNewest(found, &list.Items[i])
		}
		if list.Continue == "" {
			return found, nil
		}
	}
}

// metadataList returns an empty list of messages without specs and statuses.
func metadataList() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
	return list
}

// lookup returns the newest message of a notification. Its number is 0 if there is none. ok is false if it is not known
// yet. The first call for a namespace starts its watch.
func (x *index) lookup(namespace, hash string) (last messageInfo, ok bool) {
	if !x.running.Load() {
		return messageInfo{}, false
	}
	n, release, err := x.namespaces.Acquire(namespace)
	if err != nil {
		return messageInfo{}, false
	}
	defer release()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest[hash], n.newest != nil
}

// Begin implements apiwatch.CollectionHandler.
func (n *namespaceIndex) Begin(ctx context.Context) (string, error) {
	newest := map[string]messageInfo{}
	version, err := n.messages.Read(ctx, func(o client.Object) { recordNewest(newest, o) })
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.newest = newest
	return version, nil
}

// Change implements apiwatch.CollectionHandler.
func (n *namespaceIndex) Change(kind watch.EventType, o client.Object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if kind != watch.Deleted {
		recordNewest(n.newest, o)
		return
	}
	// The older ones are deleted first: numbers start at 1 again.
	hash, number := parseName(o)
	if n.newest[hash].number <= number {
		delete(n.newest, hash)
	}
}

// Lost implements apiwatch.CollectionHandler. It drops the data that is not updated any more. Messages are listed for
// each notification, as before the first Begin.
func (n *namespaceIndex) Lost(err error) {
	n.log.Info("cannot watch the messages of receivers, will retry; lists them for each notification meanwhile",
		"reason", err.Error())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.newest = nil
}

// recordNewest records a message if it is the newest of its notification.
func recordNewest(newest map[string]messageInfo, o metav1.Object) {
	hash, m := parseMessage(o)
	if m.number == 0 {
		return
	}
	// The same one may be deleted by now.
	if before, ok := newest[hash]; !ok || m.number >= before.number {
		// A copy: the hash would keep all that was decoded with it in memory.
		newest[strings.Clone(hash)] = m
	}
}

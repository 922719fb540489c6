// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// copiers write to etcd at once, so many objects each time: etcd takes 128
	// operations in a transaction.
	copiers, copiesPerWrite = 4, 100
	// registry is where the API server keeps messages in etcd.
	registry = "/registry/teamtalk.io/" + messages + "/"
)

// multiply copies a message that the operator has delivered: what the API server has
// written for it is written for others, under names, uids, texts and recipients of
// their own. It goes to etcd, which is a hundred times faster than through the API;
// what the API server then serves is the same.
func (w *world) multiply(ctx context.Context, pattern string, b batch) error {
	e := etcd{url: w.plane.EtcdURL()}
	original, err := e.get(ctx, registry+b.namespace+"/"+pattern)
	if err != nil {
		return err
	}
	err = parallel(ctx, copiers, (b.n+copiesPerWrite-1)/copiesPerWrite, func(ctx context.Context, part int) error {
		pairs := map[string][]byte{}
		for i := part * copiesPerWrite; i < min(b.n, (part+1)*copiesPerWrite); i++ {
			object, err := copyOf(original, b.name(i), b.text(i), b.users[i%len(b.users)])
			if err != nil {
				return err
			}
			pairs[registry+b.namespace+"/"+b.name(i)] = object
		}
		return e.put(ctx, pairs)
	})
	if err != nil {
		return err
	}
	return w.serves(ctx, b)
}

// copyOf returns a stored message under another name, with other recipients.
func copyOf(original []byte, name, text string, user uint32) ([]byte, error) {
	var o struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       map[string]any `json:"spec"`
		Status     map[string]any `json:"status"`
	}
	if err := json.Unmarshal(original, &o); err != nil {
		return nil, fmt.Errorf("read a message in etcd: %w", err)
	}
	recipients, _ := o.Status["recipients"].([]any)
	if len(recipients) != 1 {
		return nil, fmt.Errorf("read a message in etcd: %d recipients, want one", len(recipients))
	}
	recipient, ok := recipients[0].(map[string]any)
	if !ok {
		return nil, errors.New("read a message in etcd: its recipient is no object")
	}
	o.Metadata["name"], o.Metadata["uid"] = name, string(uuid.NewUUID())
	o.Spec["content"] = map[string]any{"text": text}
	o.Spec["to"] = map[string]any{"users": []uint32{user}}
	o.Status["toSummary"] = fmt.Sprintf("user %d", user)
	recipient["id"] = user
	return json.Marshal(o)
}

// serves waits until the API server has as many messages in its own cache, so that
// the time which that takes does not pass for the operator's, and returns an error
// unless they are all finished, as far as can be seen from the last.
func (w *world) serves(ctx context.Context, b batch) error {
	const patience = 5 * time.Minute // it is read again, whole, each time
	err := wait.PollUntilContextTimeout(ctx, time.Second, patience, true, func(ctx context.Context) (bool, error) {
		// Version 0 is answered from the cache, as far as it has come.
		all := &metav1.PartialObjectMetadataList{}
		all.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
		err := w.admin.List(ctx, all, client.InNamespace(b.namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}})
		return len(all.Items) >= b.n+1, err // and the one that they are copies of
	})
	if err != nil {
		return fmt.Errorf("wait until the API server serves %d messages: %w", b.n, err)
	}
	last := b.message(b.n - 1)
	if err := w.admin.Get(ctx, client.ObjectKeyFromObject(last), last); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	if !last.Finished() || last.Status.Recipients[0].ID != int64(last.Spec.To.Users[0]) {
		return fmt.Errorf("message %s does not look delivered", last.Name)
	}
	return nil
}

// etcd is the control plane's, through its JSON gateway.
type etcd struct{ url string }

type keyValue struct {
	Key   []byte `json:"key"` // in JSON as base64, as the gateway has it
	Value []byte `json:"value,omitempty"`
}

func (e etcd) get(ctx context.Context, key string) ([]byte, error) {
	var answer struct {
		KVs []keyValue `json:"kvs"`
	}
	if err := e.post(ctx, "/v3/kv/range", keyValue{Key: []byte(key)}, &answer); err != nil {
		return nil, err
	}
	if len(answer.KVs) != 1 {
		return nil, fmt.Errorf("etcd has no %s", key)
	}
	return answer.KVs[0].Value, nil
}

// put writes all pairs in one transaction.
func (e etcd) put(ctx context.Context, pairs map[string][]byte) error {
	type operation struct {
		Put keyValue `json:"request_put"`
	}
	var txn struct {
		Success []operation `json:"success"`
	}
	for key, v := range pairs {
		txn.Success = append(txn.Success, operation{keyValue{[]byte(key), v}})
	}
	var answer struct {
		Succeeded bool `json:"succeeded"`
	}
	if err := e.post(ctx, "/v3/kv/txn", txn, &answer); err != nil {
		return err
	}
	if !answer.Succeeded {
		return errors.New("etcd has not taken a transaction")
	}
	return nil
}

func (e etcd) post(ctx context.Context, path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask etcd: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("ask etcd: %s %s", path, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(answer); err != nil {
		return fmt.Errorf("read etcd's answer: %w", err)
	}
	return nil
}

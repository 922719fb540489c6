// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// copiers write to etcd at once, so many objects each time: etcd takes 128 operations in a transaction.
	copiers, copiesPerWrite = 4, 100
	// registry is where the API server keeps messages in etcd.
	registry = "/registry/teamtalk.io/" + messages + "/"
)

// multiply copies a message that the operator has delivered, with names, uids, texts and recipients of their
// own. It writes to etcd, which is a hundred times faster than the API.
func (w *world) multiply(ctx context.Context, pattern string, b batch) {
	e := etcd{url: w.plane.EtcdURL()}
	original := e.get(ctx, registry+b.namespace+"/"+pattern)
	writes := (b.n + copiesPerWrite - 1) / copiesPerWrite
	framework.Must(framework.Parallel(ctx, copiers, writes, func(ctx context.Context, part int) {
		pairs := map[string][]byte{}
		for i := part * copiesPerWrite; i < min(b.n, (part+1)*copiesPerWrite); i++ {
			object, err := copyOf(original, b.name(i), b.text(i), b.users[i%len(b.users)])
			framework.Must(err)
			pairs[registry+b.namespace+"/"+b.name(i)] = object
		}
		e.put(ctx, pairs)
	}))
	w.checkServed(ctx, b)
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

// checkServed waits until the API server has the messages in its cache, and fails unless the last is finished.
func (w *world) checkServed(ctx context.Context, b batch) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	what := fmt.Sprintf("the API server serves %d messages", b.n)
	framework.Must(framework.AwaitEvery(ctx, time.Second, what, func(ctx context.Context) (string, bool, error) {
		// Version 0 is answered from the cache, as far as it has come.
		all := &metav1.PartialObjectMetadataList{}
		all.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"))
		err := w.admin.List(ctx, all, client.InNamespace(b.namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}})
		return fmt.Sprint(len(all.Items)), len(all.Items) >= b.n+1, err // and the one that they are copies of
	}))
	last := b.message(b.n - 1)
	framework.Must(w.admin.Get(ctx, client.ObjectKeyFromObject(last), last))
	if !last.Finished() || last.Status.Recipients[0].ID != int64(last.Spec.To.Users[0]) {
		framework.Failf("message %s does not look delivered", last.Name)
	}
}

// etcd is the control plane's, through its JSON gateway.
type etcd struct{ url string }

type keyValue struct {
	Key   []byte `json:"key"` // in JSON as base64, as the gateway has it
	Value []byte `json:"value,omitempty"`
}

func (e etcd) get(ctx context.Context, key string) []byte {
	var answer struct {
		KVs []keyValue `json:"kvs"`
	}
	e.post(ctx, "/v3/kv/range", keyValue{Key: []byte(key)}, &answer)
	if len(answer.KVs) != 1 {
		framework.Failf("etcd has no %s", key)
	}
	return answer.KVs[0].Value
}

func (e etcd) put(ctx context.Context, pairs map[string][]byte) {
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
	if e.post(ctx, "/v3/kv/txn", txn, &answer); !answer.Succeeded {
		framework.Failf("etcd has not taken a transaction")
	}
}

func (e etcd) post(ctx context.Context, path string, body, answer any) {
	request := string(framework.MustGet(json.Marshal(body)))
	res, b, err := framework.Ask(ctx, http.DefaultClient, http.MethodPost, e.url+path, request)
	framework.Mustf(err, "ask etcd")
	if res.StatusCode != http.StatusOK {
		framework.Failf("ask etcd: %s %s", path, res.Status)
	}
	framework.Mustf(json.Unmarshal([]byte(b), answer), "read etcd's answer")
}

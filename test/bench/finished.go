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
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	// copiers write to etcd at the same time, copiesPerWrite objects in a transaction. etcd permits 128 operations in
	// one.
	copiers, copiesPerWrite = 4, 100
	// registry is where the API server keeps messages in etcd.
	registry = "/registry/teamtalk.io/" + messages + "/"
)

// copies are finished messages that look like one that the operator has delivered.
type copies struct {
	batch
	// ttlSeconds is their spec.ttlSecondsAfterFinished; nil: none.
	ttlSeconds *int32
}

// multiply copies a message of the namespace. Each copy has its own name, UID, text and recipient, and replaces an
// object with its name. multiply writes to etcd, which is a hundred times faster than the API.
func (w *world) multiply(ctx context.Context, pattern string, c copies) {
	began := time.Now()
	e := etcd{url: w.plane.EtcdURL()}
	original := e.get(ctx, registry+namespace+"/"+pattern)
	write := func(ctx context.Context, from, to int) {
		pairs := map[string][]byte{}
		for i := from; i < to; i++ {
			object, err := c.copyOf(original, i)
			framework.Must(err)
			pairs[registry+c.namespace+"/"+c.name(i)] = object
		}
		e.put(ctx, pairs)
	}
	last := c.n - 1
	writes := (last + copiesPerWrite - 1) / copiesPerWrite
	framework.Must(framework.Parallel(ctx, copiers, writes, func(ctx context.Context, part int) {
		write(ctx, part*copiesPerWrite, min(last, (part+1)*copiesPerWrite))
	}))
	write(ctx, last, c.n) // after all others, so that it is served after them
	w.checkServed(ctx, c)
	say("  %d messages written in %.0f s", c.n, time.Since(began).Seconds())
}

// copyOf returns a stored message as the i-th copy.
func (c copies) copyOf(original []byte, i int) ([]byte, error) {
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
	user := c.users[i%len(c.users)]
	o.Metadata["name"], o.Metadata["namespace"], o.Metadata["uid"] = c.name(i), c.namespace, string(uuid.NewUUID())
	o.Spec["content"] = map[string]any{"text": c.text(i)}
	o.Spec["to"] = map[string]any{"users": []uint32{user}}
	if c.ttlSeconds != nil {
		o.Spec["ttlSecondsAfterFinished"] = *c.ttlSeconds
		o.Status["settled"] = false
	}
	o.Status["toSummary"] = fmt.Sprintf("user %d", user)
	recipient["id"] = user
	return json.Marshal(o)
}

// checkServed waits until the API server's cache has the last copy, and fails unless that is finished.
func (w *world) checkServed(ctx context.Context, c copies) {
	var last *v1alpha1.TeamTalkMessage
	key := client.ObjectKey{Namespace: c.namespace, Name: c.name(c.n - 1)}
	cached := &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}}
	until(ctx, fmt.Sprintf("the API server serves %d messages", c.n), func(ctx context.Context) bool {
		last = &v1alpha1.TeamTalkMessage{} // decoding keeps fields that are unset in the input
		err := w.admin.Get(ctx, key, last, cached)
		framework.Must(client.IgnoreNotFound(err))
		return err == nil && ptr.Equal(last.Spec.TTLSecondsAfterFinished, c.ttlSeconds)
	})
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

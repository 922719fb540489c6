package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// fillers is how many finished messages are created at once.
const fillers = 32

// fill creates finished messages. The API takes a status with a create request from
// no one while the kind has a status subresource; so it has none meanwhile, which
// takes half the requests. What is stored is the same.
func (w *world) fill(ctx context.Context, b batch, status v1alpha1.TeamTalkMessageStatus) error {
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	crd.SetName(messages + "." + v1alpha1.GroupVersion.Group)
	patch := func(operation string) error {
		p := client.RawPatch(types.JSONPatchType, []byte(`[{"path": "/spec/versions/0/subresources", `+operation+`}]`))
		if err := w.admin.Patch(ctx, crd, p); err != nil {
			return fmt.Errorf("change the kind's status subresource: %w", err)
		}
		return nil
	}
	if err := patch(`"op": "remove"`); err != nil {
		return err
	}
	if err := w.takesStatus(ctx, status, true); err != nil {
		return err
	}
	err := parallel(ctx, fillers, b.n, func(ctx context.Context, i int) error {
		if i > 0 && i%20_000 == 0 {
			say("  %d of %d messages created", i, b.n)
		}
		m := message(b.namespace, b.name(i), b.text(i), b.users[i%len(b.users)])
		m.Status = status
		_, err := w.post(ctx, m)
		return err
	})
	if err != nil {
		return err
	}
	if err := patch(`"op": "add", "value": {"status": {}}`); err != nil {
		return err
	}
	if err := w.takesStatus(ctx, status, false); err != nil {
		return err
	}
	return w.readAll(ctx)
}

// post creates a message and returns the answer as it is: decoding it would cost more
// than making it.
func (w *world) post(ctx context.Context, m *v1alpha1.TeamTalkMessage) ([]byte, error) {
	m.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessage"))
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	answer, err := w.adminRaw.Post().Namespace(m.Namespace).Resource(messages).Body(body).DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("create a finished message: %w", err)
	}
	return answer, nil
}

// takesStatus waits until a create request takes a status, or does so no more: a
// change of the kind takes effect a moment later.
func (w *world) takesStatus(ctx context.Context, status v1alpha1.TeamTalkMessageStatus, want bool) error {
	return until(ctx, fmt.Sprintf("that a create request takes a status is %t", want), func(ctx context.Context) (bool, error) {
		m := message(bareNamespace, "probe", "Hello", w.o.users[0])
		m.Status = status
		answer, err := w.post(ctx, m)
		if apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsNotFound(err) {
			return false, nil // while the kind is served anew
		}
		if err != nil {
			return false, err
		}
		created := &v1alpha1.TeamTalkMessage{}
		if err := json.Unmarshal(answer, created); err != nil {
			return false, err
		}
		return created.Finished() == want, w.admin.Delete(ctx, m)
	})
}

// readAll reads all messages once from the API server's own cache, which takes its
// time to fill after a change of the kind: that is not to be in the operator's.
func (w *world) readAll(ctx context.Context) error {
	all, err := w.adminRaw.Get().Resource(messages).Param("resourceVersion", "0").Stream(ctx)
	if err != nil {
		return fmt.Errorf("read all messages: %w", err)
	}
	defer all.Close()
	if _, err := io.Copy(io.Discard, all); err != nil {
		return fmt.Errorf("read all messages: %w", err)
	}
	return nil
}

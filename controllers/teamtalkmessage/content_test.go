// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// TestReadConfigMap: a ConfigMap that appears, or may be read, between the first read and the watch is read.
func TestReadConfigMap(t *testing.T) {
	ref := v1alpha1.ConfigMapKeyRef{Name: "notice", Key: "body"}
	message := types.NamespacedName{Namespace: "chat", Name: "m"}
	missing := apierrors.NewNotFound(corev1.Resource("configmaps"), ref.Name)
	forbidden := apierrors.NewForbidden(corev1.Resource("configmaps"), ref.Name, errors.New("no"))
	for name, tc := range map[string]struct {
		first, second error
		want          string
	}{
		"created in between":   {first: missing},
		"permitted in between": {first: forbidden},
		"missing":              {first: missing, second: missing, want: "does not exist"},
		"forbidden":            {first: forbidden, second: forbidden, want: "may not read"},
		"forbidden, missing":   {first: forbidden, second: missing, want: "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := []error{tc.first, tc.second}
			cm := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: ref.Name}, Data: map[string]string{"body": "hi"},
			}
			api := fake.NewClientBuilder().WithObjects(cm).Build()
			r := &Reconciler{
				Client: interceptor.NewClient(api, interceptor.Funcs{
					Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
						err := answers[0]
						if answers = answers[1:]; err != nil {
							return err
						}
						return c.Get(ctx, key, o)
					},
				}),
				ConfigMaps: apiwatch.NewObjects(api, "ConfigMap", logr.Discard(), func(types.NamespacedName) {}),
			}
			data, cause, err := r.readConfigMap(t.Context(), message, ref)
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if err := errors.Join(err, r.ConfigMaps.Start(ended)); err != nil {
				t.Fatal(err)
			}
			if tc.want == "" && string(data) != "hi" || tc.want != "" && (cause == nil || !strings.Contains(cause.Message, tc.want)) {
				t.Errorf("%q, %v; want %q", data, cause, tc.want)
			}
		})
	}
}

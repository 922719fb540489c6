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

func TestTextPayload(t *testing.T) {
	const splits, disabled = v1alpha1.LongTextSplit, v1alpha1.DeliveryTokenDisabled
	tests := map[string]struct {
		text         string
		tokens       v1alpha1.DeliveryTokenMode
		longText     v1alpha1.LongText
		image        bool
		want         string
		wantSegments int
	}{
		"fine":                        {text: "hello 世界", wantSegments: 1},
		"empty":                       {text: "", want: v1alpha1.ReasonContentEmpty},
		"longest with a token":        {text: strings.Repeat("x", 3051), wantSegments: 1},
		"too long with a token":       {text: strings.Repeat("x", 3052), want: v1alpha1.ReasonContentTooLong},
		"longest without":             {text: strings.Repeat("x", 3068), tokens: disabled, wantSegments: 1},
		"too long without":            {text: strings.Repeat("x", 3069), tokens: disabled, want: v1alpha1.ReasonContentTooLong},
		"bytes count, not characters": {text: strings.Repeat("世", 1018), want: v1alpha1.ReasonContentTooLong},
		"not UTF-8":                   {text: "a\xff", want: v1alpha1.ReasonContentInvalid},
		"a NUL":                       {text: "a\x00b", want: v1alpha1.ReasonContentInvalid},
		"short, may be split":         {text: "hello", longText: splits, wantSegments: 1},
		"split":                       {text: strings.Repeat("x", 3052), longText: splits, wantSegments: 2},
		"split in twenty":             {text: strings.Repeat("x", 20*3043), longText: splits, wantSegments: 20},
		"in twenty-one":               {text: strings.Repeat("x", 20*3043+1), longText: splits, want: v1alpha1.ReasonContentTooLong},
		"beyond all segments":         {text: strings.Repeat("x", v1alpha1.MaxTextBytes+1), longText: splits, want: v1alpha1.ReasonContentTooLong},
		"split without tokens":        {text: strings.Repeat("x", 3069), longText: splits, tokens: disabled, want: v1alpha1.ReasonContentTooLong},
		"what cannot be split":        {text: strings.Repeat("x", 3052), longText: splits, image: true, want: v1alpha1.ReasonContentTooLong},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			spec := v1alpha1.TeamTalkMessageSpec{LongText: tc.longText}
			if !tc.image {
				spec.Content.Text = &tc.text
			}
			server := &v1alpha1.TeamTalkServer{Spec: v1alpha1.TeamTalkServerSpec{DeliveryToken: tc.tokens}}
			payload, got := textPayload([]byte(tc.text), spec, server.DeliveryTokens())
			if got == nil && tc.want != "" || got != nil && got.Reason != tc.want {
				t.Errorf("%+v, want %q", got, tc.want)
			}
			if got != nil && tc.text != "" && strings.Contains(got.Message, tc.text) {
				t.Errorf("the message holds the text: %s", got.Message)
			}
			if got == nil && 1+len(payload.Rest) != tc.wantSegments {
				t.Errorf("%d segments, want %d", 1+len(payload.Rest), tc.wantSegments)
			}
		})
	}
}

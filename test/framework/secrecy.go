// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Written returns what the programs wrote to the cluster, by place: events, and objects without their specs.
func Written(ctx context.Context, c client.Reader) (map[string]string, error) {
	written := map[string]string{}
	for where, kind := range map[string]schema.GroupVersionKind{
		"events":                eventsv1.SchemeGroupVersion.WithKind("EventList"),
		"statuses of messages":  v1alpha1.GroupVersion.WithKind("TeamTalkMessageList"),
		"statuses of servers":   v1alpha1.GroupVersion.WithKind("TeamTalkServerList"),
		"statuses of receivers": v1alpha1.GroupVersion.WithKind("TeamTalkReceiverList"),
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		err := c.List(ctx, list)
		for i := range list.Items {
			delete(list.Items[i].Object, "spec")
		}
		b, err2 := json.Marshal(list.Items)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("read what was written: %w", err)
		}
		written[where] = string(b)
	}
	return written, nil
}

// Leaked names the secrets in the written data: in plain text, in base64, in hexadecimal or URL-encoded.
func Leaked(written, secrets map[string]string) error {
	var found []error
	for _, where := range slices.Sorted(maps.Keys(written)) {
		for _, what := range slices.Sorted(maps.Keys(secrets)) {
			secret := secrets[what]
			for _, form := range []string{
				secret, base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
				url.QueryEscape(secret),
			} {
				if strings.Contains(written[where], form) {
					found = append(found, fmt.Errorf("%s is in the %s", what, where))
					break
				}
			}
		}
	}
	return errors.Join(found...)
}

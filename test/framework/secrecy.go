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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Written returns what the programs wrote to the cluster, by place: events, and objects without their specs.
func Written(ctx context.Context, c client.Reader) (map[string]string, error) {
	events, messages := &eventsv1.EventList{}, &v1alpha1.TeamTalkMessageList{}
	servers, receivers := &v1alpha1.TeamTalkServerList{}, &v1alpha1.TeamTalkReceiverList{}
	err := errors.Join(c.List(ctx, events), c.List(ctx, messages), c.List(ctx, servers), c.List(ctx, receivers))
	if err != nil {
		return nil, fmt.Errorf("read what was written: %w", err)
	}
	for i := range messages.Items {
		messages.Items[i].Spec = v1alpha1.TeamTalkMessageSpec{}
	}
	for i := range servers.Items {
		servers.Items[i].Spec = v1alpha1.TeamTalkServerSpec{}
	}
	for i := range receivers.Items {
		receivers.Items[i].Spec = v1alpha1.TeamTalkReceiverSpec{}
	}
	written := map[string]string{}
	for where, list := range map[string]any{
		"events": events.Items, "statuses of messages": messages.Items,
		"statuses of servers": servers.Items, "statuses of receivers": receivers.Items,
	} {
		b, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("read what was written: %w", err)
		}
		written[where] = string(b)
	}
	return written, nil
}

// Leaked names the secrets in what was written: as they are, in base64, in hexadecimal or URL-encoded.
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

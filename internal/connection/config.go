// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// ConfigOf returns the Config of a TeamTalkServer, without a Policy.
func ConfigOf(server *v1alpha1.TeamTalkServer) Config {
	c := Config{
		Connections:      int(server.Spec.DBProxy.Connections),
		MaxInFlight:      int(server.Spec.DBProxy.MaxInFlight),
		MaxGroupInFlight: int(server.Spec.DBProxy.MaxGroupInFlight),
		Rate:             int(server.Spec.RateLimit.MessagesPerSecond),
		Burst:            int(server.Spec.RateLimit.Burst),
		Namespace:        server.Namespace,
	}
	for _, e := range server.Spec.DBProxy.Endpoints {
		c.DBProxy = append(c.DBProxy, string(e))
	}
	for _, e := range server.Spec.Router.Endpoints {
		c.Router = append(c.Router, string(e))
	}
	return c
}

// KeysOf reads a server's keys from the data of the Secret that it refers to.
func KeysOf(data map[string][]byte, ref v1alpha1.SecretKeyRef) (cipher.Keys, *v1alpha1.Cause) {
	current, ok := data[ref.Key]
	if !ok {
		return cipher.Keys{}, &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyNotFound, Message: fmt.Sprintf(
			"Secret %q has no key %q: add it, or correct aesKeySecretRef.key", ref.Name, ref.Key)}
	}
	var keys cipher.Keys
	var err error
	if keys.Current, err = cipher.New(current); err != nil {
		return cipher.Keys{}, keyInvalid(ref.Name, ref.Key, len(current))
	}
	for n := 1; n <= v1alpha1.MaxPreviousKeys; n++ {
		name := ref.PreviousKey(n)
		previous, ok := data[name]
		if !ok {
			break
		}
		key, err := cipher.New(previous)
		if err != nil {
			return cipher.Keys{}, keyInvalid(ref.Name, name, len(previous))
		}
		keys.Previous = append(keys.Previous, key)
	}
	return keys, nil
}

func keyInvalid(secret, key string, length int) *v1alpha1.Cause {
	return &v1alpha1.Cause{Reason: v1alpha1.ReasonKeyInvalid, Message: fmt.Sprintf(
		"key %q of Secret %q has %d bytes, TeamTalk's AES key has %d: check for a newline or for base64 applied twice",
		key, secret, length, cipher.KeyLen)}
}

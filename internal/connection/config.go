// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/sets"

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
	}
	c.DBProxy = addressesOf(server.Spec.DBProxy.Endpoints)
	c.Router = addressesOf(server.Spec.Router.Endpoints)
	return c
}

// AddressesOf returns the addresses of a server's db_proxy servers, each in one spelling.
func AddressesOf(server *v1alpha1.TeamTalkServer) []string {
	return normalized(ConfigOf(server).DBProxy)
}

func normalized(endpoints []string) []string {
	addresses := make([]string, len(endpoints))
	for i, e := range endpoints {
		addresses[i] = string(v1alpha1.Endpoint(e).Normalized())
	}
	return addresses
}

// addressesOf returns each endpoint once, as it is written first.
func addressesOf(endpoints []v1alpha1.Endpoint) []string {
	var addresses []string
	known := sets.New[v1alpha1.Endpoint]()
	for _, e := range endpoints {
		if n := e.Normalized(); !known.Has(n) {
			known.Insert(n)
			addresses = append(addresses, string(e))
		}
	}
	return addresses
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

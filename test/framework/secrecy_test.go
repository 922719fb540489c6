// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"encoding/base64"
	"encoding/hex"
	"testing"
)

// TestLeaked checks that what tests look for at their end would be found.
func TestLeaked(t *testing.T) {
	t.Parallel()
	const secret = "Code freeze starts Monday"
	secrets := map[string]string{"the text": secret}
	for _, text := range []string{
		`{"text":"` + secret + `"}`, "text: " + base64.StdEncoding.EncodeToString([]byte(secret)),
		hex.EncodeToString([]byte(secret)), "/?text=Code+freeze+starts+Monday",
	} {
		if err := Leaked(map[string]string{"log": "fine", "events": text}, secrets); err == nil || err.Error() != "the text is in the events" {
			t.Errorf("%q: found %v", text, err)
		}
	}
	if err := Leaked(map[string]string{"log": "nothing"}, secrets); err != nil {
		t.Error(err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
)

// TestAwaitManager: a manager whose controllers run is awaited without a timeout.
func TestAwaitManager(t *testing.T) {
	fails := errors.New("fails")
	for name, tc := range map[string]struct {
		endsAfter, worksAfter time.Duration // 0: never
		want                  error
	}{
		"at work":               {endsAfter: time.Hour, worksAfter: 1, want: fails},
		"came to work just now": {endsAfter: time.Hour, worksAfter: time.Second, want: fails},
		"ends without":          {endsAfter: time.Second, want: fails},
		"never ends":            {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended, atWork := make(chan error, 1), make(chan struct{})
				if tc.endsAfter > 0 {
					time.AfterFunc(tc.endsAfter, func() { ended <- fails })
				}
				if tc.worksAfter > 0 {
					time.AfterFunc(tc.worksAfter, func() { close(atWork) })
				}
				if err := AwaitManager(ended, atWork, logr.Discard()); !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
			})
		})
	}
}

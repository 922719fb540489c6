// SPDX-License-Identifier: Apache-2.0

package process

import (
	"time"

	"github.com/go-logr/logr"
)

// idleTimeout bounds the wait for a manager that has not started its controllers.
const idleTimeout = 3 * time.Second

// AwaitManager returns the result of a manager whose context was cancelled. elected is closed when
// its controllers start. Before that controller-runtime waits for the caches even if the context is
// cancelled, for example without permissions or without an API server. Nothing is in progress
// then, so AwaitManager gives up after a short time.
func AwaitManager(result <-chan error, elected <-chan struct{}, log logr.Logger) error {
	select {
	case <-elected:
		return <-result
	default:
	}
	select {
	case err := <-result:
		return err
	case <-elected:
		return <-result
	case <-time.After(idleTimeout):
		log.Info("ended before all caches were filled")
		return nil
	}
}

package app

import (
	"time"

	"github.com/go-logr/logr"
)

// idleEnd is how long a manager that never came to work is given to end.
const idleEnd = 3 * time.Second

// awaitEnd returns how a manager has ended that was told to. One that has not come to
// work yet, for want of rights or of an API server, may not end: controller-runtime
// waits for its caches to be filled, whatever its context says. It has nothing in
// hand, so it is not waited for beyond a moment. atWork is closed once it is.
func awaitEnd(ended <-chan error, atWork <-chan struct{}, log logr.Logger) error {
	select {
	case <-atWork:
		return <-ended
	default:
	}
	select {
	case err := <-ended:
		return err
	case <-atWork:
		return <-ended
	case <-time.After(idleEnd):
		log.Info("ended before all caches were filled")
		return nil
	}
}

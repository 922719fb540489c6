// SPDX-License-Identifier: Apache-2.0

package inbox

import "sync"

// Changes tells those who watch that something has changed. What it was they
// ask the store.
type Changes struct {
	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

// NewChanges returns a Changes that nobody watches.
func NewChanges() *Changes { return &Changes{watchers: map[chan struct{}]struct{}{}} }

// Notify never blocks: a watcher that has not yet looked will look once.
func (c *Changes) Notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// Watch returns a channel that receives after changes, and its end.
func (c *Changes) Watch() (changes <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[w] = struct{}{}
	return w, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}
}

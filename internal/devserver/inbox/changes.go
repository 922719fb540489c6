// SPDX-License-Identifier: Apache-2.0

package inbox

import "sync"

// Changes notifies watchers of changes. Watchers read the store to find them.
type Changes struct {
	mu       sync.Mutex
	watchers map[chan struct{}]struct{}
}

// NewChanges returns a Changes without watchers.
func NewChanges() *Changes { return &Changes{watchers: map[chan struct{}]struct{}{}} }

// Notify never blocks. Several notifications before a watcher reads the store count as one.
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

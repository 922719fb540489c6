// SPDX-License-Identifier: Apache-2.0

package inbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Limits of the listener.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	maxBodyBytes      = 64 << 10
	maxStreams        = 64
	drainTimeout      = 2 * time.Second
)

// Options of an Inbox.
type Options struct {
	Address string
	Reader  *Reader
	Faults  *fault.Set
	Changes *Changes
	Log     logr.Logger
	// Read notifies all peers of the router of a user's reads.
	Read func(*wire.IMMsgDataReadNotify)
	// DBProxy and Router are the addresses that the page shows to newcomers.
	DBProxy, Router string
}

// Inbox is the HTTP listener.
type Inbox struct {
	options Options
	address string
	server  *http.Server
	streams chan struct{} // one per open event stream
	marks   readMarks
	wg      sync.WaitGroup
	cancel  context.CancelFunc
}

// Start serves the inbox until Stop.
func Start(ctx context.Context, o Options) (*Inbox, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen for the inbox: %w", err)
	}
	i := &Inbox{options: o, address: listener.Addr().String(), streams: make(chan struct{}, maxStreams)}
	// Ends the streams, for which a shutdown would otherwise wait.
	ctx, i.cancel = context.WithCancel(ctx)
	i.server = &http.Server{
		Handler:           i.handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	i.wg.Go(func() {
		if err := i.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error(err, "The inbox has ended")
		}
	})
	return i, nil
}

// URL returns the address of the page.
func (i *Inbox) URL() string { return "http://" + i.address }

// Stop closes the listener, and waits for requests in flight for a limited time.
func (i *Inbox) Stop() {
	i.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := i.server.Shutdown(ctx); err != nil {
		_ = i.server.Close()
	}
	i.wg.Wait()
}

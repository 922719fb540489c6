// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/link"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

// connectTimeout bounds the connect to one address.
const connectTimeout = 5 * time.Second

// errClosed says that a server has closed the connection at once.
var errClosed = errors.New("it closes the connection: is it the right port?")

// connecting dials once, and reports the first change of the connection.
type connecting struct {
	changed chan struct{}
	failed  chan error
}

func newConnecting() *connecting {
	return &connecting{changed: make(chan struct{}, 1), failed: make(chan error, 1)}
}

// dial is for link.Options. It reports why it fails.
func (c *connecting) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, network, address)
	if err != nil {
		select {
		case c.failed <- err:
		default:
		}
	}
	return conn, err
}

// onChange is for the clients.
func (c *connecting) onChange() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// await waits for the connection.
func (c *connecting) await(ctx context.Context, isUp func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	select {
	case <-c.changed:
		if !isUp() {
			return errClosed
		}
		return nil
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// running runs a client until it is stopped.
func running(ctx context.Context, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// dialDBProxy connects to a db_proxy. The caller stops the client.
func dialDBProxy(ctx context.Context, address string) (*dbproxy.Client, func(), error) {
	c := newConnecting()
	client := dbproxy.New(dbproxy.Options{Address: address, Connections: 1, OnChange: c.onChange, Dial: c.dial})
	stop := running(ctx, client.Run)
	if err := c.await(ctx, func() bool { return client.Connected() > 0 }); err != nil {
		stop()
		return nil, nil, fmt.Errorf("db_proxy %s cannot be reached from here: %w", address, err)
	}
	return client, stop, nil
}

// dialRouter connects to a router. The caller stops the client.
func dialRouter(ctx context.Context, address string) (*router.Client, func(), error) {
	c := newConnecting()
	client := router.New(router.Options{Address: address, OnChange: c.onChange, Dial: c.dial})
	stop := running(ctx, client.Run)
	if err := c.await(ctx, func() bool { return !client.ConnectedSince().IsZero() }); err != nil {
		stop()
		return nil, nil, fmt.Errorf("router %s cannot be reached from here: %w", address, err)
	}
	return client, stop, nil
}

var _ link.DialFunc = (*connecting)(nil).dial

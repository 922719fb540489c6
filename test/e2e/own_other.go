// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"
)

func become() {}

func inside() bool { return false }

func onOwnNode(context.Context, *table, string) error {
	return errors.New("a node of its own needs Linux: name a cluster of yours with CLUSTER=current")
}
